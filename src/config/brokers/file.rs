//! Room `config`: what a broker of kind `file` needs.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

/// NDJSON in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The NDJSON file; finished ones are renamed to `<path>.<n>`.
    pub path: PathBuf,
    /// A new file is begun when this many bytes are reached.
    #[serde(default = "default_rotate_bytes")]
    #[validate(range(min = 4_096))]
    pub rotate_bytes: u64,
}

const fn default_rotate_bytes() -> u64 {
    128 * 1024 * 1024
}
