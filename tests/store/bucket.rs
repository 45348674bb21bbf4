//! What only the store in a bucket promises.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use waystation::clock::{Clock, FakeClock, Timestamp};
use waystation::source::SourceId;
use waystation::store::bucket::Overwrite;
use waystation::store::{BucketStore, Store};

use crate::engine_double::EngineDouble;
use crate::suite::{
    EXPIRY, begin, bytes_of, collect, publish, read, source, source_expiring_at, wait_until_staged,
};

/// A bucket in memory: what has to be kept for it is nothing.
pub(crate) fn new_store() -> ((), Store) {
    ((), in_memory(shortly_before_expiry()))
}

/// So shortly that a download leaves a lease.
pub(crate) fn shortly_before_expiry() -> Clock {
    Clock::Fake(FakeClock::at(EXPIRY.before(Duration::from_mins(1))))
}

fn in_memory(clock: Clock) -> Store {
    Store::Bucket(BucketStore::within(
        Arc::new(InMemory::new()),
        "p",
        Overwrite::Refuse,
        clock,
    ))
}

#[tokio::test]
async fn a_start_finds_an_engine_with_conditional_writes_usable_and_leaves_nothing() {
    let ((), store) = new_store();
    assert_eq!(store.claim().await.unwrap(), 0);
    publish(&store, source(1), &bytes_of(10, 1)).await;
    let audit = store.audit().await.unwrap();
    assert_eq!((audit.whole, audit.staged, audit.faults.len()), (1, 0, 0));
}

#[tokio::test]
async fn what_a_killed_server_left_goes_when_its_source_expires() {
    let ((), store) = new_store();
    let mut upload = begin(&store, source(1)).await;
    upload.write(bytes_of(5_000_000, 1)).await.unwrap();
    wait_until_staged(&store, 1).await;
    // As a kill does: nobody takes the parts back.
    std::mem::forget(upload);
    assert_eq!(read(&store, source(1)).await, None);

    let before = EXPIRY.before(Duration::from_millis(1));
    assert_eq!(store.sweep(before).await.unwrap().broken, 0);
    let swept = store.sweep(EXPIRY).await.unwrap();
    assert_eq!((swept.sources, swept.broken, swept.failures), (0, 1, 0));
    wait_until_staged(&store, 0).await;
}

/// Lets what runs in the background do what it can do at once.
async fn let_others_run() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_running_download_keeps_its_source_until_it_ends() {
    // The engine dates what is written by the real time, so the clock begins there.
    let now = Clock::System.now();
    let store = in_memory(Clock::Fake(FakeClock::at(now)));
    let expiry = now.after(Duration::from_secs(1));
    let source = source_expiring_at(expiry, 1);
    let bytes = bytes_of(7_000_000, 7);
    publish(&store, source, &bytes).await;

    let download = store.open(source).await.unwrap().unwrap();
    let mut stream = download.into_stream(0..7_000_000);
    let first = stream.next().await.unwrap().unwrap();
    let_others_run().await;
    assert_eq!(store.sweep(expiry).await.unwrap().sources, 0);
    let rest = collect(stream).await;
    assert!([first.as_ref(), &rest].concat() == bytes);

    let_others_run().await;
    assert_eq!(store.sweep(expiry).await.unwrap().sources, 1);
    assert_eq!(read(&store, source).await, None);
}

fn on_double() -> (Arc<EngineDouble>, Store) {
    on_double_at(shortly_before_expiry())
}

fn on_double_at(clock: Clock) -> (Arc<EngineDouble>, Store) {
    let engine = Arc::new(EngineDouble::default());
    let bucket = BucketStore::within(engine.clone(), "p", Overwrite::Refuse, clock);
    (engine, Store::Bucket(bucket))
}

/// As a killed server leaves one. Returns when it was written, by the engine's clock.
async fn leave_lease(engine: &EngineDouble, source: SourceId) -> Timestamp {
    let key = Path::from(format!("p/sources/{source}/lease-0011223344556677"));
    engine.engine.put(&key, "lease".into()).await.unwrap();
    let meta = engine.engine.head(&key).await.unwrap();
    Timestamp::from_ms(meta.last_modified.timestamp_millis().try_into().unwrap())
}

