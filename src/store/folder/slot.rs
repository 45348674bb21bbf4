//! How long a journal is, as its file says: two slots before its bytes, written in turn. Pure.
//!
//! An append writes its bytes behind those that are there, and then the slot that is not the current one;
//! one sync makes both durable. A crash may tear either, and then the check of that slot fails: the other
//! one says what was there before, all of which is durable.
//!
//! ```text
//! offset  bytes
//!      0      8  magic, with the version of this format
//!      8      8  length of the journal, big endian
//!     16      8  how many of these bytes were appended last, big endian
//!     24     16  check: leading bytes of the SHA-256 of the journal's name, all of the above, and the
//!                bytes that were appended last
//! ```

use bytes::{Buf, BufMut};
use sha2::{Digest as _, Sha256};

use crate::store::journal::{JournalKey, MAX_APPEND_BYTES};

pub(super) const SLOT_BYTES: usize = 40;
const CHECKED_BYTES: usize = 24;
const CHECK_BYTES: usize = SLOT_BYTES - CHECKED_BYTES;
const MAGIC: &[u8; 8] = b"waystj\x00\x01";

/// What is durable of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Durable {
    pub(super) length: u64,
    /// Which slot says so.
    pub(super) slot: usize,
}

/// A slot as it was read: not known to be whole until it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) length: u64,
    pub(super) appended_bytes: usize,
    check: [u8; CHECK_BYTES],
}

/// What a journal's file says that is `length` long, of which `appended` is the end.
pub(super) fn encode(key: &JournalKey, length: u64, appended: &[u8]) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..CHECKED_BYTES].copy_from_slice(&head_of(length, appended.len()));
    slot[CHECKED_BYTES..].copy_from_slice(&check_of(key, length, appended));
    slot
}

/// Reads a slot; `None` if what is there makes no sense.
pub(super) fn decode(slot: &[u8; SLOT_BYTES]) -> Option<Slot> {
    let mut rest = slot.as_slice();
    if rest.copy_to_bytes(MAGIC.len()) != MAGIC.as_slice() {
        return None;
    }
    let length = rest.get_u64();
    let appended_bytes = usize::try_from(rest.get_u64()).ok()?;
    let mut check = [0; CHECK_BYTES];
    rest.copy_to_slice(&mut check);
    let is_possible = appended_bytes <= MAX_APPEND_BYTES && appended_bytes as u64 <= length;
    is_possible.then_some(Slot {
        length,
        appended_bytes,
        check,
    })
}

impl Slot {
    /// Where the bytes that were appended last begin.
    pub(super) const fn appended_at(&self) -> u64 {
        self.length - self.appended_bytes as u64
    }

    /// Is it whole, and are these the bytes that were appended last?
    pub(super) fn is_of(&self, key: &JournalKey, appended: &[u8]) -> bool {
        appended.len() == self.appended_bytes && check_of(key, self.length, appended) == self.check
    }
}

fn head_of(length: u64, appended_bytes: usize) -> [u8; CHECKED_BYTES] {
    let mut head = [0; CHECKED_BYTES];
    let mut rest = head.as_mut_slice();
    rest.put_slice(MAGIC);
    rest.put_u64(length);
    rest.put_u64(appended_bytes as u64);
    head
}

fn check_of(key: &JournalKey, length: u64, appended: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Sha256::new()
        .chain_update(key.to_string())
        .chain_update(head_of(length, appended.len()))
        .chain_update(appended)
        .finalize();
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> JournalKey {
        JournalKey::new([1; 16], 2)
    }

    #[test]
    fn a_slot_is_read_back_and_belongs_to_its_journal_and_bytes_alone() {
        let slot = decode(&encode(&key(), 10, b"abc")).unwrap();
        assert_eq!((slot.length, slot.appended_at()), (10, 7));
        assert!(slot.is_of(&key(), b"abc"));
        assert!(!slot.is_of(&key(), b"abd") && !slot.is_of(&key(), b"ab"));
        assert!(!slot.is_of(&JournalKey::new([1; 16], 3), b"abc"));
    }

    #[test]
    fn a_flipped_bit_or_a_missing_end_is_noticed() {
        let whole = encode(&key(), 10, b"abc");
        let is_whole = |slot: &_| decode(slot).is_some_and(|slot| slot.is_of(&key(), b"abc"));
        for bit in 0..SLOT_BYTES * 8 {
            let mut slot = whole;
            slot[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_whole(&slot), "{bit}");
        }
        for length in 0..SLOT_BYTES {
            let mut slot = [0; SLOT_BYTES];
            slot[..length].copy_from_slice(&whole[..length]);
            assert!(!is_whole(&slot), "{length}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        let slot = |length: u64, appended_bytes: u64| {
            let mut slot = encode(&key(), 10, b"abc");
            slot[8..16].copy_from_slice(&length.to_be_bytes());
            slot[16..24].copy_from_slice(&appended_bytes.to_be_bytes());
            decode(&slot)
        };
        let most = MAX_APPEND_BYTES as u64;
        assert!(slot(most, most).is_some());
        assert!(slot(most + 1, most + 1).is_none() && slot(9, 10).is_none());
        assert!(slot(u64::MAX, u64::MAX).is_none());
    }
}
