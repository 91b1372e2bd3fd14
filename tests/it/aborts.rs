//! A mapping that ends the process in a way nobody can catch, on the real binary, which is started again and again as an
//! init system would: that event is set aside, and nothing else notices.
//!
//! The memory runs out for real. A stack that overflows cannot be had: the deepest module on the deepest value runs in a
//! sixteenth of it (tests of `translate::run`). In its place the process is aborted while it works the event.

use std::{os::unix::process::ExitStatusExt, process::Command};

use serde_json::{Value, json};

use crate::{
    folder::Folder,
    lab::{BROKEN, Lab, Stopped, measured},
    process::{Process, douane},
    wire,
};

/// The event is set aside after at most so many restarts: one to learn which batch it was, three to be sure of the event.
const MAX_RESTARTS: usize = 4;
/// The place of the poison in the log, among its neighbours.
const POISON: u64 = 2;

/// A mapping that does `harm` when the event is the poison.
fn harmful(harm: &str) -> String {
    format!(
        r#"kept = []
if .thing == "poison" {{
  text = string!(.text)
  {harm}
}}
{{ "type": "lab.ThingMeasured.v1", "data": {{ "size": length(kept) + int!(.size) }} }}
"#
    )
}

/// What an init system runs.
struct Service {
    folders: Stopped,
    binary: fn() -> Command,
    /// Whether the process survives the poison unless the test ends it.
    ended_by_test: bool,
    /// What was answered 2xx: delivery and body.
    acked: Vec<(String, String)>,
}

impl Service {
    /// The poison and its neighbours are in the log before anything can translate them, so that they are one batch.
    fn new(mapping: &str, text: &str, binary: fn() -> Command, ended_by_test: bool) -> Self {
        let folder = Folder::new();
        folder.mapping(BROKEN);
        let lab = Lab::with(folder, &[]);
        let poison =
            json!({ "id": "poison", "type": "measured", "thing": "poison", "size": 1, "text": text });
        let events = [measured("before", 1), poison, measured("after", 1)];
        let acked = events.map(|event| (lab.accept(&event), event.to_string())).to_vec();
        let folders = lab.stop();
        folders.mappings.mapping(mapping);
        Self { folders, binary, ended_by_test, acked }
    }

    /// Starts it until it stays up; returns it and how often it was started again.
    fn run(&mut self) -> (Process, usize) {
        for restarts in 0..=MAX_RESTARTS {
            let left_behind = self.note();
            let mut binary = (self.binary)();
            let started = Process::try_start(&mut binary, &self.folders.data(), self.folders.mappings.path());
            let Ok(mut process) = started else { continue };
            self.knock(&process, restarts);
            if self.survives(&mut process, &left_behind) {
                return (process, restarts);
            }
        }
        panic!("it still ends after {MAX_RESTARTS} restarts");
    }

    /// A partner posts. While the process lives the answer is yes.
    fn knock(&mut self, process: &Process, restarts: usize) {
        let body = measured(&format!("meanwhile {restarts}"), 1).to_string();
        match wire::try_exchange(process.public, &wire::request("POST", "/in/lab", &[], body.as_bytes())) {
            Ok(answer) => {
                assert_eq!(answer.status, 200, "{}", answer.head);
                self.acked.push((answer.delivery(), body));
            }
            Err(error) => assert!(!self.ended_by_test, "nothing has ended it yet: {error}"),
        }
    }

    /// Whether it gets over the poison.
    fn survives(&self, process: &mut Process, left_behind: &str) -> bool {
        let poison = format!("/api/v1/deliveries/{}", self.acked[1].0);
        loop {
            if let Some(ended) = process.ended() {
                assert!(ended.signal().is_some(), "it was not aborted: {ended}");
                return false;
            }
            if self.ended_by_test && self.works_the_poison(left_behind) {
                process.abort();
            } else if process.try_get(&poison).is_ok_and(|answer| answer.json()["waiting"] == false) {
                return true;
            }
            std::thread::yield_now();
        }
    }

    fn note(&self) -> String {
        std::fs::read_to_string(self.folders.data().join("translating.note")).unwrap_or_default()
    }