#[tokio::test]
async fn where_nothing_can_be_written_all_is_deleted_but_what_a_download_may_be_reading() {
    // The engine dates what is written by the real time, so the clock begins there.
    let expiry = Clock::System.now();
    let clock = FakeClock::at(expiry);
    let (engine, store) = on_double_at(Clock::Fake(clock.clone()));
    for number in 1..=5 {
        let source = source_expiring_at(expiry, number);
        publish(&store, source, &bytes_of(10, 1)).await;
    }
    let mut written = expiry;
    for number in [2, 4] {
        written = leave_lease(&engine, source_expiring_at(expiry, number)).await;
    }
    engine.puts_fail.store(true, Relaxed);
    engine.puts.store(0, Relaxed);
    let swept = store.sweep(expiry).await.unwrap();
    assert_eq!((swept.sources, swept.failures), (3, 2));
    assert_eq!(counts(&store).await, (2, 0, 0));
    assert_eq!(engine.puts.load(Relaxed), 1);

    // A lease keeps its source for 35 s, and this clock may be an hour ahead of the engine's.
    let over = written.after(Duration::from_secs(3600 + 35));
    clock.set(over.before(Duration::from_secs(5)));
    assert_eq!(store.sweep(expiry).await.unwrap().failures, 2);
    clock.set(over);
    let swept = store.sweep(expiry).await.unwrap();
    assert_eq!((swept.sources, swept.failures), (2, 0));
    assert_eq!(counts(&store).await, (0, 0, 0));
}

/// What an audit counts.
async fn counts(store: &Store) -> (u64, u64, usize) {
    let audit = store.audit().await.unwrap();
    (audit.whole, audit.staged, audit.faults.len())
}

#[tokio::test]
async fn a_record_that_cannot_be_deleted_keeps_its_own_bytes_and_no_others() {
    let (engine, store) = on_double();
    let bytes = bytes_of(3_000_000, 1);
    for number in 1..=3 {
        publish(&store, source(number), &bytes).await;
    }
    let record = format!("{}/record", source(2));
    engine.undeletable.lock().unwrap().insert(record);

    // At no time is there a record without its bytes: a clock that is set back would show it.
    for sources in [2, 0, 0] {
        let swept = store.sweep(EXPIRY).await.unwrap();
        assert_eq!((swept.sources, swept.failures), (sources, 1));
        assert_eq!(counts(&store).await, (1, 0, 0));
    }

    engine.undeletable.lock().unwrap().clear();
    assert_eq!(store.sweep(EXPIRY).await.unwrap().sources, 1);
    assert_eq!(counts(&store).await, (0, 0, 0));
}

#[tokio::test]
async fn bytes_that_cannot_be_deleted_are_no_archive_any_more() {
    let (engine, store) = on_double();
    publish(&store, source(1), &bytes_of(3_000_000, 1)).await;
    engine
        .undeletable
        .lock()
        .unwrap()
        .insert("/00000000".to_owned());
    assert!(store.sweep(EXPIRY).await.unwrap().failures > 0);
    assert_eq!(counts(&store).await, (0, 1, 0));
    assert_eq!(read(&store, source(1)).await, None);

    engine.undeletable.lock().unwrap().clear();
    assert_eq!(store.sweep(EXPIRY).await.unwrap().broken, 1);
    assert_eq!(counts(&store).await, (0, 0, 0));
}

#[tokio::test]
async fn what_was_seen_of_a_list_that_breaks_off_is_deleted() {
    let (engine, store) = on_double();
    for number in 1..=3 {
        publish(&store, source(number), &bytes_of(10, 1)).await;
    }
    // Of the second source its bytes are seen, and not its record.
    let end = format!("{}/record", source(2));
    *engine.list_ends_at.lock().unwrap() = Some(end);
    store.sweep(EXPIRY).await.unwrap_err();
    *engine.list_ends_at.lock().unwrap() = None;
    assert_eq!(counts(&store).await, (2, 0, 0));
    assert_eq!(read(&store, source(1)).await, None);
    assert_eq!(store.sweep(EXPIRY).await.unwrap().sources, 2);
}

#[tokio::test]
async fn an_audit_looks_again_at_what_looks_torn() {
    let (engine, store) = on_double();
    publish(&store, source(1), &bytes_of(3_000_000, 1)).await;
    // As a list does that had come past the last part when it was written.
    let unlist = || *engine.unlisted_once.lock().unwrap() = Some("/00000002".to_owned());
    unlist();
    assert_eq!(counts(&store).await, (1, 0, 0));

    let listed: Vec<_> = engine.engine.list(None).try_collect().await.unwrap();
    let mut keys = listed.into_iter().map(|meta| meta.location);
    let part = keys.find(|key| key.as_ref().ends_with("/00000002"));
    engine.engine.delete(&part.unwrap()).await.unwrap();
    assert_eq!(counts(&store).await, (0, 0, 1));
}
