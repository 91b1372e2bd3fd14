//! One open file of the simulated disk: what fails and what dies is drawn from the disk's seed.

use std::{fmt, io};

use douane::ledger::log::files::File;
use rand::RngExt;

use super::{SimDisk, State};

pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) inode: usize,
    pub(super) writable: bool,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.inode)
    }
}

impl SimFile {
    fn resize(&self, size: u64, grow_only: bool) -> io::Result<()> {
        assert!(self.writable, "opened to read");
        let mut state = self.disk.lock();
        state.live()?;
        let one_in = state.faults.other;
        if state.fails(one_in) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let unit = state.unit;
        let inode = &mut state.inodes[self.inode];
        let size = usize::try_from(size).expect("fits");
        inode.resize(if grow_only { size.max(inode.seen.len()) } else { size }, unit);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let look = self.disk.before_sync.lock().expect("never poisoned").clone();
        if let Some(look) = look {
            look();
        }
        let mut guard = self.disk.lock();
        guard.live()?;
        let one_in = guard.faults.sync;
        let fails = guard.fails(one_in);
        let state = &mut *guard;
        let inode = &mut state.inodes[self.inode];
        if fails {
            inode.fail_to_sync(&mut state.rng, state.unit);
            return Err(io::Error::other("EIO on fsync"));
        }
        inode.sync(state.unit);
        Ok(())
    }
}

impl File for SimFile {
    fn size(&self) -> io::Result<u64> {
        let state = self.disk.lock();
        state.up()?;
        Ok(state.inodes[self.inode].seen.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.lock();
        state.up()?;
        let one_in = state.faults.read;
        if state.fails(one_in) {
            return Err(io::Error::other("EIO on read"));
        }
        let seen = &state.inodes[self.inode].seen;
        let from = usize::try_from(offset).expect("fits").min(seen.len());
        let read = buffer.len().min(seen.len() - from);
        buffer[..read].copy_from_slice(&seen[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        assert!(self.writable, "opened to read");
        let mut state = self.disk.lock();
        state.up()?;
        let down = state.live().err();
        let one_in = state.faults.write;
        let fails = down.is_some() || state.fails(one_in);
        let partly = fails && state.rng.random_range(0..3) > 0;
        let taken = if partly { state.rng.random_range(0..=bytes.len()) } else { bytes.len() };
        let says_so = state.rng.random();
        let State { inodes, rng, unit, .. } = &mut *state;
        let inode = &mut inodes[self.inode];
        inode.write(&bytes[..taken], usize::try_from(offset).expect("fits"), *unit);
        if rng.random_range(0..4) == 0 {
            inode.write_back(rng, *unit);
        }
        match down {
            Some(error) => Err(error),
            None if fails && says_so => Err(io::Error::other("EIO on write")),
            None => Ok(taken),
        }
    }

    fn preallocate(&self, size: u64) -> io::Result<()> {
        self.resize(size, true)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.resize(size, false)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}
