//! Requests for uploads in parts that meet, on one server and on two: as the use cases see to it, on an object store that
//! takes its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use waystation::clock::{Clock, FakeClock};
use waystation::digest::{Algorithm, ExpectedDigests};
use waystation::grant::{Action, GrantKeys, UploadGrant};
use waystation::keys::KeyRing;
use waystation::pace::Pace;
use waystation::service::Service;
use waystation::service::deployments::DeploymentLimits;
use waystation::service::sources::attempts::{Part, PartEnd};
use waystation::service::sources::body::{BrokenBody, Sent};
use waystation::service::sources::{Limits, SourceError, TransferMode};
use waystation::store::bucket::Overwrite;
use waystation::store::folder::{Faults, Sync, Verdict};
use waystation::store::{AttemptStart, BucketStore, FolderStore, Store};

use crate::attempts::{append, begin, offset, open, plan};
use crate::object_store_double::ObjectStoreDouble;
use crate::suite::{EXPIRY, bytes_of, source};

/// The longest part that is one object.
const LARGEST_OBJECT_BYTES: usize = 16 * 1024 * 1024;

fn keys() -> KeyRing {
    KeyRing::of(&[[7; 32]])
}

fn node(store: &Store, open_attempts: usize, clock: Clock) -> Service {
    let limits = Limits {
        lifetime: Duration::from_mins(10),
        upload_bytes: u64::MAX,
        transfers: 16,
        uploads_per_source: 1,
        open_attempts,
        open_attempt_bytes: u64::MAX,
        transfer_mode: TransferMode::Proxy,
        upload_pace: Pace {
            idle_timeout: Duration::from_mins(10),
            min_bytes_per_second: 0,
        },
    };
    let limits_of_deployments = DeploymentLimits::default();
    Service::build(&keys(), limits, limits_of_deployments, store, clock)
}

fn clock() -> Clock {
    Clock::Fake(FakeClock::at(EXPIRY.before(Duration::from_mins(5))))
}

fn grant(number: u8) -> UploadGrant {
    let grants = GrantKeys::derive(&keys());
    let token = grants.mint(Action::Upload, source(number));
    let now = clock().now();
    grants
        .verify_upload(source(number), token.reveal(), now)
        .unwrap()
}

fn on(objects: &Arc<ObjectStoreDouble>) -> Store {
    let objects = Arc::clone(objects);
    Store::Bucket(BucketStore::within(
        objects,
        "p",
        Overwrite::Refuse,
        clock(),
    ))
}

fn part(offset: u64, end: PartEnd) -> Part {
    Part {
        offset,
        size_bytes: None,
        end,
        announced_bytes: None,
        expected: ExpectedDigests::default(),
        expected_of_all: ExpectedDigests::default(),
    }
}

