//! STUB
pub fn check() {}
