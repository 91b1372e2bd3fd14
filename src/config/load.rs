//! STUB
#[derive(Debug)]
pub struct ConfigError;
#[derive(Debug)]
pub struct Overrides;
pub fn load() {}
