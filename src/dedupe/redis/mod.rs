//! Room `dedupe`: the shared memory in Redis. Of each endpoint three kinds of keys, all on one hash tag: the mark; the filter of
//! all ids that ever had an owner; and shelves, hashes of owners by the time they were accepted. The filter alone says that
//! an id is new; a shelf that is gone costs a question to the ledger, nothing else. May not wait beyond its patience.

mod filter;
mod link;
mod look;

use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, FromRedisValue, Pipeline, Value, cmd, pipe};

pub use link::{RedisAccess, Topology};
pub use look::{Health, look};

use self::{
    filter::{BLOCK, Print, Trait, bytes, layer_after},
    link::Link,
};
use super::memory::{Answer, Mark, Memory, MemoryError, Question, Recalled, Telling};
use crate::{
    ledger::Owner,
    model::{EndpointName, EntryNumber, EventRef, Incarnation, Timestamp},
};

const TELL: &str = include_str!("tell.lua");

/// A window spans so many shelves: with fewer, what is forgotten stays longer; with more, each look asks more keys.
const SHELVES: u32 = 4;

/// Mark and filter of an endpoint that nothing comes in at stay so many windows, and at least [`KEEP_LEAST`].
const KEEP_WINDOWS: u32 = 2;
const KEEP_LEAST: Duration = Duration::from_hours(24);

/// No mark that tells of more ids is believed when what it left is dropped.
const MOST_IDS: u64 = 1 << 40;

/// The memory of one ledger in Redis.
#[derive(Debug)]
pub struct RedisMemory {
    incarnation: Incarnation,
    link: tokio::sync::Mutex<Link>,
}

impl RedisMemory {
    /// The memory of a ledger. Nothing is connected to yet.
    pub fn new(incarnation: Incarnation, access: RedisAccess) -> Self {
        Self { incarnation, link: tokio::sync::Mutex::new(Link::new(access)) }
    }

    async fn ask(&self, pipeline: &Pipeline) -> Result<Vec<Value>, MemoryError> {
        self.link.lock().await.ask(pipeline).await
    }

    fn keys(&self, endpoint: &EndpointName) -> Keys {
        let tag = format!("{}/{}/{}", self.incarnation.0.simple(), endpoint.partner, endpoint.endpoint);
        Keys(format!("douane:{{{tag}}}"))
    }
}

/// The names of an endpoint's keys: all hang on one tag, and carry the ledger that they belong to.
struct Keys(String);

impl Keys {
    fn mark(&self) -> String {
        format!("{}:mark", self.0)
    }

    fn layer(&self, mark: &Mark, layer: usize) -> String {
        format!("{}:{}:filter:{layer}", self.0, mark.build)
    }

    fn owners(&self, mark: &Mark, of: Shelf) -> String {
        format!("{}:{}:owners:{}:{}", self.0, mark.build, of.width, of.nth)
    }
}

/// The owners accepted within a part of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shelf {
    width: i64,
    nth: i64,
}

impl Shelf {
    fn of(time: Timestamp, window: Duration) -> Self {
        let width = i64::try_from((window / SHELVES).as_micros()).unwrap_or(i64::MAX).max(1_000);
        Self { width, nth: time.micros().div_euclid(width) }
    }
}

