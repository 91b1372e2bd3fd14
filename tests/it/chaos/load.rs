//! The load of chaos: partners that post at a steady rate, whatever happens, and post again until they are told 2xx. What is
//! posted follows from its place in the schedule, so that two loads of one length are the same.

use std::{
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    proofs::Acked,
    servers::process::DEADLINE,
    wire::{self, Answer, Wire},
};

/// The addresses that deliveries go to in turn: partners with two endpoints each.
pub const TARGETS: [&str; 6] = ["/in/lab", "/in/lab/other", "/in/b", "/in/b/other", "/in/c", "/in/c/other"];
/// Deliveries that are due in a second.
const RATE: u64 = 600;
const CONNECTIONS: usize = 24;
/// Ordering keys of each endpoint.
const KEYS: u64 = 50;
/// An answer is waited for so long, then the delivery is posted elsewhere: a paused gateway takes connections.
const PATIENCE: Duration = Duration::from_secs(3);
/// Before the next try.
const BREATH: Duration = Duration::from_millis(20);

/// The public doors of the replicas that run now.
#[derive(Default)]
pub struct Doors(Mutex<Vec<SocketAddr>>);

impl Doors {
    /// These are open now.
    pub fn set(&self, open: Vec<SocketAddr>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }

    fn any(&self, place: usize) -> Option<SocketAddr> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!open.is_empty()).then(|| open[place % open.len()])
    }
}

/// A schedule of deliveries, and what came of it.
pub struct Load {
    began: Instant,
    deliveries: u64,
    next: AtomicU64,
    /// How often a delivery had to be posted again.
    again: AtomicU64,
    pub acked: Acked,
}

impl Load {
    /// Deliveries at a steady rate for so long, one of ten a repeat of an earlier event.
    pub fn lasting(how_long: Duration) -> Self {
        let (next, again) = (AtomicU64::new(0), AtomicU64::new(0));
        let deliveries = how_long.as_secs() * RATE;
        Self { began: Instant::now(), deliveries, next, again, acked: Acked::default() }
    }

    /// Whether deliveries are still to come.
    pub fn goes_on(&self) -> bool {
        self.next.load(Ordering::Relaxed) < self.deliveries
    }

    /// Posts everything to whichever doors are open, and returns when all of it is acked.
    pub fn run(&self, doors: &Doors) {
        std::thread::scope(|scope| {
            for place in 0..CONNECTIONS {
                scope.spawn(move || self.one_connection(doors, place));
            }
        });
        println!(
            "{} deliveries in {:.1?}, {} of them posted again",
            self.deliveries,
            self.began.elapsed(),
            self.again.load(Ordering::Relaxed)
        );
    }

    fn one_connection(&self, doors: &Doors, mut place: usize) {
        let mut wire = None;
        loop {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            if turn >= self.deliveries {
                return;
            }
            let due = self.began + Duration::from_micros(turn * 1_000_000 / RATE);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let event = event_of(turn);
            let (body, since) = (body(event), Instant::now());
            let request = request(event, &body);
            let answer = loop {
                match post(&mut wire, doors, place, &request) {
                    Some(answer) if answer.status == 200 => break answer,
                    // Where nothing can be kept now the partner is asked to come again.
                    Some(answer) => assert_eq!(answer.status, 503, "{}", answer.head),
                    None => wire = None,
                }
                assert!(since.elapsed() < DEADLINE, "nobody takes delivery {turn}");
                self.again.fetch_add(1, Ordering::Relaxed);
                place += 1;
                std::thread::sleep(BREATH);
            };
            self.acked.note(&answer, body);
        }
    }
}

fn post(wire: &mut Option<Wire>, doors: &Doors, place: usize, request: &[u8]) -> Option<Answer> {
    if wire.is_none() {
        *wire = Some(Wire::open_for(doors.any(place)?, PATIENCE).ok()?);
    }
    let wire = wire.as_mut()?;
    wire.send(request).and_then(|()| wire.answer()).ok()
}

/// Which event a turn of the schedule posts: its own, and one time of ten one of before.
fn event_of(turn: u64) -> u64 {
    if turn % 10 == 9 { StdRng::seed_from_u64(turn).random_range(0..turn) } else { turn }
}

fn body(event: u64) -> Vec<u8> {
    let key = event / TARGETS.len() as u64 % KEYS;
    let (size, note) = (event % 1_000, "x".repeat(400));
    format!(r#"{{"id":"event-{event:09}","type":"measured","thing":"key-{key:03}","size":{size},"note":"{note}"}}"#)
        .into_bytes()
}

fn request(event: u64, body: &[u8]) -> Vec<u8> {
    let target = TARGETS[usize::try_from(event % TARGETS.len() as u64).expect("small")];
    wire::request("POST", target, &[("content-type", "application/json")], body)
}

/// Posts one event so often, to all doors at once, each time once; every answer must be 200.
pub fn storm(doors: &[SocketAddr], times: u64) -> Acked {
    let (acked, left) = (Acked::default(), AtomicU64::new(times));
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    let post_all = |door: SocketAddr| {
        let body = body(0);
        let (mut wire, request) = (Wire::open(door).expect("connected"), request(0, &body));
        while take() {
            let answer = wire.send(&request).and_then(|()| wire.answer()).expect("answered");
            assert_eq!(answer.status, 200, "{}", answer.head);
            acked.note(&answer, body.clone());
        }
    };
    std::thread::scope(|scope| {
        for (_, door) in (0..CONNECTIONS).zip(doors.iter().cycle()) {
            scope.spawn(|| post_all(*door));
        }
    });
    acked
}
