//! Room `keys`: keys that providers publish. The one place that fetches them: over https, from an [`HttpsUrl`] only (a rule
//! of ours allowed it), from public addresses, without redirects or proxies, bounded in size and time. What was fetched is
//! held: [`cache`] says for how long. Where a provider shows a key only to its customers, [`asking`] has its credentials. May not know what is in a document: that is `signatures`' business.
//!
//! Whoever can send requests can make us fetch, so every way to it has a bound: a host has so many fetches a minute, as have
//! all together that one pattern of a rule allows, what a sender names for the first time fewer and by a count of its own, an
//! address that failed is left alone for a while, a key that is not there has its document fetched anew only so often, of
//! those who wait for one address one alone fetches, and what is logged of it is so many lines: the refusals tell of each.

mod asking;
mod cache;
mod client;
mod limits;
mod resolver;
mod warnings;

use std::{
    any::Any,
    fs, io,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use crate::{clock::Clock, config::KeysConfig, model::HttpsUrl};
pub use asking::Asking;
use asking::Tokens;
use cache::{Cache, Entry, Held, Name};
use client::{Call, Cause, Client, Failed};
use limits::{HostLimits, Standing};
use warnings::Warnings;

/// What stands at an address, as it was fetched, with what its reader made of it.
#[derive(Debug)]
pub struct Document {
    /// The bytes, at most `keys.max_document_bytes`.
    pub bytes: Bytes,
    read: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Document {
    fn new(bytes: Bytes) -> Self {
        Self { bytes, read: OnceLock::new() }
    }

    /// What a reader makes of the bytes. The first reader's work is held as long as the document is, so that nobody reads it
    /// for each request; another type is read anew each time.
    pub fn read_as<T: Any + Send + Sync>(&self, read: impl Fn(&Bytes) -> T) -> Arc<T> {
        let held = self.read.get_or_init(|| Arc::new(read(&self.bytes)));
        Arc::clone(held).downcast().unwrap_or_else(|_| Arc::new(read(&self.bytes)))
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Document {}

/// What is to be fetched.
#[derive(Clone, Debug)]
pub struct Wanted {
    url: HttpsUrl,
    /// Its host, or the pattern of those that the sender could name instead: their fetches are counted together.
    hosts: String,
    by_sender: bool,
    asking: Option<Asking>,
}

impl Wanted {
    /// An address that stands in a file of ours.
    pub fn ours(url: HttpsUrl) -> Self {
        Self { hosts: url.host().to_owned(), url, by_sender: false, asking: None }
    }

    /// An address that a sender named, and a rule of ours allowed; `hosts` is what the rule has for its host.
    pub fn senders(url: HttpsUrl, hosts: impl Into<String>) -> Self {
        Self { url, hosts: hosts.into(), by_sender: true, asking: None }
    }

    /// A key whose id a sender named, at the address that the question has for it.
    pub fn asked(url: HttpsUrl, asking: Asking) -> Self {
        Self { hosts: url.host().to_owned(), url, by_sender: true, asking: Some(asking) }
    }

    /// What it is held under.
    fn name(&self) -> Name {
        let of = self.asking.as_ref().map(|asking| (asking.asker.clone(), asking.id.clone()));
        Name { url: self.url.clone(), of }
    }

    fn standing(&self, entry: &Entry) -> Standing {
        if self.by_sender && !entry.was_fetched() { Standing::First } else { Standing::Known }
    }

    /// Whether that failure says of the key that there is none: of an address, it could as well be wrong or down.
    fn is_absent(&self, failed: &Failed) -> bool {
        failed.cause == Cause::Absent && self.asking.as_ref().is_some_and(Asking::names_the_key)
    }

    fn unavailable(&self, failed: Failed) -> KeyUnavailable {
        KeyUnavailable { url: self.url.clone(), absent: self.is_absent(&failed), why: failed.why }
    }
}

/// Why what stands at an address could not be had: our fault or the provider's, and the sender's only where there is no such
/// key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {why}")]
pub struct KeyUnavailable {
    /// The address.
    pub url: HttpsUrl,
    /// Why.
    pub why: String,
    /// Whether the provider, asked for a key by its id, says that it has none of that id.
    pub absent: bool,
}

/// Why there is nobody to fetch keys.
#[derive(Debug, thiserror::Error)]
pub enum RemoteKeysError {
    /// The file of authorities cannot be read, or holds none.
    #[error("keys.extra_roots {path}: {source}")]
    Roots {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// TLS could not be set up.
    #[error("keys cannot be fetched over https: {0}")]
    Client(String),
}

/// Fetches keys and holds what it fetched. Cheap to clone; the clones share what is held.
#[derive(Clone, Debug)]
pub struct RemoteKeys {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    cache: Cache,
    limits: HostLimits,
    warnings: Warnings,
    tokens: Tokens,
    config: KeysConfig,
    roots: Option<Vec<u8>>,
    clock: Arc<dyn Clock>,
}

impl RemoteKeys {
    /// Sets up. Nothing is fetched before it is asked for.
    pub fn new(config: &KeysConfig, clock: Arc<dyn Clock>) -> Result<Self, RemoteKeysError> {
        let roots = extra_roots(config)?;
        let client = Client::new(config, roots.as_deref()).map_err(RemoteKeysError::Client)?;
        if !config.connect_to.is_empty() || config.extra_roots.is_some() {
            tracing::warn!(
                connect_to = ?config.connect_to, extra_roots = ?config.extra_roots,
                "keys are fetched from hosts or trusted by authorities that this configuration adds: for tests and private authorities"
            );
        }
        let cache = Cache::new(config.max_documents);
        let limits = HostLimits::new(config);
        let (warnings, tokens, config) = (Warnings::default(), Tokens::new(config), config.clone());
        let shared = Shared { client, cache, limits, warnings, tokens, config, roots, clock };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The authorities of `keys.extra_roots`, as PEM.
    pub fn extra_roots(&self) -> Option<&[u8]> {
        self.shared.roots.as_deref()
    }

    /// What stands at an address: what is held if it is fresh enough, else fetched.
    pub async fn document(&self, wanted: &Wanted) -> Result<Arc<Document>, KeyUnavailable> {
        let entry = self.shared.cache.entry(&wanted.name());
        match entry.held(&self.shared.config, self.shared.clock.now()) {
            Held::Fresh(document) => return Ok(document),
            Held::Failed(failed) => return Err(wanted.unavailable(failed)),
            Held::Stale(document) => match entry.flight.try_lock() {
                // Somebody fetches it already.
                Err(_) => return Ok(document),
                Ok(_flight) => return self.shared.fetch(wanted, &entry).await,
            },
            Held::Nothing => {}
        }
        let _flight = entry.flight.lock().await;
        match entry.held(&self.shared.config, self.shared.clock.now()) {
            Held::Fresh(document) => Ok(document),
            Held::Failed(failed) => Err(wanted.unavailable(failed)),
            Held::Stale(_) | Held::Nothing => self.shared.fetch(wanted, &entry).await,
        }
    }

    /// What stands there now, for someone who misses a key in `known`. `None` when that cannot be told anew yet
    /// (`keys.refresh_pause`): then the key is not there.
    pub async fn newer(&self, wanted: &Wanted, known: &Arc<Document>) -> Option<Arc<Document>> {
        let entry = self.shared.cache.entry(&wanted.name());
        let _flight = entry.flight.lock().await;
        if let Some(newest) = entry.other_than(known) {
            return Some(newest);
        }
        let now = self.shared.clock.now();
        if !entry.may_refresh(self.shared.config.refresh_pause.0, now) {
            return None;
        }
        self.shared.fetch(wanted, &entry).await.ok().filter(|document| !Arc::ptr_eq(document, known))
    }

    /// Fetches an address for its effect, once, and holds nothing: a confirmation that a provider asks for by naming a link.
    pub async fn visit(&self, url: &HttpsUrl) -> Result<(), KeyUnavailable> {
        let wanted = Wanted::ours(url.clone());
        let visited = self.shared.get(&wanted, Standing::Known).await;
        visited.map(drop).map_err(|failed| wanted.unavailable(failed))
    }
}

impl Shared {
    /// Fetches while nobody else does. When it fails what is held goes on, as long as it may.
    async fn fetch(&self, wanted: &Wanted, entry: &Entry) -> Result<Arc<Document>, KeyUnavailable> {
        let standing = wanted.standing(entry);
        match self.get(wanted, standing).await {
            Ok(bytes) => Ok(entry.store(Document::new(bytes), self.clock.now())),
            Err(failed) => {
                // The refusals tell of what a bound kept from being tried, and of ids that were made up.
                let made_up = standing == Standing::First && wanted.is_absent(&failed);
                if failed.cause != Cause::Bounded && !made_up {
                    self.warnings.tell(standing, &wanted.url, &failed.why);
                }
                let held = entry.fail(failed.clone(), &self.config, self.clock.now());
                held.ok_or_else(|| wanted.unavailable(failed))
            }
        }
    }

    async fn get(&self, wanted: &Wanted, standing: Standing) -> Result<Bytes, Failed> {
        if !self.limits.admit(&wanted.hosts, standing) {
            let why = match standing {
                Standing::Known => "its host has had its fetches of this minute (keys.fetches_per_minute)",
                Standing::First => {
                    "its host has had its first fetches of this minute (keys.first_fetches_per_minute)"
                }
            };
            return Err(Failed { why: why.to_owned(), cause: Cause::Bounded });
        }
        match &wanted.asking {
            None => self.client.call(&Call::get(&wanted.url)).await,
            Some(asking) => asking.ask(&self.client, &self.tokens, &*self.clock).await,
        }
    }
}

fn extra_roots(config: &KeysConfig) -> Result<Option<Vec<u8>>, RemoteKeysError> {
    let Some(path) = &config.extra_roots else { return Ok(None) };
    let failed = |source| RemoteKeysError::Roots { path: path.display().to_string(), source };
    fs::read(path).map(Some).map_err(failed)
}
