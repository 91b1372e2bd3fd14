//! Room `app`: whether the machine's processors have time left. Where that cannot be read they are said to have some.

use std::{
    fs,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What is asked within so long has one answer: the kernel counts in hundredths of a second.
const WINDOW: Duration = Duration::from_millis(100);
/// Busy: they had less than one of so many parts of the time left. From there on whoever needs one waits for it.
const LEFT: u64 = 5;

/// The processors of this machine.
#[derive(Debug)]
pub(super) struct Processors(Mutex<Look>);

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    times: Option<Times>,
    busy: bool,
}

/// Time of all processors together since the machine started, in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    idle: u64,
    all: u64,
}

impl Processors {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Look { at: Instant::now(), times: now(), busy: false }))
    }

    /// Whether they had hardly any time left, lately.
    pub(super) fn are_busy(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.at.elapsed() >= WINDOW {
            let times = now();
            let busy = last.times.zip(times).is_some_and(|(before, now)| now.are_busy_since(before));
            *last = Look { at: Instant::now(), times, busy };
        }
        last.busy
    }
}

fn now() -> Option<Times> {
    Times::read(&fs::read_to_string("/proc/stat").ok()?)
}

impl Times {
    /// Reads what the kernel says, as proc(5) has it under `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
    fn read(text: &str) -> Option<Self> {
        let numbers = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().take(8);
        let numbers: Vec<u64> = numbers.map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let idle = numbers.get(3)?.saturating_add(*numbers.get(4)?);
        Some(Self { idle, all: numbers.iter().sum() })
    }

    fn are_busy_since(self, before: Self) -> bool {
        let (idle, all) = (self.idle.saturating_sub(before.idle), self.all.saturating_sub(before.all));
        all > 0 && idle.saturating_mul(LEFT) < all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_busy_when_hardly_any_time_was_left() {
        let text = |idle| format!("cpu  100 7 30 {idle} 10 1 2 0 50 0\ncpu0 50 3 15 400 5 0 1 0 25 0\n");
        let times = Times::read(&text(800)).expect("times");
        assert_eq!(times, Times { idle: 810, all: 950 });
        let later = |idle: u64, all: u64| Times { idle: 810 + idle, all: 950 + all };
        assert!(later(19, 100).are_busy_since(times) && !later(20, 100).are_busy_since(times));
        assert!(!times.are_busy_since(times), "no time has passed");
    }

    #[test]
    fn what_cannot_be_read_is_not_busy() {
        for text in ["", "cpu", "cpu  1 2 3", "cpu  a b c d e f g h", "intr 1 2 3 4 5 6"] {
            assert_eq!(Times::read(text), None, "{text:?}");
        }
        assert!(!Processors::new().are_busy(), "and nobody is asked twice at once");
    }
}
