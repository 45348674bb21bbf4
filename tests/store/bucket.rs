//! What only the store in a bucket promises.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http::Request;
use object_store::aws::AmazonS3Builder;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tower::ServiceExt;
use waystation::clock::{Clock, FakeClock, Timestamp};
use waystation::ops::admin::{UnderWay, admin_router};
use waystation::store::bucket::Overwrite;
use waystation::store::{Attempt, BucketStore, Published, Staged, Store, StoreError};
use waystation_testing::PATIENCE;
use waystation_testing::seaweedfs::{ACCESS_KEY, BUCKET, SECRET_KEY};

use crate::attempts::{self, append, open, plan};
use crate::object_store_double::ObjectStoreDouble;
use crate::suite::{
    EXPIRY, begin, bytes_of, collect, publish, read, source, sweep, wait_until_staged,
};

/// A bucket in memory: what has to be kept for it is nothing.
pub(crate) fn new_store() -> ((), Store) {
    let objects = Arc::new(InMemory::new());
    ((), on(objects, shortly_before_expiry()))
}

/// A store in [`BUCKET`] of the object store that answers there, below a prefix of its own.
pub(crate) fn new_store_at(endpoint: String) -> Store {
    // Another test may have been here before.
    let _ = default_provider().install_default();
    let objects = AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_allow_http(true)
        .with_bucket_name(BUCKET)
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
        .build()
        .unwrap();
    let prefix = format!("{:x}", rand::random::<u64>());
    let clock = shortly_before_expiry();
    Store::Bucket(BucketStore::within(
        Arc::new(objects),
        &prefix,
        Overwrite::Refuse,
        clock,
    ))
}

/// How long before the expiry a download pins its source.
const LEAD: Duration = Duration::from_mins(1);
/// How long a pin holds.
const PINNED_FOR: Duration = Duration::from_mins(15);

pub(crate) fn shortly_before_expiry() -> Clock {
    Clock::Fake(FakeClock::at(EXPIRY.before(LEAD)))
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
    assert_eq!(sweep(&store, before).await.broken, 0);
    let swept = sweep(&store, EXPIRY).await;
    assert_eq!((swept.sources, swept.broken, swept.failures), (0, 1, 0));
    wait_until_staged(&store, 0).await;
}

/// Waits until something in the background has come to be so.
pub(crate) async fn eventually(condition: impl AsyncFn() -> bool) {
    let reached = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, reached).await.unwrap();
}

fn on_double() -> (Arc<ObjectStoreDouble>, Store) {
    on_double_at(shortly_before_expiry())
}

fn on_double_at(clock: Clock) -> (Arc<ObjectStoreDouble>, Store) {
    let objects = Arc::new(ObjectStoreDouble::default());
    (objects.clone(), on(objects, clock))
}

fn on(objects: Arc<dyn ObjectStore>, clock: Clock) -> Store {
    Store::Bucket(BucketStore::within(objects, "p", Overwrite::Refuse, clock))
}

