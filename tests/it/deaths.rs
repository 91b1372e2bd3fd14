//! A mapping that ends the process, where several share the work: it ends four in all, and not four of each. Real binaries
//! over one PostgreSQL, each started again as an init system would.

use std::{
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    aborts::{hoard, with_little_memory},
    lab::measured,
    process::Process,
    several::accept,
    site::Site,
};

/// One that nobody was warned of, and three that knew it alone.
const MOST_DEATHS: usize = 4;
/// What has not come in this time never will.
const PATIENCE: Duration = Duration::from_mins(3);

/// A process that is started again whenever it ends.
struct Replica {
    name: &'static str,
    process: Option<Process>,
}

impl Replica {
    /// How often it ended since this was asked last; if it did, it is started again.
    fn deaths(&mut self, site: &Site) -> usize {
        if let Some(process) = &mut self.process {
            let Some(ended) = process.ended() else { return 0 };
            assert!(ended.signal().is_some(), "{} was not aborted: {ended}", self.name);
        }
        let ended = self.process.take().is_some();
        self.process = site.try_start(&mut with_little_memory(), self.name, "translate,publish,console").ok();
        usize::from(ended) + usize::from(self.process.is_none())
    }
}

#[test]
fn an_event_that_takes_all_memory_ends_four_processes_of_the_fleet_and_is_set_aside() {
    let site = Site::begin();
    site.mappings.mapping(&hoard());
    let door = site.start("door", "intake");
    let text = "x".repeat(900_000);
    let poison = json!({ "id": "poison", "type": "measured", "thing": "poison", "size": 1, "text": text });
    let before = accept(&door, &measured("before", 1));
    let poison = accept(&door, &poison);
    let mut others: Vec<_> = vec![before, accept(&door, &measured("after", 1))];

    let mut fleet = ["one", "two", "three"].map(|name| Replica { name, process: None });
    let (mut deaths, began) = (0, Instant::now());
    while !worked(&fleet, &poison) {
        assert!(began.elapsed() < PATIENCE, "the poison is never set aside; {deaths} died of it");
        let died: usize = fleet.iter_mut().map(|replica| replica.deaths(&site)).sum();
        if died > 0 {
            deaths += died;
            others.push(accept(&door, &measured(&format!("meanwhile {deaths}"), 1)));
        }
        assert!(deaths <= MOST_DEATHS, "it ended {deaths} processes");
        std::thread::yield_now();
    }
    assert!(deaths > 1, "nobody was warned the first time");

    let console = fleet[0].process.as_ref().expect("it runs");
    let event = |delivery: &str| {
        let path = format!("/api/v1/deliveries/{delivery}");
        console.wait_until(&path, |answer| answer.status == 200 && answer.json()["waiting"] == false);
        console.get(&path).json()["external_events"][0].take()
    };
    assert!(said(&event(&poison)["reason"]).starts_with("crashed_the_translator: "));
    for delivery in &others {
        assert_eq!(event(delivery)["outcome"], "translated");
    }
    let later = accept(&door, &measured("later", 1));
    assert_eq!(event(&later)["outcome"], "translated");
    site.verb("door", &["reconcile"]).ended(0);
    for process in fleet.into_iter().filter_map(|replica| replica.process).chain([door]) {
        assert!(process.terminate().success());
    }
}

fn worked(fleet: &[Replica], delivery: &str) -> bool {
    let path = format!("/api/v1/deliveries/{delivery}");
    let ask = |process: &Process| process.try_get(&path).ok().filter(|answer| answer.status == 200);
    let mut answers = fleet.iter().filter_map(|replica| replica.process.as_ref()).filter_map(ask);
    answers.any(|answer| answer.json()["waiting"] == false)
}

fn said(value: &Value) -> &str {
    value.as_str().expect("text")
}
