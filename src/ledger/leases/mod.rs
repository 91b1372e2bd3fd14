//! Room `ledger`, leases: how any number of processes share the work of one ledger. An endpoint is translated by one of them
//! at a time, and a broker published to by one. May not know what that work is.
//!
//! A lease alone protects nothing: its holder can be stopped, and go on when it is over. The epoch does. Whoever takes a lease
//! raises it, and the records refuse a cursor that moves by an older one ([`RecordsError::Stale`]).

mod postgres;
mod suspects;

use std::collections::BTreeMap;

use async_trait::async_trait;

pub use postgres::PostgresLeases;
pub use suspects::{Suspect, SuspectRecords, Try};

use super::RecordsError;
use crate::model::{EndpointName, Epoch, Tenure};

/// What a process takes leases of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// Any endpoint.
    pub endpoints: bool,
    /// These brokers, by name.
    pub brokers: Vec<String>,
}

/// What a process holds, each with the epoch that its cursors move by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Endpoints.
    pub endpoints: BTreeMap<EndpointName, Epoch>,
    /// Brokers, by name.
    pub brokers: BTreeMap<String, Epoch>,
    /// Whose word it is: what was held under another tenure is not held under this one.
    pub tenure: Tenure,
}

impl Held {
    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.brokers.is_empty()
    }

    /// All of it but what `other` holds too.
    #[must_use]
    pub fn without(mut self, other: &Self) -> Self {
        self.endpoints.retain(|name, _| !other.endpoints.contains_key(name));
        self.brokers.retain(|name, _| !other.brokers.contains_key(name));
        self
    }
}

/// What a renewal left a process with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// All it holds.
    pub held: Held,
    /// The part of that which others should have: to be worked no more, and given up with the next renewal.
    pub surplus: Held,
    /// How many of what it took now were held by a process that died.
    pub taken_over: u64,
}

/// What a process does to have its share of the work. It is one member, from its first renewal until it leaves or falls
/// silent for the length of a lease.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Says that this process is alive. Gives up `given_up`, keeps the rest, and takes what nobody holds, so that in the end
    /// nobody holds two more than another who takes the same. When the answer is lost it may have been done: the next one
    /// tells. Fails with [`RecordsError::Unavailable`] alone; what is held then runs out.
    async fn renew(&self, takes: &Takes, given_up: &Held) -> Result<Renewed, RecordsError>;

    /// Gives up all, at once, and is no member any more. Until the next renewal.
    async fn leave(&self) -> Result<(), RecordsError>;
}
