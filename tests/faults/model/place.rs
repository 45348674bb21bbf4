//! Where a sequence's store is, and what it promises there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use waystation::clock::{FakeClock, Timestamp};
use waystation::source::SourceId;
use waystation::store::folder::Sync;
use waystation::store::{Store, StoreError};

use super::failing_bucket::Bucket;
use super::failing_folder::Folder;
use super::reference::Terms;
use super::run::START;
use super::trouble::{Failed, Trouble};

#[derive(Debug)]
pub(crate) enum Place {
    Folder(Folder),
    Bucket(Bucket),
}

impl Place {
    pub(crate) fn in_folder() -> Self {
        Self::Folder(Folder::new(Sync::On))
    }

    pub(crate) fn in_memory() -> Self {
        let objects = Arc::new(InMemory::new());
        Self::Bucket(Bucket::new(objects, false, &FakeClock::at(START)))
    }

    /// As a server that starts. Where a start removes leftovers, it says how many there were.
    pub(crate) async fn open(&self, trouble: &Trouble) -> Result<(Store, Option<u64>), StoreError> {
        match self {
            Self::Folder(folder) => {
                let (store, removed) = folder.open(trouble).await?;
                Ok((store, Some(removed)))
            }
            Self::Bucket(bucket) => Ok((bucket.open(trouble).await?, None)),
        }
    }

    pub(crate) fn terms(&self) -> Terms {
        match self {
            Self::Folder(_) => Terms {
                sweep_grace: Duration::ZERO,
                is_error_open: false,
                can_be_full: true,
                has_pins: false,
            },
            Self::Bucket(_) => Terms {
                sweep_grace: Duration::from_secs(20),
                is_error_open: true,
                can_be_full: false,
                has_pins: true,
            },
        }
    }

    /// How many things are there that belong to something under way, or were left by what is dead.
    pub(crate) async fn staged(&self) -> u64 {
        match self {
            Self::Folder(folder) => folder.staged(),
            Self::Bucket(bucket) => bucket.staged().await,
        }
    }

    /// How many things failed calls may leave there.
    pub(crate) fn may_be_left(&self, failed: Failed) -> u64 {
        match self {
            Self::Folder(_) => failed.unlinks.into(),
            Self::Bucket(_) => failed.calls.into(),
        }
    }

    /// What a client may be answered when calls have failed.
    pub(crate) fn excuses(&self, failed: Failed) -> &'static [u16] {
        match self {
            _ if failed.calls == 0 => &[],
            Self::Bucket(_) => &[503],
            Self::Folder(_) if failed.for_room == failed.calls => &[507],
            Self::Folder(_) if failed.for_files == failed.calls => &[503],
            Self::Folder(_) if failed.for_room + failed.for_files == 0 => &[500],
            Self::Folder(_) => &[500, 503, 507],
        }
    }

    /// May what a client sent still have an effect long after it went away?
    pub(crate) fn is_remote(&self) -> bool {
        match self {
            Self::Folder(_) => false,
            Self::Bucket(bucket) => bucket.is_remote,
        }
    }

    pub(crate) async fn archives(&self) -> BTreeSet<SourceId> {
        match self {
            Self::Folder(folder) => folder.archives(),
            Self::Bucket(bucket) => bucket.archives().await,
        }
    }

    /// All that is there of any source.
    pub(crate) async fn entries(&self) -> Vec<String> {
        match self {
            Self::Folder(folder) => {
                let entries = folder.entries().into_iter();
                entries.map(|path| path.display().to_string()).collect()
            }
            Self::Bucket(bucket) => bucket.entries().await,
        }
    }

    /// The names of all journals.
    pub(crate) async fn journals(&self) -> Vec<String> {
        match self {
            Self::Folder(folder) => folder.journals(),
            Self::Bucket(bucket) => bucket.journals().await,
        }
    }

    /// Until when what killed downloads left holds.
    pub(crate) async fn held_until(&self) -> Option<Timestamp> {
        match self {
            Self::Folder(_) => None,
            Self::Bucket(bucket) => bucket.pinned_until().await,
        }
    }
}
