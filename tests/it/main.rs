//! The one integration binary. Tests read like the story; what they share stands in `gateway` (the whole house in this
//! process, stepped), `process` (the real binary) and `wire` (raw bytes on a socket).

mod conformance;
mod containment;
mod crash;
mod folder;
mod gateway;
mod hostile;
mod partners;
mod process;
mod reload;
mod replays;
mod road;
mod signatures;
mod simulation;
mod tidy;
mod wire;