/// Until when the pins in the bucket hold.
async fn pins(objects: &ObjectStoreDouble) -> Vec<Timestamp> {
    let listed: Vec<_> = objects.inner.list(None).try_collect().await.unwrap();
    let keys = listed.iter().map(|meta| meta.location.filename().unwrap());
    let pins = keys.filter_map(|key| key.strip_prefix("pin-")?.split('-').next());
    pins.map(|ms| Timestamp::from_ms(ms.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_running_download_pins_its_source_until_it_ends() {
    let clock = FakeClock::at(EXPIRY.before(Duration::from_mins(5)));
    let (objects, store) = on_double_at(Clock::Fake(clock.clone()));
    let bytes = bytes_of(7_000_000, 7);
    publish(&store, source(1), &bytes).await;
    objects.puts.store(0, Relaxed);
    assert!(read(&store, source(1)).await.unwrap() == bytes);
    assert_eq!(objects.puts.load(Relaxed), 0);

    let download = store.open(source(1)).await.unwrap().unwrap();
    let mut stream = download.into_stream(0..7_000_000);
    let first = stream.next().await.unwrap().unwrap();
    // Its pin is put in time, and replaced before it ends.
    for minutes in [4, 14, 14] {
        clock.advance(Duration::from_mins(minutes));
        let now = Clock::Fake(clock.clone()).now();
        eventually(async || pins(&objects).await == [now.after(PINNED_FOR)]).await;
        // When the one before it has ended.
        assert_eq!(sweep(&store, now.after(LEAD)).await.sources, 0);
    }
    let rest = collect(stream).await;
    assert!([first.as_ref(), &rest].concat() == bytes);
    assert_eq!(objects.puts.load(Relaxed), 3);

    eventually(async || pins(&objects).await.is_empty()).await;
    assert_eq!(sweep(&store, EXPIRY).await.sources, 1);
    assert_eq!(counts(&store).await, (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_download_that_begins_late_waits_for_its_pin_but_not_for_long() {
    for (put_takes, pinned) in [(1, 1), (60, 0)] {
        let objects = Arc::new(ObjectStoreDouble {
            put_takes: Duration::from_secs(put_takes),
            ..ObjectStoreDouble::default()
        });
        let store = on(objects.clone(), shortly_before_expiry());
        publish(&store, source(1), &bytes_of(10, 7)).await;
        let download = store.open(source(1)).await.unwrap().unwrap();
        let mut stream = download.into_stream(0..10);
        stream.next().await.unwrap().unwrap();
        assert_eq!(pins(&objects).await.len(), pinned);
    }
}

#[tokio::test]
async fn a_pin_that_could_not_be_put_is_tried_again_and_the_download_goes_on() {
    let clock = FakeClock::at(EXPIRY.before(LEAD));
    let (objects, store) = on_double_at(Clock::Fake(clock.clone()));
    publish(&store, source(1), &bytes_of(3_000_000, 7)).await;
    objects.puts_fail.store(true, Relaxed);
    let download = store.open(source(1)).await.unwrap().unwrap();
    let mut stream = download.into_stream(0..3_000_000);
    stream.next().await.unwrap().unwrap();
    objects.puts_fail.store(false, Relaxed);
    clock.advance(Duration::from_secs(8));
    eventually(async || !pins(&objects).await.is_empty()).await;
    assert_eq!(sweep(&store, EXPIRY).await.sources, 0);
    assert_eq!(collect(stream).await.len(), 3_000_000 - 1024 * 1024);
}

#[tokio::test]
async fn the_pin_of_a_server_that_was_killed_ends_by_its_deadline() {
    let (objects, store) = on_double();
    publish(&store, source(1), &bytes_of(10, 1)).await;
    let until = EXPIRY.before(LEAD).after(PINNED_FOR);
    let key = format!(
        "p/sources/{}/pin-{:015}-0011223344556677",
        source(1),
        until.as_ms()
    );
    objects.inner.put(&key.into(), "pin".into()).await.unwrap();
    assert_eq!(counts(&store).await, (1, 0, 0));

    let early = until.before(Duration::from_millis(1));
    assert_eq!(sweep(&store, early).await.sources, 0);
    assert_eq!(counts(&store).await, (1, 0, 0));
    assert_eq!(sweep(&store, until).await.sources, 1);
    assert_eq!(counts(&store).await, (0, 0, 0));
    assert!(pins(&objects).await.is_empty());
}

#[tokio::test]
async fn where_nothing_can_be_written_what_has_expired_is_deleted_all_the_same() {
    let (objects, store) = on_double();
    publish(&store, source(1), &bytes_of(10, 1)).await;
    objects.puts_fail.store(true, Relaxed);
    objects.puts.store(0, Relaxed);
    assert_eq!(sweep(&store, EXPIRY).await.sources, 1);
    assert_eq!(objects.puts.load(Relaxed), 0);
}

#[tokio::test]
async fn a_foreign_key_stops_lists_and_is_reported_until_it_is_gone() {
    let (objects, store) = on_double();
    for number in 1..=3 {
        publish(&store, source(number), &bytes_of(10, 1)).await;
    }
    let key = format!("p/sources/{}/zz//x", source(2));
    *objects.foreign_key.lock().unwrap() = Some(key.clone());
    let ready = || ready(&store);
    assert_eq!(ready().await, (200, "ready".to_owned()));

    let is_foreign = |error| matches!(error, StoreError::ForeignKey { key: found } if found == key);
    let swept = store.sweep(EXPIRY.after(store.sweep_grace())).await;
    assert!(is_foreign(swept.unwrap_err()));
    assert!(is_foreign(store.audit().await.unwrap_err()));
    let (status, text) = ready().await;
    assert_eq!(status, 503);
    assert!(text.contains(&key) && text.contains("delete it"), "{text}");

    // What was seen whole before it is gone.
    *objects.foreign_key.lock().unwrap() = None;
    assert_eq!(counts(&store).await, (2, 0, 0));
    assert_eq!(sweep(&store, EXPIRY).await.sources, 2);
    assert_eq!(ready().await, (200, "ready".to_owned()));
}

/// What `/readyz` answers.
async fn ready(store: &Store) -> (u16, String) {
    let clock = shortly_before_expiry();
    let router = admin_router(Arc::default(), store.clone(), clock, UnderWay::default);
    let request = Request::get("/readyz").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1_000).await.unwrap();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    (status, answer["status"].as_str().unwrap().to_owned())
}

/// What an audit counts.
pub(crate) async fn counts(store: &Store) -> (u64, u64, usize) {
    let audit = store.audit().await.unwrap();
    (audit.whole, audit.staged, audit.faults.len())
}

#[tokio::test]
async fn a_record_that_cannot_be_deleted_keeps_its_own_bytes_and_no_others() {
    let (objects, store) = on_double();
    let bytes = bytes_of(3_000_000, 1);
    for number in 1..=3 {
        publish(&store, source(number), &bytes).await;
    }
    let record = format!("{}/record", source(2));
    objects.undeletable.lock().unwrap().insert(record);

    // At no time is there a record without its bytes: a clock that is set back would show it.
    for sources in [2, 0, 0] {
        let swept = sweep(&store, EXPIRY).await;
        assert_eq!((swept.sources, swept.failures), (sources, 1));
        assert_eq!(counts(&store).await, (1, 0, 0));
    }

    objects.undeletable.lock().unwrap().clear();
    assert_eq!(sweep(&store, EXPIRY).await.sources, 1);
    assert_eq!(counts(&store).await, (0, 0, 0));
}

#[tokio::test]
async fn bytes_that_cannot_be_deleted_are_no_archive_any_more() {
    let (objects, store) = on_double();
    publish(&store, source(1), &bytes_of(3_000_000, 1)).await;
    objects
        .undeletable
        .lock()
        .unwrap()
        .insert("/00000000".to_owned());
    assert!(sweep(&store, EXPIRY).await.failures > 0);
    assert_eq!(counts(&store).await, (0, 1, 0));
    assert_eq!(read(&store, source(1)).await, None);

    objects.undeletable.lock().unwrap().clear();
    assert_eq!(sweep(&store, EXPIRY).await.broken, 1);
    assert_eq!(counts(&store).await, (0, 0, 0));
}

#[tokio::test]
async fn what_was_seen_of_a_list_that_breaks_off_is_deleted() {
    let (objects, store) = on_double();
    for number in 1..=3 {
        publish(&store, source(number), &bytes_of(3_000_000, 1)).await;
    }
    // Of the second source its bytes are seen, and not its record.
    let end = format!("{}/record", source(2));
    *objects.list_ends_at.lock().unwrap() = Some(end);
    store
        .sweep(EXPIRY.after(store.sweep_grace()))
        .await
        .unwrap_err();
    *objects.list_ends_at.lock().unwrap() = None;
    assert_eq!(counts(&store).await, (2, 0, 0));
    assert_eq!(read(&store, source(1)).await, None);
    assert_eq!(sweep(&store, EXPIRY).await.sources, 2);
}

#[tokio::test]
async fn an_audit_reads_what_it_calls_whole() {
    let (objects, store) = on_double();
    // Of two parts that are equally long.
    publish(&store, source(1), &bytes_of(2_097_152, 1)).await;
    let listed: Vec<_> = objects.inner.list(None).try_collect().await.unwrap();
    let keys = listed.into_iter().map(|meta| meta.location);
    let mut parts: Vec<_> = keys
        .filter(|key| !key.as_ref().ends_with("record"))
        .collect();
    parts.sort();
    let first = objects.get(&parts[0]).await.unwrap().bytes().await.unwrap();
    let second = objects.get(&parts[1]).await.unwrap().bytes().await.unwrap();
    assert_eq!(counts(&store).await, (1, 0, 0));

    let zeroed = vec![0; first.len()].into();
    for (part, content) in [(0, zeroed), (0, second.clone()), (1, first.clone())] {
        objects.put(&parts[part], content.into()).await.unwrap();
        let audit = store.audit().await.unwrap();
        assert_eq!((audit.whole, audit.faults.len()), (0, 1));
        assert!(audit.faults[0].contains("has changed"), "{audit:?}");
    }
    objects.put(&parts[0], first.into()).await.unwrap();
    objects.put(&parts[1], second.into()).await.unwrap();
    assert_eq!(counts(&store).await, (1, 0, 0));
}

#[tokio::test]
async fn what_is_not_as_long_as_its_head_says_is_no_archive() {
    let (objects, store) = on_double();
    publish(&store, source(1), &bytes_of(10, 1)).await;
    let key = format!("p/sources/{}/record", source(1)).into();
    let record = objects.get(&key).await.unwrap().bytes().await.unwrap();
    let head_bytes = record.len() - 10;
    assert_eq!(record[head_bytes - 1], b'\n');
    let head = |bytes: usize| {
        // Blanks before the end of the line change nothing of what it says.
        let blanks = b" ".repeat(bytes - (head_bytes - 1));
        [
            &record[..head_bytes - 1],
            &blanks,
            &record[head_bytes - 1..],
        ]
        .concat()
    };
    objects.put(&key, head(65_535).into()).await.unwrap();
    assert!(store.open(source(1)).await.unwrap().is_some());
    for broken in [
        head(65_536),
        record[..record.len() - 1].to_vec(),
        [&record[..], b"x"].concat(),
        vec![b'x'; 100_000],
        Vec::new(),
    ] {
        objects.put(&key, broken.into()).await.unwrap();
        let refused = store.open(source(1)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
        assert_eq!(counts(&store).await, (0, 0, 1));
    }
}

#[tokio::test]
async fn an_audit_looks_again_at_what_looks_torn() {
    let (objects, store) = on_double();
    publish(&store, source(1), &bytes_of(3_000_000, 1)).await;
    // As a list does that had come past the last part when it was written.
    let unlist = || *objects.unlisted_once.lock().unwrap() = Some("/00000001".to_owned());
    unlist();
    assert_eq!(counts(&store).await, (1, 0, 0));

    let listed: Vec<_> = objects.inner.list(None).try_collect().await.unwrap();
    let mut keys = listed.into_iter().map(|meta| meta.location);
    let part = keys.find(|key| key.as_ref().ends_with("/00000001"));
    objects.inner.delete(&part.unwrap()).await.unwrap();
    assert_eq!(counts(&store).await, (0, 0, 1));
}

/// Two servers on one bucket.
fn two_nodes() -> [Store; 2] {
    let objects = Arc::new(InMemory::new());
    [(); 2].map(|()| on(objects.clone(), shortly_before_expiry()))
}

async fn stage_in_parts(node: &Store, bytes: &Bytes) -> (Attempt, Staged) {
    let attempt = attempts::begin(node, source(1), &plan(None)).await;
    append(node, source(1), attempt, bytes.slice(..1000)).await;
    let mut open = open(node, source(1), attempt).await;
    open.write(bytes.slice(1000..)).await.unwrap();
    (attempt, open.finish().await.unwrap())
}

#[tokio::test]
async fn what_one_node_is_publishing_another_that_begins_anew_or_cancels_leaves_whole() {
    let bytes = bytes_of(3000, 4);
    for is_begun_anew in [true, false] {
        let [first, second] = two_nodes();
        let (attempt, staged) = stage_in_parts(&first, &bytes).await;
        if is_begun_anew {
            attempts::begin(&second, source(1), &plan(None)).await;
        } else {
            let cancelled = second.cancel_attempt(source(1), attempt).await.unwrap();
            assert!(cancelled.is_some());
        }
        let published = staged.publish(EXPIRY.before(LEAD)).await.unwrap();
        assert!(matches!(published, Published::New(_)));
        assert_eq!(read(&second, source(1)).await.unwrap(), bytes);
        assert_eq!(counts(&second).await, (1, 0, 0));
    }
}

#[tokio::test]
async fn what_one_node_has_given_up_another_does_not_publish() {
    let bytes = bytes_of(3000, 4);
    for is_begun_anew in [true, false] {
        let [first, second] = two_nodes();
        let attempt = attempts::begin(&first, source(1), &plan(None)).await;
        append(&first, source(1), attempt, bytes.clone()).await;
        let open = open(&first, source(1), attempt).await;
        if is_begun_anew {
            attempts::begin(&second, source(1), &plan(None)).await;
        } else {
            let cancelled = second.cancel_attempt(source(1), attempt).await.unwrap();
            assert!(cancelled.is_some());
        }
        let finished = open.finish().await;
        assert!(matches!(finished, Err(StoreError::Superseded)));
        assert_eq!(read(&second, source(1)).await, None);
        // Nobody can be about to publish its parts.
        assert_eq!(second.audit().await.unwrap().staged, 0);
    }
}

#[tokio::test]
async fn of_two_nodes_that_finish_one_that_gives_up_takes_nothing_from_the_other() {
    let bytes = bytes_of(3000, 4);
    for gives_up in [0, 1] {
        let [first, second] = two_nodes();
        let (attempt, staged) = stage_in_parts(&first, &bytes).await;
        let again = open(&second, source(1), attempt).await.finish().await;
        let mut both = vec![staged, again.unwrap()];
        both.remove(gives_up).abandon().await;
        let published = both.remove(0).publish(EXPIRY.before(LEAD)).await.unwrap();
        assert!(matches!(published, Published::New(_)));
        assert_eq!(read(&second, source(1)).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn an_end_whose_answer_is_lost_is_noted_once() {
    let objects = Arc::new(ObjectStoreDouble {
        loses_answers: true,
        ..ObjectStoreDouble::default()
    });
    let store = on(objects, shortly_before_expiry());
    let (_, staged) = stage_in_parts(&store, &bytes_of(3000, 4)).await;
    let published = staged.publish(EXPIRY.before(LEAD)).await.unwrap();
    assert!(matches!(published, Published::New(_)));
}

#[tokio::test]
async fn the_end_of_an_older_request_leaves_what_another_node_has_begun_since() {
    let [first, second] = two_nodes();
    let older = attempts::begin(&first, source(1), &plan(Some(3000))).await;
    let open = open(&first, source(1), older).await;
    let newer = attempts::begin(&second, source(1), &plan(Some(3000))).await;
    append(&second, source(1), newer, bytes_of(1000, 4)).await;
    open.cancel().await;
    let found = second.find_attempt(source(1), newer).await.unwrap();
    assert_eq!(found.unwrap().saved.offset, 1000);
}
