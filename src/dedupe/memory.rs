//! Room `dedupe`: the shared memory of the verdict function: which external ids of an endpoint have an owner. What it answers
//! is what the ledger holds, or that it cannot tell. May not decide anything; who holds it to the ledger is `shared`.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    ledger::Owner,
    model::{DeliveryId, EndpointName, EntryNumber, Timestamp},
};

/// What a memory says of itself for one endpoint. It changes with every write, and no two writes leave the same one: whoever
/// finds the mark it wrote knows that nothing was added, taken back or restored since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Which filling this is: what another one left is never read.
    pub build: String,
    /// Who wrote last, and which write of theirs it was.
    pub writer: Uuid,
    /// Counts the writes of `writer`.
    pub step: u64,
    /// Through this number every owner that the ledger held has been told; 0 when nothing is claimed.
    pub through: EntryNumber,
    /// What the ledger gave the number `through` to, so that another past of the same ledger is told apart.
    pub id: Option<DeliveryId>,
    /// Every owner since the ledger's beginning is in it. Not so while it is being filled.
    pub complete: bool,
    /// How many ids were told, repeats included: what the memory's size is reckoned by.
    pub ids: u64,
}

/// What is asked in one look.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Whose ids.
    pub endpoint: &'a EndpointName,
    /// How long its ids are remembered.
    pub window: Duration,
    /// An owner from before this time is none that the memory answers for.
    pub since: Timestamp,
    /// No owner is later than this.
    pub until: Timestamp,
    /// The ids; at least one.
    pub ids: &'a [&'a str],
}

/// What the memory knows of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It never had an owner.
    Never,
    /// Its owner, the only one it ever had.
    Owner(Owner),
    /// Ask the ledger.
    Unsure,
}

/// How a look ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recalled {
    /// An answer for each id, in their order.
    Answers(Vec<Answer>),
    /// Another mark stands there, or none.
    Changed,
    /// A part is gone that the mark speaks of: it was evicted.
    Lost,
}

/// Owners to remember.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'a> {
    /// Whose ids.
    pub endpoint: &'a EndpointName,
    /// How long its ids are remembered.
    pub window: Duration,
    /// Of owners from before this time it is enough to know that there were any.
    pub since: Timestamp,
    /// External ids and their owners.
    pub owners: &'a [(String, Owner)],
}

/// The memory did not answer, or not in time, or refused. The message is for a person.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct MemoryError(pub String);

/// A memory shared by processes. Each call tries once, in bounded time.
#[async_trait]
pub trait Memory: Send + Sync {
    /// The mark of an endpoint; `None` when there is none, or none that this release can read.
    async fn mark(&self, endpoint: &EndpointName) -> Result<Option<Mark>, MemoryError>;

    /// Begins a new filling, empty, whatever was there before.
    async fn begin(&self, endpoint: &EndpointName, window: Duration, mark: &Mark) -> Result<(), MemoryError>;

    /// Drops what a filling left, after another began: what owners accepted through `until` were told under `old`, the last
    /// mark of it that is known. In small steps, so that nobody waits for it. What is overlooked goes by itself.
    async fn drop_filling(
        &self,
        endpoint: &EndpointName,
        window: Duration,
        old: &Mark,
        until: Timestamp,
    ) -> Result<(), MemoryError>;

    /// Answers as of `mark`, all at one moment.
    async fn recall(&self, question: &Question<'_>, mark: &Mark) -> Result<Recalled, MemoryError>;

    /// Remembers owners and replaces the mark `before` by `after`, all or nothing; `false` when another mark stands there, or
    /// a part is gone that it speaks of. After an error either may be true.
    async fn tell(&self, telling: &Telling<'_>, before: &Mark, after: &Mark) -> Result<bool, MemoryError>;
}
