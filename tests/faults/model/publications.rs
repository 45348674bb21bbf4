//! What comes in between the calls of a publication: a sweep by a command, which is another process and takes
//! empty folders away under it, and somebody who downloads.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use waystation::clock::Timestamp;
use waystation::source::SourceId;
use waystation::store::folder::{Faults, Sync, Verdict};
use waystation::store::{FolderStore, Plan, Published, Staged, Store};

use crate::staging::{self, begin};
use waystation_testing::store_folder::entries_of;

const EXPIRY: Timestamp = Timestamp::from_ms(1_900_000_000_500);
/// An end for what should end by itself.
const MAX_CALLS: u32 = 100;

fn source() -> SourceId {
    SourceId::mint(EXPIRY, [1; 10])
}

async fn stage(store: &Store) -> Staged {
    staging::stage(begin(store, source()).await, "an archive").await
}

/// Publishes in `root`, with a sweep at `now` before the call of that number. Was there one?
async fn publish_with_sweep(root: &Path, number: u32, now: Timestamp) -> bool {
    let command = FolderStore::open(root.to_owned(), Sync::On, 0).unwrap();
    let command = Store::Folder(command);
    let handle = Handle::current();
    let left = Arc::new(AtomicU32::new(u32::MAX));
    let calls = Arc::clone(&left);
    let hook = move |_call: &'static str| {
        if calls.fetch_sub(1, Relaxed) == 0 {
            let swept = handle.block_on(command.sweep(now)).unwrap();
            assert_eq!(swept.failures, 0);
        }
        Verdict::Go
    };
    let faults = Faults::decided_by(Arc::new(hook));
    let server = FolderStore::open_failing(root.to_owned(), Sync::On, 0, faults).unwrap();
    let server = Store::Folder(server);
    let staged = stage(&server).await;
    left.store(number, Relaxed);
    let published = staged.publish(EXPIRY).await;
    assert!(
        matches!(published, Ok(Published::New(_))),
        "call {number}, at {now}: {published:?}"
    );
    left.load(Relaxed) > number
}

#[tokio::test]
async fn a_sweep_beside_a_server_breaks_no_publication_whenever_it_comes() {
    let second_over = EXPIRY.after(Duration::from_millis(500));
    for now in [EXPIRY.before(Duration::from_millis(1)), second_over] {
        let mut number = 0;
        loop {
            let root = tempfile::tempdir().unwrap();
            let was_swept = publish_with_sweep(root.path(), number, now).await;
            let store = FolderStore::open(root.path().to_owned(), Sync::On, 0).unwrap();
            Store::Folder(store).sweep(second_over).await.unwrap();
            for folder in ["sources", "stage"] {
                let left = entries_of(&root.path().join(folder));
                assert_eq!(left, [] as [&Path; 0], "call {number}");
            }
            if !was_swept {
                break;
            }
            number += 1;
            assert!(number < MAX_CALLS);
        }
        assert!(number > 5, "{number}");
    }
}

/// Until its folder is synced, a power cut could take the name away again.
#[tokio::test]
async fn a_name_that_is_not_durable_yet_is_shown_to_nobody() {
    let root = tempfile::tempdir().unwrap();
    let server = Arc::new(OnceLock::<Store>::new());
    let (linked, looked) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let hook = {
        let (server, linked, looked) = (Arc::clone(&server), linked, Arc::clone(&looked));
        let handle = Handle::current();
        move |call: &'static str| {
            if call == "link" && server.get().is_some() {
                linked.store(1, Relaxed);
            } else if call == "fsync" && linked.swap(0, Relaxed) == 1 {
                let seen = handle.block_on(server.get().unwrap().open(source()));
                assert!(seen.unwrap().is_none());
                looked.fetch_add(1, Relaxed);
            }
            Verdict::Go
        }
    };
    let faults = Faults::decided_by(Arc::new(hook));
    let folder = FolderStore::open_failing(root.path().to_owned(), Sync::On, 0, faults).unwrap();
    let server = server.get_or_init(|| Store::Folder(folder));
    stage(server).await.publish(EXPIRY).await.unwrap();
    assert!(server.open(source()).await.unwrap().is_some());
    assert_eq!(looked.load(Relaxed), 1);
}

/// Which of two begins, before the other comes in between its calls.
#[derive(Clone, Copy, Debug)]
enum First {
    Beginning,
    Publication,
}

async fn begin_in_parts(store: &Store) {
    let plan = Plan {
        announced_bytes: Some(1000),
        ..Plan::default()
    };
    store.begin_attempt(source(), &plan).await.unwrap();
}

/// Begins an upload in parts, and publishes another upload to the source, one of them before the call of that number
/// of the other. Was there one?
async fn begin_and_publish(first: First, number: u32) -> bool {
    let root = tempfile::tempdir().unwrap();
    let server = Arc::new(OnceLock::<Store>::new());
    let left = Arc::new(AtomicU32::new(u32::MAX));
    let (other, calls, handle) = (Arc::clone(&server), Arc::clone(&left), Handle::current());
    let hook = move |call: &'static str| {
        // The free space is asked for with a lock held, for which the other would wait.
        if call != "statvfs" && calls.fetch_sub(1, Relaxed) == 0 {
            let store = other.get().unwrap();
            handle.block_on(async {
                match first {
                    First::Beginning => {
                        stage(store).await.publish(EXPIRY).await.unwrap();
                    }
                    First::Publication => begin_in_parts(store).await,
                }
            });
        }
        Verdict::Go
    };
    let faults = Faults::decided_by(Arc::new(hook));
    let folder = FolderStore::open_failing(root.path().to_owned(), Sync::On, 0, faults).unwrap();
    let store = server.get_or_init(|| Store::Folder(folder));
    match first {
        First::Beginning => {
            left.store(number, Relaxed);
            begin_in_parts(store).await;
        }
        First::Publication => {
            let staged = stage(store).await;
            left.store(number, Relaxed);
            staged.publish(EXPIRY).await.unwrap();
        }
    }
    let has_met = left.swap(u32::MAX, Relaxed) > number;
    if has_met {
        assert_eq!(store.open_attempts(), [], "{first:?}, call {number}");
    }
    has_met
}

#[tokio::test]
async fn no_upload_in_parts_stays_open_that_begins_while_its_source_gets_an_archive() {
    for first in [First::Beginning, First::Publication] {
        let mut number = 0;
        while begin_and_publish(first, number).await {
            number += 1;
            assert!(number < MAX_CALLS);
        }
        assert!(number > 5, "{number}");
    }
}
