//! One suite per trait: every implementation passes the same one.

mod intake_log;