    /// Whether the crash note says so: at first with its batch, then alone. The note that the life before has left behind
    /// stands until this life's translation begins; it says nothing of this one.
    fn works_the_poison(&self, left_behind: &str) -> bool {
        let text = self.note();
        if text == left_behind {
            return false;
        }
        let note: Value = serde_json::from_str(text.lines().next().unwrap_or_default()).unwrap_or_default();
        let alone = note["trying"] == json!({ "Event": { "number": POISON, "ordinal": 0 } });
        let working = |end: usize| note["working"][end].as_u64();
        let poisoned = working(0).is_some_and(|first| first <= POISON) && working(1) >= Some(POISON);
        let together = note["suspected"].is_null() && poisoned;
        alone || together
    }

    /// Everything that was acked is there, byte for byte, and translated, but for the poison.
    fn lost_nothing_but_the_poison(&self, process: &Process) {
        for (number, (delivery, body)) in (1..).zip(&self.acked) {
            let path = format!("/api/v1/deliveries/{delivery}");
            process.wait_until(&path, |answer| answer.json()["waiting"] == false);
            assert_eq!(process.get(&format!("{path}/body")).body, body.as_bytes());
            let event = process.get(&path).json()["external_events"][0].take();
            if number == POISON {
                assert_eq!(event["outcome"], "dead_letter");
                let reason = event["reason"].as_str().expect("a reason");
                assert!(reason.starts_with("crashed_the_translator: "), "{reason}");
            } else {
                assert_eq!(event["outcome"], "translated", "{event}");
            }
        }
        self.folders.verb(&["reconcile"]).ended(0);
    }
}

/// The address space has room for a gateway and not for what the mapping takes. The operator allows the steps for it, and
/// the allocator sets nothing aside beforehand.
pub fn with_little_memory() -> Command {
    let mut limited = Command::new("sh");
    limited.env_clear().env("PATH", "/usr/bin:/bin");
    limited.env("MIMALLOC_ARENA_RESERVE", "65536").env("DOUANE_TRANSLATION_THREADS", "1");
    limited.env("DOUANE_TRANSLATION_MAX_STEPS", "10000000").env("TOKIO_WORKER_THREADS", "2");
    // SQLite's allocator would reserve address space for each thread.
    limited.env("MALLOC_ARENA_MAX", "1");
    limited.args(["-c", "ulimit -v 1835008 && exec \"$0\" \"$@\""]).arg(env!("CARGO_BIN_EXE_douane"));
    limited
}

/// A mapping that takes all memory when the event is the poison and its text has 900,000 letters.
pub fn hoard() -> String {
    // Each copy is within what the meter allows a value; all of them together are 2.8 GB.
    let copies: Vec<_> = (0..200).map(|n| format!("copy_{n} = text + \"{n}\"")).collect();
    let names: Vec<_> = (0..200).map(|n| format!("copy_{n}")).collect();
    let hoard = format!(
        "text = text + text + text + text\n  text = text + text + text + text\n  {}\n  kept = [{}]",
        copies.join("\n  "),
        names.join(", ")
    );
    harmful(&hoard)
}

#[test]
fn an_event_that_takes_all_memory_is_set_aside() {
    let mut service = Service::new(&hoard(), &"x".repeat(900_000), with_little_memory, false);
    let (process, restarts) = service.run();
    assert_eq!(restarts, MAX_RESTARTS);
    service.lost_nothing_but_the_poison(&process);
    assert!(process.terminate().success());
}

fn with_time_for_anything() -> Command {
    let mut patient = douane();
    patient.env("DOUANE_TRANSLATION_MAX_STEPS", "1000000000000000");
    patient
}

#[test]
fn an_event_during_which_the_process_is_aborted_again_and_again_is_set_aside() {
    let turns = "for_each(turns) -> |_i, _turn| { ".repeat(5);
    let endless = format!("turns = split(text, \"\")\n  {turns} true {}", "}".repeat(5));
    let mut service = Service::new(&harmful(&endless), &"x".repeat(1_000), with_time_for_anything, true);
    let (process, restarts) = service.run();
    assert_eq!(restarts, MAX_RESTARTS);
    assert_eq!(service.acked.len(), 3 + MAX_RESTARTS + 1, "intake was there in every life");
    service.lost_nothing_but_the_poison(&process);
    assert!(process.terminate().success());
}
