//! One suite per trait, run against every implementation: adapters prove themselves.

mod broker;