fn body(bytes: Bytes) -> impl Stream<Item = Result<Sent, BrokenBody>> + Unpin {
    stream::iter([Ok(Sent::Bytes(bytes))])
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_next_waits_for_what_is_still_being_put_and_goes_on_behind_it() {
    let objects = Arc::new(ObjectStoreDouble {
        put_takes: Duration::from_secs(1),
        ..ObjectStoreDouble::default()
    });
    let store = on(&objects);
    let sources = node(&store, 10, clock()).sources;
    let attempt = begin(&store, source(1), &plan(None)).await;
    let bytes = bytes_of(2 * LARGEST_OBJECT_BYTES, 8);

    let mut checked = part(0, PartEnd::More);
    checked
        .expected
        .add(Algorithm::Sha256, vec![0; 32])
        .unwrap();
    let grant = grant(1);
    let stuck = body(bytes.slice(..=LARGEST_OBJECT_BYTES)).chain(stream::pending());
    let slot = sources.take_slot().unwrap();
    let older = sources.append(slot, &grant, attempt, checked, stuck);
    let newer = async {
        // The beginning, and an object of the part.
        while objects.puts.load(Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        let end = PartEnd::More;
        let found = sources.find_attempt(&grant, attempt, end).await.unwrap();
        let offset = found.saved.offset;
        let start = usize::try_from(offset).unwrap();
        let rest = body(bytes.slice(start..start + 1000));
        let slot = sources.take_slot().unwrap();
        let appended = sources.append(slot, &grant, attempt, part(offset, end), rest);
        (offset, appended.await)
    };
    let (older, (offset, newer)) = tokio::join!(older, newer);
    assert!(matches!(older, Err(SourceError::Superseded)), "{older:?}");
    assert_eq!(offset, LARGEST_OBJECT_BYTES as u64);
    assert_eq!(newer.unwrap().offset, offset + 1000);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_waits_for_its_turn_at_the_object_store_is_not_lost() {
    let objects = Arc::new(ObjectStoreDouble {
        put_takes: Duration::from_secs(1),
        ..ObjectStoreDouble::default()
    });
    let one_slot = BucketStore::with_memory(objects, "p", Overwrite::Refuse, 0, clock());
    let store = Store::Bucket(one_slot);
    let mut open = Vec::new();
    for number in [1, 2] {
        let attempt = begin(&store, source(number), &plan(None)).await;
        let start = store.open_attempt(source(number), attempt).await.unwrap();
        let AttemptStart::GoesOn(attempt) = start else {
            panic!("{start:?}");
        };
        open.push(attempt);
    }
    // It keeps the only turn.
    open[0].write(bytes_of(1_100_000, 1)).await.unwrap();
    open[1].write(bytes_of(1000, 2)).await.unwrap();
    assert!(open[1].commit().now_or_never().is_none());
    assert_eq!(open[1].commit().await.unwrap(), 1000);
}

#[tokio::test]
async fn what_another_node_has_ended_takes_no_place_on_the_one_that_began_it() {
    let objects = Arc::default();
    let stores = [on(&objects), on(&objects)];
    let fake = FakeClock::at(clock().now());
    let nodes = stores.map(|store| node(&store, 1, Clock::Fake(fake.clone())));
    let [first, second] = nodes.map(|node| node.sources);
    let attempt = first.begin_attempt(&grant(1), &plan(None)).await.unwrap();
    let refused = first.begin_attempt(&grant(2), &plan(None)).await;
    assert!(matches!(refused, Err(SourceError::TooManyAttempts(_))));

    let slot = second.take_slot().unwrap();
    let all = body(bytes_of(1000, 1));
    let last = part(0, PartEnd::Last);
    let appended = second.append(slot, &grant(1), attempt, last, all).await;
    assert!(appended.unwrap().published.is_some());
    // It does not look each time.
    let refused = first.begin_attempt(&grant(2), &plan(None)).await;
    assert!(matches!(refused, Err(SourceError::TooManyAttempts(_))));
    fake.advance(Duration::from_secs(10));
    first.begin_attempt(&grant(2), &plan(None)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn those_that_are_open_are_looked_at_by_one_and_then_not_for_a_while() {
    let objects = Arc::new(ObjectStoreDouble {
        get_takes: Duration::from_secs(1),
        ..ObjectStoreDouble::default()
    });
    let fake = FakeClock::at(clock().now());
    let sources = node(&on(&objects), 1, Clock::Fake(fake.clone())).sources;
    let plan = plan(None);
    sources.begin_attempt(&grant(1), &plan).await.unwrap();
    let (gets, lists) = (objects.gets.load(Relaxed), objects.lists.load(Relaxed));
    let (second, third) = (grant(2), grant(3));
    let mut looking = Box::pin(sources.begin_attempt(&second, &plan));
    assert!((&mut looking).now_or_never().is_none());
    fake.advance(Duration::from_secs(10));
    for is_over in [false, true] {
        if is_over {
            let refused = (&mut looking).await;
            assert!(matches!(refused, Err(SourceError::TooManyAttempts(_))));
        }
        let refused = sources.begin_attempt(&third, &plan).now_or_never();
        assert!(matches!(
            refused,
            Some(Err(SourceError::TooManyAttempts(_)))
        ));
    }
    // The beginning, and that there is no archive.
    assert_eq!(objects.gets.load(Relaxed), gets + 2);
    assert_eq!(objects.lists.load(Relaxed), lists);
}

/// docs/scaling.md reckons with these.
#[tokio::test]
async fn an_upload_in_parts_costs_so_many_requests() {
    let objects = Arc::<ObjectStoreDouble>::default();
    let store = on(&objects);
    let asked = || {
        let counts = [&objects.puts, &objects.gets, &objects.lists];
        counts.map(|count| count.swap(0, Relaxed))
    };
    let attempt = begin(&store, source(1), &plan(None)).await;
    assert_eq!(asked(), [1, 2, 0]);
    append(&store, source(1), attempt, bytes_of(1000, 1)).await;
    assert_eq!(asked(), [1, 2, 1]);
    append(&store, source(1), attempt, bytes_of(1000, 2)).await;
    assert_eq!(asked(), [1, 3, 1]);
    offset(&store, source(1), attempt).await;
    assert_eq!(asked(), [0, 3, 1]);
    let mut last = open(&store, source(1), attempt).await;
    last.write(bytes_of(1000, 3)).await.unwrap();
    let staged = last.finish().await.unwrap();
    staged.publish(clock().now()).await.unwrap();
    // The part, that this is the end, and the record.
    assert_eq!(asked(), [3, 3, 1]);
}

/// Its client waits for each sync.
#[tokio::test]
async fn a_part_in_a_folder_is_made_durable_once_and_a_longer_one_once_each_16_mib() {
    const CHECKPOINT_BYTES: usize = 16 * 1024 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&syncs);
    let faults = Faults::decided_by(Arc::new(move |call| {
        counted.fetch_add(usize::from(call == "fdatasync"), Relaxed);
        Verdict::Go
    }));
    let root = folder.path().join("store");
    let store = Store::Folder(FolderStore::open_failing(root, Sync::On, 0, faults).unwrap());
    let sources = node(&store, 1, clock()).sources;
    let grant = grant(1);
    let attempt = sources.begin_attempt(&grant, &plan(None)).await.unwrap();
    let bytes = bytes_of(CHECKPOINT_BYTES, 1);
    let mut at = 0;
    // Bytes, and how far they are.
    for (more, expected) in [(0, 2), (1, 4)] {
        syncs.store(0, Relaxed);
        let mut chunks = vec![bytes.slice(..CHECKPOINT_BYTES)];
        if more > 0 {
            chunks.push(bytes.slice(..more));
        }
        let body = stream::iter(chunks.into_iter().map(Sent::Bytes).map(Ok));
        let slot = sources.take_slot().unwrap();
        let appended = sources.append(slot, &grant, attempt, part(at, PartEnd::More), body);
        at = appended.await.unwrap().offset;
        assert_eq!(syncs.load(Relaxed), expected);
    }
    assert_eq!(at, 2 * CHECKPOINT_BYTES as u64 + 1);
}
