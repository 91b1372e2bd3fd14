//! Room `ledger`: the seam to durable memory. The traits stand here, narrow, by need; `log/` and `records/`
//! hold the implementations, `group_commit` the one writer before any intake log. Knows only the nouns.
//!
//! A ledger is the intake log (the truth about what was received) together with the records made from it.

mod both;
mod confirmations;
mod encoded;
pub mod group_commit;
mod learning;
mod leases;
pub mod log;
mod log_reader;
pub mod postgres;
mod query;
pub mod records;
mod tenure;
mod worked;

use async_trait::async_trait;

pub use both::{Ledger, Records};
pub use confirmations::{Confirmation, ConfirmationRecords, ConfirmationState, Visit};
pub use encoded::EncodedEntry;
pub use learning::LearningRecords;
pub use leases::{Held, Leases, PostgresLeases, Renewed, Suspect, SuspectRecords, Takes, Try};
pub use log_reader::{LogError, LogItem, LogReader, Stretch};
pub use query::{
    BrokerState, Conservation, DamagedEntry, DeliveryFilter, DeliveryRow, EventFilter, EventRow, JournalRow,
    Kept, LearntSecret, Owner, OwnersPage, Page, PublicationFilter, PublicationRow, RefusalFilter, Refused,
    ReplayTarget, TokenRow,
};
pub use tenure::{Leave, Tenured};
pub use worked::{CursorMove, IdentifiedEvent, TranslationCommit, WorkedEntry, WorkedEvent, WorkedKind};

use crate::model::{
    DeliveryId, EndpointName, EntryNumber, EventNumber, EventRef, Incarnation, Revision, StoredEvent,
    Timestamp,
};

/// Where a batch landed in the log: its entries are numbered `first`, `first + 1`, … in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The number of the batch's first entry.
    pub first: EntryNumber,
    /// When the batch was accepted; never before the time of an earlier batch.
    pub received_at: Timestamp,
}

/// Why entries were not kept. Each is answered 503: the partner will come again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The queue before the writer is full.
    #[error("the queue before the intake log is full")]
    Busy,
    /// The disk has less free space than the configured floor.
    #[error("less than the configured space is free on the disk of the intake log")]
    LowSpace,
    /// The write failed and the log was cut back to its last good batch; the next append may succeed.
    #[error("the intake log could not write: {0}")]
    NotWritten(String),
    /// The batch was sent to another machine, and whether that keeps it is not known: the connection was lost, or the wait
    /// for a standby given up. It may have been kept, whole; its deliveries then come twice, and their events are
    /// decided `duplicate`. The next append may succeed.
    #[error("the intake log did not confirm the batch: {0}")]
    Unconfirmed(String),
    /// An fsync or the cutting back failed: nobody knows what the disk holds. The process must stop and recover.
    #[error("the intake log is in an unknown state: {0}")]
    Unknown(String),
    /// The log is closed: the process is shutting down.
    #[error("the intake log is closed")]
    Closed,
}

/// The writing half of an intake log. One writer at a time in a process, and where several processes share a log each
/// has one: numbers are given in the order of their commits, so a reader never finds one before a smaller one; `append` may block its thread, so
/// [`group_commit`] gives it one of its own.
#[async_trait]
pub trait IntakeLog: Send {
    /// Keeps the entries as one batch and returns when they are durable (fsynced: file and folder).
    /// On an error none of them is kept, but for two: after [`AppendError::Unconfirmed`] all of them may be, or none, and
    /// the log goes on; after [`AppendError::Unknown`] nobody knows, and every append fails so.
    async fn append(&mut self, now: Timestamp, entries: &[EncodedEntry]) -> Result<Appended, AppendError>;
}

/// Why the records refused or failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RecordsError {
    /// Unreachable, busy or out of space: the stage waits.
    #[error("the records are not available: {0}")]
    Unavailable(String),
    /// The data itself is refused; the batch is halved until one event stands alone.
    #[error("the records refuse the data: {0}")]
    Refused(String),
    /// The commit is behind the records: an entry was already worked, a cursor would go back, or another server took over.
    /// Nothing is wrong with the data; the stage reads the cursors again.
    #[error("the records are ahead of this commit: {0}")]
    Stale(String),
    /// I/O error or corruption: the process must stop and recover.
    #[error("the records are broken: {0}")]
    Broken(String),
}

/// What a memory of owners is filled from.
#[async_trait]
pub trait OwnerRecords: Tenured {
    /// The owners among the next `limit` places after `after`, of every endpoint. What is committed while pages are read
    /// is among the later ones, but for what replay requests make of places already passed.
    async fn owners_after(&self, after: EventRef, limit: usize) -> Result<OwnersPage, RecordsError>;

