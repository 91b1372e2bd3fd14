//! Room `dedupe`, Redis: the filter of all ids that ever had an owner: a blocked Bloom filter in layers. It can take an id for
//! one it has seen (then the ledger is asked), never one it has seen for a new one. Pure.
//!
//! A layer is a string of zeros at first, with two bytes for each id it is meant for. An id has one block of 32 bytes in a
//! layer, and 8 bits of the block: read with one GETRANGE. When a layer has its ids a larger one begins; fuller than it is
//! meant to be, it is wrong more often and no less sound.

use sha2::{Digest, Sha256};

/// Bytes of one block.
pub(super) const BLOCK: usize = 32;

/// The ids that a layer is meant for: the first, and none more than the largest.
const FIRST_LAYER: u64 = 1 << 16;
const LARGEST_LAYER: u64 = 1 << 24;

/// Each layer is so many times the one before.
const GROWTH: u64 = 8;

/// Two bytes an id: of a thousand new ids about one is taken for a known one.
const BYTES_AN_ID: u64 = 2;

fn capacity(layer: usize) -> u64 {
    let layer = u32::try_from(layer).unwrap_or(u32::MAX);
    GROWTH
        .checked_pow(layer)
        .map_or(LARGEST_LAYER, |times| LARGEST_LAYER.min(FIRST_LAYER.saturating_mul(times)))
}

/// The layer that the next id goes to when so many have gone before.
pub(super) fn layer_after(ids: u64) -> usize {
    let (mut layer, mut room) = (0, capacity(0));
    while ids >= room {
        layer += 1;
        room += capacity(layer);
    }
    layer
}

/// The length of a layer in bytes.
pub(super) fn bytes(layer: usize) -> u64 {
    capacity(layer) * BYTES_AN_ID
}

/// Where an id stands in every layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Print([u8; 24]);

/// What a filter can know of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trait {
    /// It had an owner.
    Owned,
    /// It was owned anew after its window: there is more than one owner.
    Renewed,
}

impl Print {
    pub(super) fn of(id: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(id).into();
        let mut print = [0; 24];
        print.copy_from_slice(&digest[..24]);
        Self(print)
    }

    /// Where its block begins in a layer, in bytes.
    pub(super) fn block(&self, layer: usize) -> u64 {
        let blocks = bytes(layer) / BLOCK as u64;
        let first = self.0[..8].iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        first % blocks * BLOCK as u64
    }

    /// The bits within the block, counted as Redis does.
    fn bits(&self, of: Trait) -> &[u8] {
        match of {
            Trait::Owned => &self.0[8..16],
            Trait::Renewed => &self.0[16..],
        }
    }

    /// The bits to set in a layer, as SETBIT counts them.
    pub(super) fn offsets(&self, layer: usize, of: Trait) -> impl Iterator<Item = u32> {
        let block = self.block(layer) * 8;
        self.bits(of).iter().map(move |bit| u32::try_from(block).unwrap_or(u32::MAX - 255) + u32::from(*bit))
    }

    /// Whether a block that was read may hold it; `None` when it is no block.
    pub(super) fn may_be(&self, of: Trait, block: &[u8]) -> Option<bool> {
        if block.len() != BLOCK {
            return None;
        }
        Some(self.bits(of).iter().all(|bit| block[usize::from(bit / 8)] & (0x80 >> (bit % 8)) != 0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A layer as Redis would have it.
    fn layer_with(ids: &[String], layer: usize) -> Vec<u8> {
        let mut bits = vec![0; usize::try_from(bytes(layer)).expect("small")];
        for id in ids {
            for offset in Print::of(id).offsets(layer, Trait::Owned) {
                let offset = usize::try_from(offset).expect("small");
                bits[offset / 8] |= 0x80 >> (offset % 8);
            }
        }
        bits
    }

    fn holds(layer: &[u8], id: &str, of: Trait) -> bool {
        let print = Print::of(id);
        let block = usize::try_from(print.block(0)).expect("small");
        print.may_be(of, &layer[block..block + BLOCK]).expect("a block")
    }

    #[test]
    fn a_full_layer_knows_its_ids_and_is_seldom_wrong_about_others() {
        let ids: Vec<_> = (0..FIRST_LAYER).map(|n| format!("evt_{n}")).collect();
        let layer = layer_with(&ids, 0);
        assert!(ids.iter().all(|id| holds(&layer, id, Trait::Owned)));
        let wrong = (0..10_000).filter(|n| holds(&layer, &format!("new_{n}"), Trait::Owned)).count();
        assert!(wrong < 50, "{wrong} of 10,000");
        let renewed = ids.iter().filter(|id| holds(&layer, id, Trait::Renewed)).count();
        assert!(renewed < 500, "{renewed} of 65,536");
    }

    #[test]
    fn layers_grow_and_then_stay() {
        assert_eq!([0, 65_535, 65_536, 65_536 * 9].map(layer_after), [0, 0, 1, 2]);
        assert_eq!([0, 1, 2, 3, 9].map(bytes), [1 << 17, 1 << 20, 1 << 23, 1 << 25, 1 << 25]);
        assert!(Print([0xff; 24]).offsets(9, Trait::Renewed).all(|bit| u64::from(bit) < bytes(9) * 8));
    }

    #[test]
    fn what_is_no_block_is_no_answer() {
        assert_eq!(Print::of("a").may_be(Trait::Owned, b""), None);
    }

    proptest! {
        #[test]
        fn what_was_told_is_never_new(ids in prop::collection::vec("\\PC{0,20}", 1..20)) {
            let layer = layer_with(&ids, 0);
            prop_assert!(ids.iter().all(|id| holds(&layer, id, Trait::Owned)));
        }
    }
}
