//! The one integration binary. Tests read like the story; what they share stands in `gateway` (the whole house in this
//! process, stepped), `process` (the real binary), `lab` and `folder` (a gateway and mappings of a test's own), `servers`
//! (real brokers and databases), `site` (what processes of one ledger in PostgreSQL share), `proofs` (what must be true of a
//! ledger in the end) and `wire` (raw bytes on a socket).

#![expect(clippy::expect_used, reason = "a test that cannot go on says what it expected")]
#![expect(unreachable_pub, reason = "what tests share is public to their rooms; no crate imports it")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read the settings that tests/run.sh makes, and step real time"
)]

mod aborts;
mod asked_keys;
mod cases;
mod chaos;
mod conformance;
mod console;
mod containment;
mod crash;
mod database;
mod deaths;
mod deploy;
mod door;
mod explained;
mod failover;
mod folder;
mod gateway;
mod handshakes;
mod hostile;
mod lab;
mod links;
mod memory;
mod openapi;
mod partners;
mod played;
mod presets;
mod process;
mod proofs;
mod publications;
mod published;
mod published_keys;
mod reload;
mod remote_keys;
mod replays;
mod road;
mod servers;
mod serving;
mod several;
mod shared_log;
mod sharing;
mod signatures;
mod simulation;
mod site;
mod stage_threads;
mod stages;
mod tidy;
mod vectors;
mod verbs;
mod verify_keys;
mod wire;
