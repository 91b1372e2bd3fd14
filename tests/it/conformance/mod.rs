//! One suite a trait, run against every implementation: what passes may stand in for the others.

mod records;
pub(crate) mod records_double;
