//! Parses the command line and runs one verb.

use std::process::ExitCode;

fn main() -> ExitCode {
    douane::cli::run()
}
