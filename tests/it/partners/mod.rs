//! Partner folders: what `check` says about broken ones, and what a reload makes of them.

#![expect(clippy::expect_used, reason = "what a test stands on must be there")]

mod check;
mod reload;
mod sample;
