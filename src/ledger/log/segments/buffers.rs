//! Room `ledger`: the memory that segments are read into. It is used again when nothing that was read is held any more: new
//! memory costs a page fault for every 4 KiB, which is more than the reading does. May not know what stands in it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

/// So many buffers are used again. A batch being worked and one read ahead lie in two or three each.
const KEPT: usize = 6;

/// A buffer that is larger than this, because an unusually large batch was read, is not kept.
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// Buffers that were lent, and may be free again.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Bytes>>);

impl Buffers {
    /// A buffer of this length. What stands in it has no meaning.
    pub(super) fn take(&self, length: usize) -> BytesMut {
        let mut lent = self.lent();
        let free = lent.iter().position(Bytes::is_unique).map(|at| lent.swap_remove(at));
        match free.map(Bytes::try_into_mut) {
            Some(Ok(mut buffer)) => {
                buffer.resize(length, 0);
                buffer
            }
            _ => BytesMut::zeroed(length),
        }
    }

    /// Gives what was read to whoever reads on; the buffer comes back when the last slice of it is gone.
    pub(super) fn lend(&self, buffer: BytesMut) -> Bytes {
        let keep = buffer.capacity() <= MOST_BYTES;
        let bytes = buffer.freeze();
        let mut lent = self.lent();
        if keep && lent.len() < KEPT {
            lent.push(bytes.clone());
        }
        bytes
    }

    fn lent(&self) -> MutexGuard<'_, Vec<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(buffers: &Buffers, length: usize, with: u8) -> Bytes {
        let mut buffer = buffers.take(length);
        buffer.fill(with);
        buffers.lend(buffer)
    }

    #[test]
    fn a_buffer_is_used_again_when_its_last_slice_is_gone() {
        let buffers = Buffers::default();
        let first = filled(&buffers, 1_000, 1);
        let (place, slice) = (first.as_ptr(), first.slice(10..20));
        drop(first);
        let second = filled(&buffers, 1_000, 2);
        assert_eq!(slice.as_ref(), [1; 10], "what somebody holds stays as it is");
        assert_ne!(second.as_ptr(), place);
        drop(slice);
        let third = filled(&buffers, 500, 3);
        assert_eq!((third.as_ptr(), third.len()), (place, 500));
    }

    #[test]
    fn no_more_is_kept_than_is_used_again() {
        let buffers = Buffers::default();
        let held: Vec<Bytes> = (0..20).map(|with| filled(&buffers, 1_000, with)).collect();
        drop(held);
        assert_eq!(buffers.lent().len(), KEPT);
        drop(filled(&buffers, MOST_BYTES + 1, 0));
        assert!(buffers.lent().iter().all(|kept| kept.len() <= MOST_BYTES));
    }
}
