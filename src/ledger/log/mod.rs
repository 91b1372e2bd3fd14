//! Room `ledger`, the intake log: the numbered, append-only truth about what came in. Knows only the nouns.
//!
//! [`segments`] keeps it in a folder of files (embedded), [`postgres`] in a database that several processes share. [`files`] is the thin seam to the file system, so that tests
//! can lose power; [`mod@format`] is what stands in the files; [`lock`] lets one process at a time write.

pub mod files;
pub mod format;
pub mod lock;
pub mod postgres;
pub mod segments;
