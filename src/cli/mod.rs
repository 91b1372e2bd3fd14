//! STUB
pub mod sign;
