//! Room `cli`: `douane config` prints the configuration reference.

use super::{Verdict, output};
use crate::config::reference;

pub(super) fn run() -> Verdict {
    output::print(&reference());
    Verdict::Fine
}
