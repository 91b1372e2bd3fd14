//! Room `app`: how this process takes its turns on a busy processor. May not change how much of it anybody has.

use rustix::{
    process::{getpriority_process, setpriority_process},
    thread::gettid,
};
use thread_priority::{
    NormalThreadSchedulePolicy::Batch, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

/// From here on the calling thread, and every thread started from it, waits for its turn on a busy processor instead of
/// interrupting whoever has it (`SCHED_BATCH`, sched(7)): what came meanwhile is answered in one turn and shares a commit. Where
/// a processor is free nothing changes, nor does anybody's share of a busy one. Where that is not allowed they work like any
/// others.
pub fn take_turns() {
    let own = Some(gettid());
    let Ok(niceness) = getpriority_process(own) else { return };
    // A policy is set together with a priority. The highest, because from there everybody may go back to the one they had.
    let batch = ThreadSchedulePolicy::Normal(Batch);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Max, batch);
    let _ = setpriority_process(own, niceness);
}

#[cfg(test)]
mod tests {
    use std::thread;

    use thread_priority::thread_schedule_policy;

    use super::*;

    fn turns() -> (ThreadSchedulePolicy, i32) {
        (
            thread_schedule_policy().expect("a policy"),
            getpriority_process(Some(gettid())).expect("a priority"),
        )
    }

    #[test]
    fn whoever_takes_turns_and_what_it_starts_keep_their_priority() {
        let before = turns();
        let taking_turns = thread::spawn(|| {
            take_turns();
            (turns(), thread::spawn(turns).join().expect("not panicked"))
        });
        let after = (ThreadSchedulePolicy::Normal(Batch), before.1);
        assert_eq!(taking_turns.join().expect("not panicked"), (after, after));
        assert_eq!(turns(), before, "and nobody else");
    }

    #[test]
    fn one_that_is_nice_stays_as_nice() {
        let nice = thread::spawn(|| {
            setpriority_process(Some(gettid()), 7).expect("everybody may");
            take_turns();
            turns()
        });
        assert_eq!(nice.join().expect("not panicked"), (ThreadSchedulePolicy::Normal(Batch), 7));
    }
}
