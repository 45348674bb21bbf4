//! What every store promises of pins, and at the end what only one of them shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::join;
use object_store::ObjectStoreExt;
use tempfile::TempDir;
use tokio::runtime::Handle;
use waystation::clock::Timestamp;
use waystation::store::folder::{Faults, Sync, Verdict};
use waystation::store::{FolderStore, Pin, Store};
use waystation_testing::PATIENCE;
use waystation_testing::store_folder::entries_of;

use crate::documents::on_double;
use crate::object_store_double::ObjectStoreDouble;
use crate::suite::{EXPIRY, assert_empty, bytes_of, publish, read, source, sweep};

const MS: Duration = Duration::from_millis(1);

fn minutes_after_expiry(minutes: u64) -> Timestamp {
    EXPIRY.after(Duration::from_mins(minutes))
}

async fn pin(store: &Store, until: Timestamp) -> Pin {
    store.pin(source(1), until).await.unwrap().unwrap()
}

pub(crate) async fn a_pinned_archive_stays_beyond_its_expiry_until_it_is_unpinned(store: &Store) {
    let bytes = bytes_of(100_000, 1);
    publish(store, source(1), &bytes).await;
    publish(store, source(2), &bytes).await;
    let pin = pin(store, minutes_after_expiry(90)).await;
    for minutes in [0, 1, 89] {
        let swept = sweep(store, minutes_after_expiry(minutes)).await;
        assert_eq!(
            (swept.sources, swept.failures),
            (u64::from(minutes == 0), 0)
        );
        assert_eq!(read(store, source(1)).await.unwrap(), bytes);
    }
    assert_eq!(read(store, source(2)).await, None);
    let audit = store.audit().await.unwrap();
    assert_eq!((audit.whole, audit.faults.len()), (1, 0));

    // As it was kept in a document.
    let pin: Pin = serde_json::from_value(serde_json::to_value(pin).unwrap()).unwrap();
    store.unpin(source(1), &pin).await.unwrap();
    // In a bucket a download that has just ended takes its own pin away in the background.
    let gone = async {
        while sweep(store, minutes_after_expiry(1)).await.sources == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(read(store, source(1)).await, None);
    assert_empty(store).await;
}

pub(crate) async fn a_pin_ends_by_its_deadline(store: &Store) {
    publish(store, source(1), &bytes_of(10, 1)).await;
    let until = minutes_after_expiry(90);
    pin(store, until).await;
    assert_eq!(sweep(store, until.before(MS)).await.sources, 0);
    assert_eq!(sweep(store, until).await.sources, 1);
    assert_empty(store).await;
    assert_eq!(sweep(store, until).await.sources, 0);
}

pub(crate) async fn of_several_pins_the_last_one_counts(store: &Store) {
    publish(store, source(1), &bytes_of(10, 1)).await;
    let longest = pin(store, minutes_after_expiry(90)).await;
    pin(store, minutes_after_expiry(30)).await;
    pin(store, minutes_after_expiry(60)).await;
    // One that ends before the source expires keeps nothing, and harms nothing.
    pin(store, EXPIRY.before(MS)).await;
    assert_eq!(sweep(store, minutes_after_expiry(61)).await.sources, 0);
    store.unpin(source(1), &longest).await.unwrap();
    assert_eq!(sweep(store, minutes_after_expiry(59)).await.sources, 0);
    assert_eq!(sweep(store, minutes_after_expiry(60)).await.sources, 1);
    assert_empty(store).await;
}

pub(crate) async fn what_is_not_there_cannot_be_pinned(store: &Store) {
    let until = minutes_after_expiry(90);
    assert_eq!(store.pin(source(1), until).await.unwrap(), None);
    publish(store, source(1), &bytes_of(10, 1)).await;
    assert_eq!(store.pin(source(2), until).await.unwrap(), None);
    assert_eq!(sweep(store, EXPIRY).await.sources, 1);
    assert_eq!(store.pin(source(1), until).await.unwrap(), None);
    assert_empty(store).await;
}

pub(crate) async fn a_pin_that_is_gone_can_be_taken_away_again(store: &Store) {
    publish(store, source(1), &bytes_of(10, 1)).await;
    let pin = pin(store, minutes_after_expiry(90)).await;
    for _ in 0..2 {
        store.unpin(source(1), &pin).await.unwrap();
    }
    assert_eq!(sweep(store, EXPIRY).await.sources, 1);
    store.unpin(source(1), &pin).await.unwrap();
    assert_empty(store).await;
}

#[tokio::test]
async fn what_was_uploaded_past_us_is_pinned_as_well() {
    let (double, store) = on_double(ObjectStoreDouble::default());
    let direct = format!("p/sources/{}/direct", source(1)).into();
    double
        .inner
        .put(&direct, "an archive".into())
        .await
        .unwrap();
    pin(&store, minutes_after_expiry(90)).await;
    assert_eq!(sweep(&store, minutes_after_expiry(89)).await.sources, 0);
    double.inner.head(&direct).await.unwrap();
    assert_eq!(sweep(&store, minutes_after_expiry(90)).await.sources, 1);
    assert!(double.inner.head(&direct).await.is_err());
}

/// A store in a folder, and another process on it.
fn failing_store(faults: Faults) -> (TempDir, Store, Store) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = FolderStore::open_failing(root.clone(), Sync::On, 0, faults).unwrap();
    let other = FolderStore::open(root, Sync::On, 0).unwrap();
    (folder, Store::Folder(store), Store::Folder(other))
}

