//! One file of the simulated disk: its pages in the cache, and what of them is on the disk.

use std::collections::BTreeSet;

use rand::{RngExt, rngs::SmallRng};

/// A file: what is seen, what is on the disk, and which units differ.
#[derive(Default)]
pub(super) struct Inode {
    pub(super) seen: Vec<u8>,
    pub(super) on_disk: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// Units a failed fsync gave up: seen while they stay in the cache, and never written.
    given_up: BTreeSet<usize>,
}

impl Inode {
    pub(super) fn write(&mut self, bytes: &[u8], offset: usize, unit: usize) {
        let end = offset + bytes.len();
        self.resize(self.seen.len().max(end), unit);
        self.seen[offset..end].copy_from_slice(bytes);
        self.touch(offset, end, unit);
    }

    pub(super) fn resize(&mut self, size: usize, unit: usize) {
        let (from, to) = (size.min(self.seen.len()), size.max(self.seen.len()));
        self.seen.resize(size, 0);
        self.touch(from, to, unit);
    }

    fn touch(&mut self, from: usize, to: usize, unit: usize) {
        for at in from / unit..to.div_ceil(unit) {
            self.dirty.insert(at);
            self.given_up.remove(&at);
        }
    }

    pub(super) fn sync(&mut self, unit: usize) {
        self.on_disk.resize(self.seen.len(), 0);
        for at in std::mem::take(&mut self.dirty) {
            self.persist(at, unit, unit);
        }
    }

    /// The operating system brings some of it to the disk, because it likes to.
    pub(super) fn write_back(&mut self, rng: &mut SmallRng, unit: usize) {
        self.on_disk.resize(self.seen.len(), 0);
        for at in std::mem::take(&mut self.dirty) {
            if rng.random_range(0..4) > 0 {
                self.persist(at, unit, unit);
            } else {
                self.dirty.insert(at);
            }
        }
    }

    /// Some of it reaches the disk, and the rest never will.
    pub(super) fn fail_to_sync(&mut self, rng: &mut SmallRng, unit: usize) {
        self.on_disk.resize(self.seen.len(), 0);
        for at in std::mem::take(&mut self.dirty) {
            if rng.random() {
                self.persist(at, unit, unit);
            } else {
                self.given_up.insert(at);
            }
        }
    }

    /// Brings the first `bytes` of a unit to the disk.
    fn persist(&mut self, at: usize, unit: usize, bytes: usize) {
        let start = at * unit;
        let end = (start + bytes).min(self.seen.len()).min(self.on_disk.len());
        if start < end {
            self.on_disk[start..end].copy_from_slice(&self.seen[start..end]);
        }
    }

    pub(super) fn lose_power(&mut self, rng: &mut SmallRng, unit: usize) {
        if rng.random() {
            self.on_disk.resize(self.seen.len(), 0);
        }
        for at in std::mem::take(&mut self.dirty) {
            match rng.random_range(0..5) {
                0 | 1 => {}
                2 => self.persist(at, unit, rng.random_range(0..unit)),
                _ => self.persist(at, unit, unit),
            }
        }
        self.given_up.clear();
        self.seen = self.on_disk.clone();
    }

    pub(super) fn evict(&mut self, unit: usize) {
        for at in std::mem::take(&mut self.given_up) {
            let (start, end) = (at * unit, ((at + 1) * unit).min(self.seen.len()).min(self.on_disk.len()));
            if start < end {
                self.seen[start..end].copy_from_slice(&self.on_disk[start..end]);
            }
        }
    }
}
