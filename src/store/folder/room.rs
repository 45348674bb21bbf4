//! Room on the store's file system. What an upload has announced is kept for it until it is written, so
//! that no other upload is let in that would find no room in the end.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::faults::Faults;
use crate::store::error::StoreError;

/// What is free, and for whom.
#[derive(Debug)]
pub(super) struct Room {
    root: PathBuf,
    faults: Faults,
    book: Mutex<Book>,
}

impl Room {
    pub(super) fn new(root: PathBuf, faults: Faults, keep_free_bytes: u64) -> Self {
        let book = Book {
            keep_free_bytes,
            reserved_bytes: 0,
        };
        Self {
            root,
            faults,
            book: Mutex::new(book),
        }
    }

    /// Keeps room for so many bytes, which are going to be written.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, StoreError> {
        let mut reservation = Reservation {
            room: Arc::clone(self),
            bytes: 0,
        };
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// What could be reserved.
    pub(super) fn unreserved_bytes(&self) -> Result<u64, StoreError> {
        let book = self.book();
        Ok(self.free_bytes()?.saturating_sub(book.taken_bytes()))
    }

    /// What is free on the file system, for users without privileges.
    fn free_bytes(&self) -> Result<u64, StoreError> {
        let stat = self
            .faults
            .call("statvfs", || Ok(rustix::fs::statvfs(&self.root)?));
        let stat = stat.map_err(|source| StoreError::Io {
            doing: "ask for the free space of",
            path: self.root.clone(),
            source,
        })?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that may be written. What is left of them is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    room: Arc<Room>,
    bytes: u64,
}

impl Reservation {
    /// Sees to it that so many bytes can be written now, whether or not they were announced.
    pub(super) fn cover(&mut self, bytes: u64) -> Result<(), StoreError> {
        if let Some(more_bytes) = bytes.checked_sub(self.bytes)
            && more_bytes > 0
        {
            return self.grow(more_bytes);
        }
        // What others than uploads write there counts too.
        let book = self.room.book();
        book.check_kept_free(self.room.free_bytes()?, bytes)
    }

    /// So many of them are written: the file system counts them from now on.
    pub(super) fn spend(&mut self, bytes: u64) {
        let spent_bytes = bytes.min(self.bytes);
        self.bytes -= spent_bytes;
        self.room.book().reserved_bytes -= spent_bytes;
    }

    fn grow(&mut self, bytes: u64) -> Result<(), StoreError> {
        let mut book = self.room.book();
        // Asked with the book in hand: two that come at once must not both be let in.
        book.reserve(self.room.free_bytes()?, bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.spend(self.bytes);
    }
}

/// What is not for whoever comes next. Pure.
#[derive(Debug)]
struct Book {
    keep_free_bytes: u64,
    reserved_bytes: u64,
}

impl Book {
    /// What is kept free, and what is reserved.
    const fn taken_bytes(&self) -> u64 {
        self.keep_free_bytes.saturating_add(self.reserved_bytes)
    }

    fn reserve(&mut self, free_bytes: u64, bytes: u64) -> Result<(), StoreError> {
        if free_bytes < self.taken_bytes().saturating_add(bytes) {
            return Err(self.no_room(free_bytes));
        }
        // Saturated, the sum would have been refused.
        self.reserved_bytes = self.reserved_bytes.saturating_add(bytes);
        Ok(())
    }

    /// May bytes that are reserved be written?
    fn check_kept_free(&self, free_bytes: u64, bytes: u64) -> Result<(), StoreError> {
        if free_bytes < self.keep_free_bytes.saturating_add(bytes) {
            return Err(self.no_room(free_bytes));
        }
        Ok(())
    }

    const fn no_room(&self, free_bytes: u64) -> StoreError {
        StoreError::NoRoom {
            free_bytes,
            reserved_bytes: self.reserved_bytes,
            keep_free_bytes: self.keep_free_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn room_is_given_out_to_its_last_byte_and_once() {
        let mut book = Book {
            keep_free_bytes: 10 * MIB,
            reserved_bytes: 0,
        };
        assert!(book.reserve(50 * MIB, 40 * MIB + 1).is_err());
        book.reserve(50 * MIB, 30 * MIB).unwrap();
        assert!(book.reserve(50 * MIB, 30 * MIB).is_err());
        assert!(book.reserve(50 * MIB, 10 * MIB + 1).is_err());
        book.reserve(50 * MIB, 10 * MIB).unwrap();
        assert!(book.reserve(50 * MIB, 1).is_err());
        assert!(book.reserve(u64::MAX - 1, u64::MAX).is_err());
        assert_eq!(book.reserved_bytes, 40 * MIB);
    }

    #[test]
    fn what_is_reserved_is_written_until_it_would_eat_into_what_is_kept_free() {
        let book = Book {
            keep_free_bytes: 10,
            reserved_bytes: 100,
        };
        book.check_kept_free(15, 5).unwrap();
        assert!(book.check_kept_free(15, 6).is_err());
        assert!(book.check_kept_free(u64::MAX - 1, u64::MAX).is_err());
    }

    #[test]
    fn a_reservation_shrinks_as_it_is_written_grows_with_what_was_not_announced_and_ends() {
        let room = Room::new("/".into(), Faults::default(), 0);
        let room = Arc::new(room);
        let reserved = || room.book().reserved_bytes;
        let mut announced = room.reserve(100).unwrap();
        let mut other = room.reserve(0).unwrap();
        announced.cover(60).unwrap();
        assert_eq!(reserved(), 100);
        announced.spend(60);
        assert_eq!(reserved(), 40);
        other.cover(5).unwrap();
        assert_eq!(reserved(), 45);
        other.spend(5);
        announced.cover(50).unwrap();
        assert_eq!(reserved(), 50);
        drop(announced);
        assert_eq!(reserved(), 0);
    }
}
