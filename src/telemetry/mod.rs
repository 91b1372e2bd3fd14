//! Room `telemetry`: how logs are written, and every metric's name in one place. A log line or a label never carries
//! a body, a secret or other outside input. May not know what the figures are about.

pub mod logs;
pub mod metrics;
mod outage;

pub use outage::Outage;
