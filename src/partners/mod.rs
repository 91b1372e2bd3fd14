//! Room `partners`: `mappings/` → partners. A partner is a door (endpoints, secrets, signature, replies) and a desk
//! (identify, mappings, contracts). Parses, lints, compiles, and swaps the registry whole on reload.
//! May not serve requests or work entries.
//!
//! The way of a folder: `folder` reads it into memory; `partner_file` (with `endpoint_file`, `handshake_file`, `secrets`,
//! `signing`, `identify` and `rules`) reads each `partner.toml`, finding every mistake at its place; `opening` makes doors of it and `compile` desks;
//! `reload` decides, partner by partner, between what is new and what was good last; `registry` holds the result.
//! [`check()`] says what is wrong without opening anything.

mod callers;
mod check;
mod compile;
mod desk;
mod door;
mod endpoint_file;
mod folder;
mod handshake;
mod handshake_file;
mod handshake_values;
mod identify;
mod lint;
mod opening;
mod parameters;
mod partner_file;
mod reading;
mod registry;
mod reload;
mod rules;
mod secrets;
mod signature_summary;
mod signing;
mod splits;
mod summary;

pub use check::{CheckOptions, Report, check};
pub use desk::{
    Desk, DeskSources, EndpointDesk, Identify, Ignore, Level, List, MappingRule, SameBody, Split, TimeRule,
    TimeUnit, ValueRule,
};
pub use door::{
    ClientCertificate, Door, Endpoint, NotConfigured, Reply, SecretUse, SecretsFrom, SignatureCheck,
};
pub use folder::{Fingerprint, FolderError, MappingsFolder, PartnerFolder, fingerprint, folder_names};
pub use handshake::{AnswerBody, AnswerValue, Condition, ConfirmRule, Handshake, HashPart, Writing};
#[cfg(test)]
pub(crate) use handshake_file::handshakes_of;
pub use lint::SAMPLE_VALUE;
pub use opening::STAND_IN;
pub use reading::closest;
pub use registry::{DeskState, Registry, Snapshot};
pub use reload::{GoodDesk, ReloadReport};
pub use signature_summary::{PublishedKeys, SignatureSummary};
#[cfg(test)]
pub(crate) use splits::split_of;
pub use summary::{
    EndpointSummary, IdentifySummary, IgnoreSummary, LearntSummary, MappingSummary, PartnerSummary,
    SecretSummary, SubscriptionSummary, UsedBy,
};