    /// Which delivery or replay request a number was given to; `None` when that was not worked, or is damaged.
    async fn id_of(&self, number: EntryNumber) -> Result<Option<DeliveryId>, RecordsError>;
}

/// What stage 1 needs of the records.
#[async_trait]
pub trait TranslationRecords: Tenured {
    /// The cursor of every endpoint that has one.
    async fn cursors(&self) -> Result<Vec<(EndpointName, EntryNumber)>, RecordsError>;

    /// For each external id of the endpoint, its latest owner. Same order and length as `ids`.
    async fn owners(&self, ids: &[(EndpointName, String)]) -> Result<Vec<Option<Owner>>, RecordsError>;

    /// For each body of the endpoint, the latest delivery accepted at or after `since` with the same SHA-256.
    async fn same_bodies(
        &self,
        bodies: &[(EndpointName, [u8; 32])],
        since: Timestamp,
    ) -> Result<Vec<Option<EntryNumber>>, RecordsError>;

    /// What a replay needs of earlier external events: the latest outcome, and the domain events published for
    /// the same external id. Unknown places are left out.
    async fn replay_targets(&self, events: &[EventRef]) -> Result<Vec<ReplayTarget>, RecordsError>;

    /// Commits in one transaction; numbers the domain events in the order given, without gaps. Returns the highest
    /// event number. An entry worked before is [`RecordsError::Stale`], but for a damaged one: it is passed over.
    ///
    /// A [`StoredEvent`] of [`Outcome::Translated`](crate::model::Outcome::Translated) whose `number` is 0 is new. Any other
    /// number says that it repeats that stored event (one of [`ReplayTarget::published`], with the same id): it gets a
    /// number of its own, and the bytes of the first are served for it, whatever its `body` holds.
    async fn commit(&self, commit: TranslationCommit) -> Result<EventNumber, RecordsError>;
}

/// The feed: domain events in order.
#[async_trait]
pub trait FeedRecords: Tenured {
    /// The highest committed event number; 0 when there is none.
    async fn last_event(&self) -> Result<EventNumber, RecordsError>;

    /// The first event number still kept.
    async fn first_event(&self) -> Result<EventNumber, RecordsError>;

    /// Domain events after `after`, in order, at most `limit`, that match the filter. Fewer may come although there
    /// are more, because their bytes are bounded too; when none come there are none.
    async fn events_after(
        &self,
        after: EventNumber,
        limit: usize,
        filter: &EventFilter,
    ) -> Result<Vec<StoredEvent>, RecordsError>;
}

/// What became of one event at one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// The broker has it, at this position.
    Placed {
        /// Which event.
        event: EventNumber,
        /// Where the broker put it, in the broker's own words.
        position: String,
    },
    /// The broker refuses this event for good.
    DeadLetter {
        /// Which event.
        event: EventNumber,
        /// Why.
        reason: String,
    },
}

/// What stage 2 needs of the records.
#[async_trait]
pub trait PublicationRecords: Tenured {
    /// The state of a broker, by name; `None` when it was never seen.
    async fn broker(&self, name: &str) -> Result<Option<BrokerState>, RecordsError>;

    /// Every broker ever seen.
    async fn brokers(&self) -> Result<Vec<BrokerState>, RecordsError>;

    /// Makes a broker known, starting after `cursor`, and journals it (`broker.introduced`, by `system`). A name that
    /// is known is refused.
    async fn introduce_broker(
        &self,
        name: &str,
        cursor: EventNumber,
        now: Timestamp,
    ) -> Result<(), RecordsError>;

    /// Notes the publications of one batch, none beyond `cursor`, and advances the broker's cursor to it, in one
    /// transaction. An event noted again takes its latest position. A cursor that would go back, another epoch than that
    /// of the broker's lease, or another tenure than the present one, is [`RecordsError::Stale`], an unknown broker refused.
    async fn note_published(
        &self,
        name: &str,
        published: &[Publication],
        cursor: EventNumber,
        leave: Leave,
    ) -> Result<(), RecordsError>;
}

/// One act of a person or of the system.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JournalEntry {
    /// When.
    pub at: Timestamp,
    /// Who: a token's name, `system`, or `cli:uid=1000(ada)`: the account that ran a verb, and ` named=…` where the environment
    /// gave another name. Older lines have `cli:ada`, which is the environment's word alone, or `cli`.
    pub who: String,
    /// What, as `payload.read`, `replay.requested`, `token.created`, `retention.dropped`, `handshake.answered`.
    pub act: String,
    /// On what: a delivery id, a token name, a broker …
    pub subject: String,
    /// More, as a JSON object; never a body or a secret.
    pub detail: serde_json::Value,
}

