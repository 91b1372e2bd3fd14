//! STUB
use crate::model::Diagnostic;
/// A compiled mapping module.
#[derive(Debug)]
pub struct Mapping;
/// Compiles and lints a module; `file` is its path for diagnostics.
pub fn compile(file: &str, source: &str) -> Result<Mapping, Vec<Diagnostic>> {
    let _ = (file, source);
    todo!()
}
