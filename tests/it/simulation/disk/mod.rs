//! The simulated disk: one folder with a page cache in front of it. Everything it does follows from its seed.
//!
//! What is written stands in the cache; only an fsync (of the file; for names, of the folder) brings it to the disk for
//! certain. When the power fails each unsynced unit is on the disk, or is not, or is torn, whatever was written after it.
//! A failed fsync leaves pages that look clean and are not on the disk: fsyncing again does not help them.

mod file;
mod inode;

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard},
};

use douane::ledger::log::files::{Access, File, Files};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use self::{file::SimFile, inode::Inode};

/// How a life of the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The process is killed; the page cache stays.
    Process,
    /// The machine loses power; the page cache is gone.
    Power,
}

/// How often an operation fails, in one of so many; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// A write takes only a part and says so, or says `EIO`, or `ENOSPC`.
    pub(crate) write: u32,
    /// An fsync of a file or of the folder says `EIO`.
    pub(crate) sync: u32,
    /// A read says `EIO`.
    pub(crate) read: u32,
    /// Creating, truncating, reserving or looking for free space fails.
    pub(crate) other: u32,
}

type BeforeSync = Arc<dyn Fn() + Send + Sync>;

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
    before_sync: Arc<Mutex<Option<BeforeSync>>>,
}

struct State {
    rng: SmallRng,
    unit: usize,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    faults: Faults,
    free_bytes: u64,
    dies: Option<(u32, Death)>,
    dead: Option<Death>,
}

enum NameChange {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

impl SimDisk {
    /// An empty disk.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let unit = if rng.random() { 512 } else { 4_096 };
        let state = State {
            rng,
            unit,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            faults: Faults::default(),
            free_bytes: u64::MAX,
            dies: None,
            dead: None,
        };
        Self { state: Arc::new(Mutex::new(state)), before_sync: Arc::default() }
    }

    /// How often operations fail from now on.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// What the disk says about its free space from now on.
    pub(crate) fn set_free_bytes(&self, bytes: u64) {
        self.lock().free_bytes = bytes;
    }

    /// The next but `operations` change comes to nothing or to half, and so does everything after it.
    pub(crate) fn die_after(&self, operations: u32, death: Death) {
        self.lock().dies = Some((operations, death));
    }

    /// Something happens beside the disk: it counts as a change, and the machine may go down with it.
    pub(crate) fn pass(&self) -> io::Result<()> {
        self.lock().live()
    }

    /// Whether the machine has not gone down yet.
    pub(crate) fn is_up(&self) -> bool {
        self.lock().up().is_ok()
    }

    /// Called whenever a file is about to be fsynced: what was written is not durable yet.
    pub(crate) fn before_sync(&self, look: Option<BeforeSync>) {
        *self.before_sync.lock().expect("never poisoned") = look;
    }

    /// Ends the life, if it has not ended, and starts the machine again. Returns which end it was.
    pub(crate) fn restart(&self, death: Death) -> Death {
        self.before_sync(None);
        let mut state = self.lock();
        let death = state.dead.take().unwrap_or(death);
        state.dies = None;
        match death {
            Death::Process => state.forget_given_up(),
            Death::Power => state.lose_power(),
        }
        death
    }

    /// What every file is sure to hold, whatever happens next.
    pub(crate) fn on_disk(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.lock();
        let bytes = |inode: usize| state.inodes[inode].on_disk.clone();
        state.synced_names.iter().map(|(name, inode)| (name.clone(), bytes(*inode))).collect()
    }

    /// Flips one bit of a file, on the disk and in the cache.
    pub(crate) fn rot(&self, name: &str, bit: usize) {
        let mut state = self.lock();
        let inode = state.synced_names[name];
        let inode = &mut state.inodes[inode];
        for bytes in [&mut inode.seen, &mut inode.on_disk] {
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("never poisoned")
    }

    fn handle(&self, inode: usize, writable: bool) -> Arc<dyn File> {
        Arc::new(SimFile { disk: self.clone(), inode, writable })
    }
}

impl State {
    /// Counts a change; `Err` when the machine is down, or goes down with it.
    fn live(&mut self) -> io::Result<()> {
        if let Some((left, death)) = &mut self.dies {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => self.dead = Some(*death),
            }
        }
        self.up()
    }

    fn up(&self) -> io::Result<()> {
        match self.dead {
            None => Ok(()),
            Some(death) => Err(io::Error::other(format!("the machine is down ({death:?})"))),
        }
    }

    fn fails(&mut self, one_in: u32) -> bool {
        one_in > 0 && self.rng.random_range(0..one_in) == 0
    }

    fn lose_power(&mut self) {
        for change in std::mem::take(&mut self.unsynced_names) {
            if self.rng.random() {
                apply(&mut self.synced_names, change);
            }
        }
        self.names = self.synced_names.clone();
        for inode in &mut self.inodes {
            inode.lose_power(&mut self.rng, self.unit);
        }
    }

    fn forget_given_up(&mut self) {
        for inode in &mut self.inodes {
            if self.rng.random() {
                inode.evict(self.unit);
            }
        }
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: NameChange) {
    match change {
        NameChange::Create(name, inode) => {
            names.insert(name, inode);
        }
        NameChange::Rename(from, to, inode) => {
            names.retain(|name, known| *name != from || *known != inode);
            names.insert(to, inode);
        }
        NameChange::Remove(name) => {
            names.remove(&name);
        }
    }
}

impl Files for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.lock();
        state.up()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.lock();
        state.live()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let one_in = state.faults.other;
        if state.fails(one_in) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(name.to_owned(), inode);
        state.unsynced_names.push(NameChange::Create(name.to_owned(), inode));
        drop(state);
        Ok(self.handle(inode, true))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let state = self.lock();
        state.up()?;
        let inode = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        drop(state);
        Ok(self.handle(inode, access == Access::Truncate))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.live()?;
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let change = || NameChange::Rename(from.to_owned(), to.to_owned(), inode);
        apply(&mut state.names, change());
        state.unsynced_names.push(change());
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.live()?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.unsynced_names.push(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.live()?;
        let one_in = state.faults.sync;
        if state.fails(one_in) {
            return Err(io::Error::other("EIO on fsync of the folder"));
        }
        state.synced_names = state.names.clone();
        state.unsynced_names.clear();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let mut state = self.lock();
        state.up()?;
        let one_in = state.faults.other;
        if state.fails(one_in) { Err(io::Error::other("EIO on statvfs")) } else { Ok(state.free_bytes) }
    }
}