/// So many refusals are kept in all, however many endpoint names were made up.
pub const MAX_REFUSALS: usize = 50_000;

/// What console, cli and app need to keep.
#[async_trait]
pub trait ActRecords: Send + Sync {
    /// Adds to the journal.
    async fn journal(&self, entry: JournalEntry) -> Result<(), RecordsError>;

    /// Notes through which number payloads may be dropped, and journals it, in one transaction; before anything is
    /// dropped. Changes nothing when as much was noted before.
    async fn note_dropped(&self, through: EntryNumber, journal: JournalEntry) -> Result<(), RecordsError>;

    /// The journal, newest first.
    async fn journal_page(&self, before: Option<u64>, limit: usize) -> Result<Vec<JournalRow>, RecordsError>;

    /// Keeps refusals, the latest `keep` of each endpoint; of all endpoints together at most [`MAX_REFUSALS`], because
    /// anyone can make up endpoint names.
    async fn keep_refusals(&self, refused: &[Refused], keep: usize) -> Result<(), RecordsError>;

    /// Kept refusals, newest first.
    async fn refusals(&self, filter: &RefusalFilter) -> Result<Vec<Refused>, RecordsError>;

    /// Keeps a token (its SHA-256, never the token) and journals it. A name is given once, also after it was revoked.
    async fn create_token(&self, token: TokenRow, journal: JournalEntry) -> Result<(), RecordsError>;

    /// Every token.
    async fn tokens(&self) -> Result<Vec<TokenRow>, RecordsError>;

    /// Revokes a token by name, as of the journal entry's time, and journals it; `false` when there is none to revoke.
    async fn revoke_token(&self, name: &str, journal: JournalEntry) -> Result<bool, RecordsError>;

    /// Keeps the sources of a desk under its revision, as the partner's latest good one.
    async fn keep_desk(
        &self,
        partner: &str,
        revision: &Revision,
        sources: &[u8],
        now: Timestamp,
    ) -> Result<(), RecordsError>;

    /// The latest good desk of every partner that ever had one: key, revision and sources.
    async fn last_desks(&self) -> Result<Vec<(String, Revision, Vec<u8>)>, RecordsError>;
}

/// What people ask of the records.
#[async_trait]
pub trait InspectRecords: Send + Sync {
    /// The identity of the ledger these records belong to.
    fn incarnation(&self) -> Incarnation;

    /// Worked deliveries that match, newest first.
    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Page<DeliveryRow>, RecordsError>;

    /// One worked delivery by its id.
    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, RecordsError>;

    /// The external events that match, oldest first, those after `after` (for replay plans and exports). The dead
    /// letters of damaged entries are among them.
    async fn events(
        &self,
        filter: &DeliveryFilter,
        after: Option<EventRef>,
    ) -> Result<Vec<EventRow>, RecordsError>;

    /// The lowest entry an open dead letter still needs: retention never passes it. Damaged entries need nothing.
    async fn lowest_open_dead_letter(&self) -> Result<Option<EntryNumber>, RecordsError>;

    /// Through which number retention may have dropped payloads; 0 when it never did.
    async fn dropped_through(&self) -> Result<EntryNumber, RecordsError>;

    /// Entries whose bytes are damaged, newest first, at most `limit`.
    async fn damaged(&self, limit: usize) -> Result<Vec<DamagedEntry>, RecordsError>;

    /// Publications that match: by event, newest first, and those of one event by the broker's name.
    async fn publications(&self, filter: &PublicationFilter) -> Result<Vec<PublicationRow>, RecordsError>;

    /// Open dead letters of publications, oldest first: broker, event number, reason.
    async fn publication_dead_letters(
        &self,
        limit: usize,
    ) -> Result<Vec<(String, EventNumber, String)>, RecordsError>;

    /// What is kept of entries; `None` for those not worked. Same order and length as `numbers`.
    async fn kept(&self, numbers: &[EntryNumber]) -> Result<Vec<Option<Kept>>, RecordsError>;

    /// What is wrong with the storage of the records, for a person; reads all of it.
    async fn check(&self) -> Result<Vec<String>, RecordsError>;

    /// The figures of both conservation laws, read in one transaction.
    async fn conservation(&self) -> Result<Conservation, RecordsError>;
}
