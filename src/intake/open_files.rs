//! Room `intake`: how many files this process may have open. Each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files to `wanted`, as far as the hard limit allows, and returns what holds now. Never
/// lowers it. At less than wanted, connections beyond it wait in the operating system's queue.
pub fn raise_open_files_limit(wanted: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let before = current.unwrap_or(u64::MAX);
    let target = wanted.min(maximum.unwrap_or(u64::MAX));
    if target <= before {
        return before;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(target), maximum }) {
        Ok(()) => target,
        Err(_) => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_never_lowered() {
        let before = raise_open_files_limit(0);
        assert_eq!(raise_open_files_limit(before), before);
        let raised = raise_open_files_limit(before + 1);
        assert!(raised == before + 1 || raised == before);
        assert_eq!(raise_open_files_limit(1), raised);
    }
}