#[async_trait]
impl Memory for RedisMemory {
    async fn mark(&self, endpoint: &EndpointName) -> Result<Option<Mark>, MemoryError> {
        let mut get = pipe();
        get.add_command(cmd("GET")).arg(self.keys(endpoint).mark());
        let text: Option<Vec<u8>> = only(self.ask(&get).await?)?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    async fn begin(&self, endpoint: &EndpointName, window: Duration, mark: &Mark) -> Result<(), MemoryError> {
        let (keys, kept) = (self.keys(endpoint), millis(keep(window)));
        let layer = keys.layer(mark, 0);
        let mut begin = pipe();
        begin.atomic().cmd("SETRANGE").arg(&layer).arg(bytes(0) - 1).arg(&b"\0"[..]);
        begin.cmd("PEXPIRE").arg(&layer).arg(kept);
        begin.cmd("SET").arg(keys.mark()).arg(text(mark)?).arg("PX").arg(kept);
        self.ask(&begin).await.map(drop)
    }

    async fn drop_filling(
        &self,
        endpoint: &EndpointName,
        window: Duration,
        old: &Mark,
        until: Timestamp,
    ) -> Result<(), MemoryError> {
        let keys = self.keys(endpoint);
        // One layer more than its ids filled may have been begun; one shelf more than the window may not have expired.
        let layers = (0..=layer_after(old.ids.min(MOST_IDS)) + 1).map(|layer| keys.layer(old, layer));
        let last = Shelf::of(until, window);
        let shelves = last.nth - i64::from(SHELVES) - 1..=last.nth;
        let shelves = shelves.map(|nth| keys.owners(old, Shelf { nth, ..last }));
        for key in layers.chain(shelves) {
            let mut unlink = pipe();
            unlink.cmd("UNLINK").arg(key);
            self.ask(&unlink).await?;
        }
        Ok(())
    }

    async fn recall(&self, question: &Question<'_>, mark: &Mark) -> Result<Recalled, MemoryError> {
        let prints: Vec<Print> = question.ids.iter().map(|id| Print::of(id)).collect();
        let look = Look::new(&self.keys(question.endpoint), question, mark, &prints);
        let answers = self.ask(&look.pipeline).await?;
        look.read(answers, mark, question, &prints)
    }

    async fn tell(&self, telling: &Telling<'_>, before: &Mark, after: &Mark) -> Result<bool, MemoryError> {
        let mut told = pipe();
        told.add_command(script(&self.keys(telling.endpoint), telling, before, after)?);
        let written: i64 = only(self.ask(&told).await?)?;
        Ok(written == 1)
    }
}

/// One look: mark, shelves and filter in one transaction, so that all are of one moment.
struct Look {
    pipeline: Pipeline,
    shelves: usize,
    layers: usize,
}

impl Look {
    fn new(keys: &Keys, question: &Question<'_>, mark: &Mark, prints: &[Print]) -> Self {
        let mut pipeline = pipe();
        pipeline.atomic().cmd("GET").arg(keys.mark());
        let (first, last) =
            (Shelf::of(question.since, question.window), Shelf::of(question.until, question.window));
        let shelves = first.nth..=last.nth;
        let count = shelves.clone().count();
        for nth in shelves {
            pipeline.cmd("HMGET").arg(keys.owners(mark, Shelf { nth, ..first })).arg(question.ids);
        }
        let layers = layer_after(mark.ids) + 1;
        for layer in 0..layers {
            let key = keys.layer(mark, layer);
            for print in prints {
                let block = print.block(layer);
                pipeline.cmd("GETRANGE").arg(&key).arg(block).arg(block + BLOCK as u64 - 1);
            }
        }
        Self { pipeline, shelves: count, layers }
    }

