//! One suite for each trait, run against every implementation of it.

mod broker;
mod intake_log;
