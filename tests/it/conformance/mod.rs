//! One suite a trait, run against every implementation: what passes may stand in for the others.

mod broker;
mod intake_log;
mod leases;
pub(crate) mod memory;
mod records;
pub(crate) mod records_double;