#[tokio::test]
async fn a_sweep_that_comes_while_an_archive_is_pinned_keeps_it_or_leaves_no_pin() {
    let (_folder, store, command) = failing_store(Faults::default());
    let (mut pinned, mut gone) = (0, 0);
    for number in 0..100 {
        publish(&store, source(number), &bytes_of(10, number)).await;
        let until = minutes_after_expiry(90);
        let (pin, swept) = join(store.pin(source(number), until), sweep(&command, EXPIRY)).await;
        let is_there = read(&store, source(number)).await.is_some();
        assert_eq!(swept.sources, u64::from(!is_there));
        match pin.unwrap() {
            Some(pin) => {
                assert!(is_there);
                store.unpin(source(number), &pin).await.unwrap();
                pinned += 1;
            }
            None => gone += 1,
        }
        sweep(&store, EXPIRY).await;
    }
    println!("{pinned} were pinned in time, {gone} were not");
    assert_empty(&store).await;
}

/// Between its look and its deletion the sweep takes the lock.
#[tokio::test]
async fn a_sweep_looks_again_at_what_was_pinned_since_it_looked() {
    let server = Arc::new(std::sync::OnceLock::<Store>::new());
    let has_pinned = Arc::new(AtomicBool::new(false));
    let hook = {
        let (server, has_pinned) = (Arc::clone(&server), Arc::clone(&has_pinned));
        let handle = Handle::current();
        move |call: &'static str| {
            if call == "flock" && !has_pinned.swap(true, Relaxed) {
                let until = minutes_after_expiry(90);
                let pin = server.get().unwrap().pin(source(1), until);
                assert!(handle.block_on(pin).unwrap().is_some());
            }
            Verdict::Go
        }
    };
    let (_folder, command, other) = failing_store(Faults::decided_by(Arc::new(hook)));
    let other = server.get_or_init(|| other);
    publish(other, source(1), &bytes_of(10, 1)).await;
    other
        .unpin(source(1), &pin(other, EXPIRY).await)
        .await
        .unwrap();
    assert_eq!(sweep(&command, EXPIRY).await.sources, 0);
    assert!(has_pinned.load(Relaxed));
    assert!(read(other, source(1)).await.is_some());
}

#[tokio::test]
async fn a_sweep_with_nothing_to_delete_takes_no_lock() {
    let locks = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&locks);
    let faults = Faults::decided_by(Arc::new(move |call| {
        counted.fetch_add(u32::from(call == "flock"), Relaxed);
        Verdict::Go
    }));
    let (_folder, store, other) = failing_store(faults);
    publish(&other, source(1), &bytes_of(10, 1)).await;
    pin(&other, minutes_after_expiry(90)).await;
    assert_eq!(sweep(&store, minutes_after_expiry(1)).await.sources, 0);
    assert_eq!(locks.load(Relaxed), 0);
}

#[tokio::test]
async fn what_looks_like_a_pin_and_is_none_is_reported_and_stays() {
    let (folder, store) = crate::folder::new_store();
    publish(&store, source(1), &bytes_of(10, 1)).await;
    pin(&store, minutes_after_expiry(1)).await;
    let mut files = entries_of(&folder.path().join("store/sources"));
    files.retain(|path| path.is_file() && path.to_str().unwrap().contains("pin-"));
    let [pin] = files.as_slice() else {
        panic!("{files:?}");
    };
    let name = pin.file_name().unwrap().to_str().unwrap();
    let foreign = [
        format!("{name}0"),
        name.replace(".pin-", ".pin-0"),
        "x.pin-1".into(),
    ];
    let foreign = foreign.map(|name| pin.with_file_name(name));
    for path in &foreign {
        std::fs::write(path, "an operator's").unwrap();
    }
    assert_eq!(store.audit().await.unwrap().faults.len(), 3);
    let swept = sweep(&store, minutes_after_expiry(1)).await;
    assert_eq!((swept.sources, swept.failures), (1, 0));
    assert!(!pin.exists() && foreign.iter().all(|path| path.exists()));
}
