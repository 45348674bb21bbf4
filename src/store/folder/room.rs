//! Room on the store's file system. What an upload has announced is kept for it until it is written, so
//! that no other upload is let in that would find no room in the end.

use std::mem;
use std::sync::Arc;

use super::shared::FolderStore;
use super::threads::Work;
use crate::mutex::lock;
use crate::store::error::{Result, StoreError};

impl FolderStore {
    /// Keeps room for so many bytes, which are going to be written.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation> {
        let mut reservation = Reservation {
            store: Arc::clone(self),
            bytes: 0,
        };
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// What could be reserved.
    pub(crate) async fn room_bytes(self: &Arc<Self>) -> Result<u64> {
        let look = |store: &Arc<Self>| {
            let reserved_bytes = *lock(&store.reserved_bytes);
            let unreserved_bytes = store.free_bytes()?.saturating_sub(reserved_bytes);
            Ok(unreserved_bytes.saturating_sub(store.keep_free_bytes))
        };
        self.run(Work::Look, look).await
    }

    /// What is free on the file system, for users without privileges.
    fn free_bytes(&self) -> Result<u64> {
        let root = self.layout.root();
        let statvfs = || Ok(rustix::fs::statvfs(root)?);
        let stat = self.call("statvfs", "ask for the free space of", root, statvfs)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Keeps room for so many bytes in place of so many, whether or not there is as much.
    pub(super) fn keep_room(&self, before_bytes: u64, bytes: u64) {
        let mut reserved_bytes = lock(&self.reserved_bytes);
        *reserved_bytes = reserved_bytes.saturating_add(bytes) - before_bytes;
    }
}

/// Bytes that may be written. What is left of them is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    store: Arc<FolderStore>,
    bytes: u64,
}

impl Reservation {
    /// What was kept for an attempt, and is counted already.
    pub(super) fn taken_over(store: &Arc<FolderStore>, bytes: u64) -> Self {
        Self {
            store: Arc::clone(store),
            bytes,
        }
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn add(&mut self, mut other: Self) {
        self.bytes += mem::take(&mut other.bytes);
    }

    /// Sees to it that so many bytes can be written now, whether or not they were announced.
    pub(super) fn cover(&mut self, bytes: u64) -> Result<()> {
        if bytes > self.bytes {
            return self.grow(bytes - self.bytes);
        }
        // What others than uploads write there counts too.
        let reserved_bytes = *lock(&self.store.reserved_bytes);
        self.check(reserved_bytes, [bytes, 0])
    }

    /// So many of them are written: the file system counts them from now on.
    pub(super) fn spend(&mut self, bytes: u64) {
        let spent_bytes = bytes.min(self.bytes);
        self.bytes -= spent_bytes;
        *lock(&self.store.reserved_bytes) -= spent_bytes;
    }

    fn grow(&mut self, bytes: u64) -> Result<()> {
        let mut reserved_bytes = lock(&self.store.reserved_bytes);
        // Asked with the lock held: two that come at once must not both be let in.
        self.check(*reserved_bytes, [*reserved_bytes, bytes])?;
        *reserved_bytes += bytes;
        drop(reserved_bytes);
        self.bytes += bytes;
        Ok(())
    }

    /// Are all of `wanted_bytes` free, besides what is kept free?
    fn check(&self, reserved_bytes: u64, wanted_bytes: [u64; 2]) -> Result<()> {
        let keep_free_bytes = self.store.keep_free_bytes;
        let free_bytes = self.store.free_bytes()?;
        if is_enough(free_bytes, wanted_bytes, keep_free_bytes) {
            return Ok(());
        }
        Err(StoreError::NoRoom {
            free_bytes,
            reserved_bytes,
            keep_free_bytes,
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.spend(self.bytes);
    }
}

fn is_enough(free_bytes: u64, wanted_bytes: [u64; 2], keep_free_bytes: u64) -> bool {
    let sum_bytes = wanted_bytes
        .into_iter()
        .fold(keep_free_bytes, u64::saturating_add);
    sum_bytes <= free_bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::source::SourceId;
    use crate::store::archive::UploadStart;
    use crate::store::attempt::{AttemptStart, Plan};
    use crate::store::folder::footer::FOOTER_BYTES;
    use crate::store::folder::{Faults, Sync};

    const MIB: u64 = 1 << 20;

    #[test]
    fn room_is_given_out_to_its_last_byte_and_what_is_kept_free_is_not() {
        let is_enough = |wanted_bytes| is_enough(50 * MIB, wanted_bytes, 10 * MIB);
        assert!(is_enough([30 * MIB, 10 * MIB]) && is_enough([40 * MIB, 0]));
        assert!(!is_enough([30 * MIB, 10 * MIB + 1]) && !is_enough([40 * MIB + 1, 0]));
        assert!(!is_enough([30 * MIB, u64::MAX]));
    }

    #[test]
    fn a_reservation_shrinks_as_it_is_written_grows_with_what_was_not_announced_and_ends() {
        let store = FolderStore::new("/".into(), Sync::Off, 0, Faults::default());
        let store = Arc::new(store);
        let reserved = || *lock(&store.reserved_bytes);
        let mut announced = store.reserve(100).unwrap();
        let mut other = store.reserve(0).unwrap();
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

    #[tokio::test]
    async fn what_an_upload_in_parts_announces_is_kept_for_it_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let source = SourceId::mint(Timestamp::from_ms(1_900_000_000_000), [1; 10]);
        let plan = |announced_bytes| Plan {
            announced_bytes,
            ..Plan::default()
        };
        let begin = async |store: &Arc<FolderStore>, plan| {
            let begun = store.begin_attempt(source, &plan).await.unwrap();
            let UploadStart::Accepted(attempt) = begun else {
                panic!("it is new");
            };
            attempt
        };
        let kept = |store: &FolderStore| *lock(&store.reserved_bytes) - FOOTER_BYTES as u64;
        let store = FolderStore::open(path.clone(), Sync::Off, 0).unwrap();
        begin(&store, plan(Some(90_000))).await;
        assert_eq!(kept(&store), 90_000);
        let attempt = begin(&store, plan(None)).await;
        assert_eq!(kept(&store), 0);
        let start = store.open_attempt(source, attempt).await.unwrap();
        let AttemptStart::GoesOn(mut open) = start else {
            panic!("{start:?}");
        };
        open.announce(50_000).await.unwrap();
        assert_eq!(kept(&store), 50_000);
        open.commit().await.unwrap();
        open.cancel().await;
        assert_eq!(*lock(&store.reserved_bytes), 0);

        begin(&store, plan(Some(70_000))).await;
        drop(store);
        let next = FolderStore::open(path, Sync::Off, 0).unwrap();
        next.claim().await.unwrap();
        assert_eq!(kept(&next), 70_000);
    }
}