    fn read(
        &self,
        answers: Vec<Value>,
        mark: &Mark,
        question: &Question<'_>,
        prints: &[Print],
    ) -> Result<Recalled, MemoryError> {
        let expected = 1 + self.shelves + self.layers * prints.len();
        if answers.len() != expected {
            return Err(MemoryError(format!("{} answers to {expected} questions", answers.len())));
        }
        let mut answers = answers.into_iter();
        let standing: Option<Vec<u8>> = answers.next().map_or(Ok(None), value)?;
        if standing.as_deref() != Some(text(mark)?.as_bytes()) {
            return Ok(Recalled::Changed);
        }
        let mut owners = vec![None; prints.len()];
        for shelf in answers.by_ref().take(self.shelves) {
            let found: Vec<Option<Vec<u8>>> = value(shelf)?;
            for (owner, found) in owners.iter_mut().zip(found) {
                *owner = found.as_deref().and_then(owner_of).or(owner.take());
            }
        }
        let mut known = vec![(false, false); prints.len()];
        for _ in 0..self.layers {
            for (print, (owned, renewed)) in prints.iter().zip(&mut known) {
                let block: Vec<u8> = answers.next().map_or(Ok(Vec::new()), value)?;
                let may_be = |of| print.may_be(of, &block);
                let (Some(here), Some(anew)) = (may_be(Trait::Owned), may_be(Trait::Renewed)) else {
                    return Ok(Recalled::Lost);
                };
                *owned |= here;
                *renewed |= anew;
            }
        }
        let answers = known.into_iter().zip(owners).map(|(known, owner)| match (known, owner) {
            ((false, _), _) => Answer::Never,
            ((true, false), Some(owner)) if owner.received_at >= question.since => Answer::Owner(owner),
            _ => Answer::Unsure,
        });
        Ok(Recalled::Answers(answers.collect()))
    }
}

/// The script's call that remembers owners.
fn script(keys: &Keys, telling: &Telling<'_>, before: &Mark, after: &Mark) -> Result<Cmd, MemoryError> {
    let (layer, layers) = (layer_after(before.ids), layer_after(after.ids) + 1);
    let begun = if layers > layer + 1 { bytes(layers - 1) } else { 0 };
    let (mut bits, mut shelves, mut kept) = (Vec::new(), Vec::<Shelf>::new(), Vec::new());
    for (id, owner) in telling.owners {
        let print = Print::of(id);
        bits.extend(print.offsets(layer, Trait::Owned).flat_map(u32::to_be_bytes));
        if owner.generation > 0 {
            bits.extend(print.offsets(layer, Trait::Renewed).flat_map(u32::to_be_bytes));
        } else if owner.received_at >= telling.since {
            let shelf = Shelf::of(owner.received_at, telling.window);
            let place = shelves.iter().position(|known| *known == shelf).unwrap_or_else(|| {
                shelves.push(shelf);
                shelves.len() - 1
            });
            kept.push((place + 1, id, owner_bytes(owner)));
        }
    }
    let mut call = cmd("EVAL");
    call.arg(TELL).arg(1 + layers + shelves.len()).arg(keys.mark());
    for layer in 0..layers {
        call.arg(keys.layer(before, layer));
    }
    for shelf in &shelves {
        call.arg(keys.owners(before, *shelf));
    }
    call.arg(text(before)?).arg(text(after)?).arg(layers).arg(layer + 1).arg(begun).arg(&bits[..]);
    call.arg(millis(keep(telling.window))).arg(millis(telling.window + telling.window / SHELVES));
    for (shelf, id, owner) in kept {
        call.arg(shelf).arg(id.as_bytes()).arg(&owner[..]);
    }
    Ok(call)
}

fn keep(window: Duration) -> Duration {
    KEEP_LEAST.max(window.saturating_mul(KEEP_WINDOWS))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 50)
}

fn text(mark: &Mark) -> Result<String, MemoryError> {
    serde_json::to_string(mark).map_err(|error| MemoryError(error.to_string()))
}

const OWNER_BYTES: usize = 8 + 4 + 8 + 32;

/// Number, ordinal, time, identity digest. A first owner: its generation is 0.
fn owner_bytes(owner: &Owner) -> [u8; OWNER_BYTES] {
    let mut bytes = [0; OWNER_BYTES];
    bytes[..8].copy_from_slice(&owner.at.number.0.to_be_bytes());
    bytes[8..12].copy_from_slice(&owner.at.ordinal.to_be_bytes());
    bytes[12..20].copy_from_slice(&owner.received_at.micros().to_be_bytes());
    bytes[20..].copy_from_slice(&owner.identity_digest);
    bytes
}

fn owner_of(bytes: &[u8]) -> Option<Owner> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    let (ordinal, rest) = rest.split_first_chunk::<4>()?;
    let (received_at, rest) = rest.split_first_chunk::<8>()?;
    Some(Owner {
        at: EventRef {
            number: EntryNumber(u64::from_be_bytes(*number)),
            ordinal: u32::from_be_bytes(*ordinal),
        },
        received_at: Timestamp::from_micros(i64::from_be_bytes(*received_at)),
        identity_digest: rest.try_into().ok()?,
        generation: 0,
    })
}

fn value<T: FromRedisValue>(value: Value) -> Result<T, MemoryError> {
    redis::from_redis_value(value).map_err(|error| MemoryError(error.to_string()))
}

fn only<T: FromRedisValue>(answers: Vec<Value>) -> Result<T, MemoryError> {
    let first = answers.into_iter().next();
    first.map_or_else(|| Err(MemoryError("Redis answered nothing".to_owned())), value)
}
