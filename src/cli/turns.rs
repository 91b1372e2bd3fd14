//! Room `cli`: how this process takes its turns on a busy processor. May not change how much of it anybody has.

use rustix::{
    process::{getpriority_process, setpriority_process},
    thread::gettid,
};
use thread_priority::{
    NormalThreadSchedulePolicy::{Batch, Other},
    ThreadPriority,
    ThreadSchedulePolicy::Normal,
    set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
};

/// From here on the calling thread, and every thread started from it, waits for its turn on a busy processor instead of
/// interrupting whoever has it (`SCHED_BATCH`, sched(7)): what came meanwhile is answered in one turn and shares a commit. Where
/// a processor is free nothing changes, nor does anybody's share of a busy one. Where that is not allowed, and where whoever
/// started this chose a policy, they work as they would.
pub fn take_turns() {
    if thread_schedule_policy() != Ok(Normal(Other)) {
        return;
    }
    let own = Some(gettid());
    let Ok(niceness) = getpriority_process(own) else { return };
    // A policy is set together with a priority. The highest, because from there everybody may go back to the one they had.
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Max, Normal(Batch));
    let _ = setpriority_process(own, niceness);
}

#[cfg(test)]
mod tests {
    use std::thread;

    use thread_priority::{NormalThreadSchedulePolicy::Idle, ThreadSchedulePolicy};

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
        let after = (Normal(Batch), before.1);
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
        assert_eq!(nice.join().expect("not panicked"), (Normal(Batch), 7));
    }

    #[test]
    fn a_policy_that_was_chosen_stays() {
        let idle = thread::spawn(|| {
            set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, Normal(Idle))
                .expect("everybody may");
            take_turns();
            turns().0
        });
        assert_eq!(idle.join().expect("not panicked"), Normal(Idle));
    }
}
