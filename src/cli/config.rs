//! Room `cli`: `douane config` prints the configuration reference.

use super::{Verdict, output};
use crate::config::reference;

pub(super) fn run() -> anyhow::Result<Verdict> {
    output::print(&reference());
    Ok(Verdict::Fine)
}
