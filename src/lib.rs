//! douane: an anti-corruption ingestion gateway.
//!
//! The rooms stand in the order of the road: reading this file top to bottom is following one webhook
//! from the partner's request to the published domain event. `ARCHITECTURE.md` says who may know whom.

/// One allocator for the binary, its tests and its benchmark.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// The language everyone speaks.
pub mod clock;
pub mod config;
pub mod model;
pub mod telemetry;

// The door: read, verify on raw bytes, keep, answer (steps 1–3).
pub mod intake;
pub mod keys;
pub mod partners;
pub mod signatures;

// Durable memory: the intake log and the records made from it.
pub mod ledger;

// The desk: identify, decide, translate, check, commit, publish (steps 4–11).
pub mod brokers;
pub mod contracts;
pub mod dedupe;
pub mod pipeline;
pub mod translate;

// The private door, the composition root and the command line.
pub mod app;
pub mod cli;
pub mod console;
