//! The seeded simulation: the log on a disk that loses what was not fsynced, tears what was being written, and fails. Stage
//! 1 reads it as in the gateway and commits to the records' double, which keeps what was committed and nothing else.
//!
//! A seed is a whole history; `DOUANE_SIM_SEEDS` sets how many are run, `DOUANE_SIM_FIRST` the first of them, so that a
//! failing one can be run alone.

mod books;
pub(crate) mod disk;
mod failures;
mod life;
mod model;
mod partner;
mod process;
mod records;

/// Enough that each planted bug of `tests/mutants` is met a hundred times.
const SEEDS: u64 = 2_000;

#[test]
fn what_is_acked_is_kept_and_worked_once() {
    let shared = process::Shared::new();
    let first = setting("DOUANE_SIM_FIRST", 0);
    for seed in first..first + setting("DOUANE_SIM_SEEDS", SEEDS) {
        let _named = NamedOnPanic(seed);
        life::live_through(seed, &shared);
    }
}

#[expect(clippy::disallowed_methods, reason = "a setting of this test, not of the gateway")]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

struct NamedOnPanic(u64);

impl Drop for NamedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulation: run this one alone with DOUANE_SIM_FIRST={} DOUANE_SIM_SEEDS=1", self.0);
        }
    }
}
