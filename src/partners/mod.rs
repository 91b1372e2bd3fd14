//! Room `partners`: `mappings/` → partners. A partner is a door (endpoints, secrets, signature, replies) and a desk
//! (identify, mappings, contracts). Parses, lints, compiles, and swaps the registry whole on reload.
//! May not serve requests or work entries.

mod check;
mod desk;
mod door;
mod folder;
mod patterns;
mod registry;

pub use check::check;
pub use desk::{
    Desk, DeskSources, EndpointDesk, Identify, Ignore, MappingRule, SameBody, Split, TimeRule, TimeUnit,
    ValueRule,
};
pub use door::{Door, Endpoint, Handshake, NotConfigured, Reply, SignatureCheck};
pub use folder::{PartnerFolder, SourceFile};
pub use registry::{DeskState, Registry, Snapshot};
