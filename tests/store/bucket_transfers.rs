//! How the bytes of archives go to a bucket and come from it: in how many requests, in which memory, at whose pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::time::{Instant, sleep};
use waystation::clock::{Clock, FakeClock};
use waystation::digest::{Digester, ExpectedDigests};
use waystation::store::bucket::Overwrite;
use waystation::store::{BucketStore, Published, Store, Upload, UploadStart};

use crate::bucket::{counts, eventually, shortly_before_expiry};
use crate::object_store_double::ObjectStoreDouble;
use crate::suite::{EXPIRY, begin, bytes_of, publish, read, source, sweep};

const MIB: usize = 1024 * 1024;

/// A store on an object store that sends 64 KiB at a time; uploads may hold so many mebibytes, besides one each.
fn with_memory(mib: usize) -> (Arc<ObjectStoreDouble>, Store) {
    let objects = Arc::new(ObjectStoreDouble {
        chunk_bytes: 64 * 1024,
        ..ObjectStoreDouble::default()
    });
    let clock = shortly_before_expiry();
    let store = BucketStore::with_memory(objects.clone(), "p", Overwrite::Refuse, mib * MIB, clock);
    (objects, Store::Bucket(store))
}

async fn begin_declared(store: &Store, number: u8, bytes: usize) -> Upload {
    let digester = Digester::expecting(&ExpectedDigests::default());
    let begun = store.begin_upload(source(number), Some(bytes as u64), digester);
    match begun.await.unwrap() {
        UploadStart::Accepted(upload) => upload,
        UploadStart::AlreadyUploaded(facts) => panic!("there is {facts:?} already"),
    }
}

async fn write(upload: &mut Upload, bytes: &Bytes) {
    for at in (0..bytes.len()).step_by(300_000) {
        let end = bytes.len().min(at + 300_000);
        upload.write(bytes.slice(at..end)).await.unwrap();
        tokio::task::yield_now().await;
    }
}

async fn publish_declared(store: &Store, number: u8, bytes: &Bytes) -> Published {
    let mut upload = begin_declared(store, number, bytes.len()).await;
    write(&mut upload, bytes).await;
    let staged = upload.finish().await.unwrap();
    staged.publish(EXPIRY).await.unwrap()
}

/// The lengths of all objects but records, in order.
async fn part_lengths(objects: &ObjectStoreDouble) -> Vec<u64> {
    let mut listed: Vec<_> = objects.inner.list(None).try_collect().await.unwrap();
    listed.sort_by(|a, b| a.location.cmp(&b.location));
    let parts = listed
        .iter()
        .filter(|meta| !meta.location.as_ref().ends_with("record"));
    parts.map(|meta| meta.size).collect()
}

#[tokio::test]
async fn a_small_archive_is_one_object_and_takes_one_request_each_way() {
    for bytes in [1, 64 * 1024, MIB, 10 * MIB] {
        let (objects, store) = with_memory(32);
        let archive = bytes_of(bytes, 1);
        let published = publish_declared(&store, 1, &archive).await;
        assert!(matches!(published, Published::New(_)));
        assert_eq!(
            (objects.puts.load(Relaxed), objects.gets.load(Relaxed)),
            (1, 0)
        );
        assert!(read(&store, source(1)).await.unwrap() == archive);
        assert_eq!(objects.gets.load(Relaxed), 1);
    }
}

#[tokio::test]
async fn what_has_come_with_the_record_goes_out_with_the_head_of_the_answer() {
    let objects = ObjectStoreDouble {
        chunk_bytes: 64 * 1024,
        ..ObjectStoreDouble::default()
    };
    // Nothing has to be pinned yet.
    let clock = FakeClock::at(EXPIRY.before(Duration::from_mins(5)));
    let clock = Clock::Fake(clock);
    let store = BucketStore::within(Arc::new(objects), "p", Overwrite::Refuse, clock);
    let store = Store::Bucket(store);
    let archive = bytes_of(200_000, 1);
    publish_declared(&store, 1, &archive).await;
    for bytes in [200_000, 10] {
        let download = store.open(source(1)).await.unwrap().unwrap();
        let mut stream = download.into_stream(0..bytes as u64);
        let first = stream.next().now_or_never().unwrap().unwrap().unwrap();
        let rest: Vec<Bytes> = stream.try_collect().await.unwrap();
        let all = [vec![first], rest].concat().concat();
        assert!(all == archive[..bytes]);
    }
}

#[tokio::test]
async fn parts_grow_and_shrink_towards_the_end_of_the_archive() {
    for (mib, declared, lengths) in [
        (11, true, vec![2, 4, 3, 2]),
        (16, true, vec![2, 4, 5, 3, 2]),
        (66, true, vec![2, 4, 8, 16, 16, 10, 5, 3, 2]),
        (40, false, vec![1, 2, 4, 8, 16, 9]),
    ] {
        let (objects, store) = with_memory(96);
        let archive = bytes_of(mib * MIB, 1);
        if declared {
            publish_declared(&store, 1, &archive).await;
        } else {
            publish(&store, source(1), &archive).await;
        }
        let lengths: Vec<_> = lengths.iter().map(|mib| mib * MIB as u64).collect();
        assert_eq!(part_lengths(&objects).await, lengths, "{mib} MiB");
        objects.gets.store(0, Relaxed);
        assert!(read(&store, source(1)).await.unwrap() == archive);
        assert_eq!(objects.gets.load(Relaxed), 1 + lengths.len() as u64);
    }
}

#[tokio::test]
async fn where_memory_is_short_parts_are_shorter_and_every_upload_goes_on() {
    // Six pieces beside the one that each upload has, of which one in three is for parts of one.
    let (objects, store) = with_memory(6);
    let archive = bytes_of(8 * MIB, 1);
    let mut first = begin_declared(&store, 1, archive.len()).await;
    // It holds all that there is for long parts, and stands still.
    write(&mut first, &archive.slice(..5 * MIB)).await;
    let second = bytes_of(9 * MIB + 1, 2);
    publish_declared(&store, 2, &second).await;
    let lengths = part_lengths(&objects).await;
    assert!(
        lengths.iter().all(|length| *length <= MIB as u64),
        "{lengths:?}"
    );
    write(&mut first, &archive.slice(5 * MIB..)).await;
    first.finish().await.unwrap().publish(EXPIRY).await.unwrap();
    assert!(read(&store, source(1)).await.unwrap() == archive);
    assert!(read(&store, source(2)).await.unwrap() == second);
    assert_eq!(counts(&store).await, (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_holds_little_of_the_memory() {
    let (objects, store) = with_memory(32);
    let archive = bytes_of(6 * MIB, 1);
    let mut upload = begin_declared(&store, 1, archive.len()).await;
    for at in (0..archive.len()).step_by(MIB / 2) {
        upload.write(archive.slice(at..at + MIB / 2)).await.unwrap();
        sleep(Duration::from_secs(2)).await;
    }
    upload
        .finish()
        .await
        .unwrap()
        .publish(EXPIRY)
        .await
        .unwrap();
    assert_eq!(part_lengths(&objects).await, [MIB as u64; 6]);
}

#[tokio::test]
async fn an_upload_to_a_source_that_has_an_archive_learns_so_while_it_is_sent() {
    let (objects, store) = with_memory(96);
    let archive = bytes_of(20 * MIB, 1);
    let Published::New(facts) = publish_declared(&store, 1, &archive).await else {
        panic!("there was none");
    };
    let mut again = begin_declared(&store, 1, archive.len()).await;
    write(&mut again, &archive).await;
    assert_eq!(again.first(), Some(&facts));
    let staged = again.finish().await.unwrap();
    assert_eq!(staged.digests.sha256, facts.sha256);
    let published = staged.publish(EXPIRY).await.unwrap();
    assert_eq!(published, Published::AlreadyUploaded(facts));
    assert_eq!(counts(&store).await, (1, 0, 0));

    // One that is small learns it at its end, and whoever asks learns it at once.
    let small = bytes_of(10, 2);
    assert_eq!(store.find_first(source(1)).await.unwrap(), Some(facts));
    let mut small_upload = begin_declared(&store, 1, 10).await;
    write(&mut small_upload, &small).await;
    let published = small_upload.finish().await.unwrap().publish(EXPIRY).await;
    assert_eq!(published.unwrap(), Published::AlreadyUploaded(facts));
    assert!(read(&store, source(1)).await.unwrap() == archive);
    assert!(objects.puts.load(Relaxed) > 0);
}

#[tokio::test]
async fn parts_are_asked_for_before_they_are_needed() {
    let (objects, store) = with_memory(96);
    publish_declared(&store, 1, &bytes_of(64 * MIB, 1)).await;
    let download = store.open(source(1)).await.unwrap().unwrap();
    objects.gets.store(0, Relaxed);
    let mut stream = download.into_stream(0..64 * MIB as u64);
    stream.next().await.unwrap().unwrap();
    eventually(async || objects.gets.load(Relaxed) == 4).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_holds_no_connection_to_the_object_store() {
    // Of what fits into a mebibyte nothing is asked for again; else there is a request for each mebibyte that is sent
    // slowly, and few for the rest.
    for (mib, most_gets) in [(1, 1), (30, 16)] {
        let (objects, store) = with_memory(96);
        let archive = bytes_of(mib * MIB, 1);
        publish_declared(&store, 1, &archive).await;
        let download = store.open(source(1)).await.unwrap().unwrap();
        let mut stream = download.into_stream(0..archive.len() as u64);
        let mut found = Vec::new();
        for _ in 0..40 {
            found.extend_from_slice(&stream.next().await.unwrap().unwrap());
            sleep(Duration::from_secs(1)).await;
            assert_eq!(objects.open_answers.load(Relaxed), 0);
            if found.len() == archive.len() {
                break;
            }
        }
        // It is quick again.
        let rest: Vec<Bytes> = stream.try_collect().await.unwrap();
        assert!([found, rest.concat()].concat() == archive);
        let gets = objects.gets.load(Relaxed);
        assert!(gets <= most_gets, "{gets}");
    }
}

#[tokio::test]
async fn a_download_that_is_given_up_gives_its_requests_up() {
    let (objects, store) = with_memory(96);
    publish_declared(&store, 1, &bytes_of(64 * MIB, 1)).await;
    let download = store.open(source(1)).await.unwrap().unwrap();
    let mut stream = download.into_stream(0..64 * MIB as u64);
    stream.next().await.unwrap().unwrap();
    assert!(objects.open_answers.load(Relaxed) > 0);
    drop(stream);
    eventually(async || objects.open_answers.load(Relaxed) == 0).await;
}

#[tokio::test]
async fn any_range_of_an_archive_of_many_lengths_comes_back() {
    let (_objects, store) = with_memory(96);
    let archive = bytes_of(12 * MIB + 7, 1);
    publish(&store, source(1), &archive).await;
    let edges = [
        0,
        1,
        MIB - 1,
        MIB,
        3 * MIB,
        3 * MIB + 1,
        7 * MIB,
        archive.len(),
    ];
    for (at, start) in edges.into_iter().enumerate() {
        for end in &edges[at + 1..] {
            let download = store.open(source(1)).await.unwrap().unwrap();
            let found = download.into_stream(start as u64..*end as u64);
            assert!(crate::suite::collect(found).await == archive.slice(start..*end));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_transfer_waits_for_an_object_store_that_lists_slowly() {
    const SLOW: Duration = Duration::from_secs(30);
    let objects = Arc::new(ObjectStoreDouble {
        list_takes: SLOW,
        ..ObjectStoreDouble::default()
    });
    let clock = shortly_before_expiry();
    let store = Store::Bucket(BucketStore::within(objects, "p", Overwrite::Refuse, clock));
    let archive = bytes_of(12 * MIB, 1);
    let began = Instant::now();
    publish_declared(&store, 1, &archive).await;
    assert!(read(&store, source(1)).await.unwrap() == archive);
    assert!(began.elapsed() < SLOW);
    // The pin of that download has ended by then, in any case.
    let late = EXPIRY.after(Duration::from_hours(1));
    assert_eq!(sweep(&store, late).await.sources, 1);
    assert!(began.elapsed() >= SLOW);
}

/// As the version before this one wrote them.
async fn put_old(objects: &ObjectStoreDouble, number: u8, archive: &Bytes) {
    let attempt = "00112233445566778899aabbccddeeff";
    let folder = format!("p/sources/{}", source(number));
    for (part, bytes) in archive.chunks(MIB).enumerate() {
        let key = format!("{folder}/{attempt}/{part:08}").into();
        objects
            .inner
            .put(&key, bytes.to_vec().into())
            .await
            .unwrap();
    }
    let mut digester = Digester::default();
    digester.update(archive);
    let (size, sha256) = (archive.len(), digester.finish().sha256);
    let record = format!(
        r#"{{"attempt":"{attempt}","part_bytes":1048576,"size_bytes":{size},"sha256":"{sha256}","media_type":"application/octet-stream","uploaded_at":"2030-03-17T17:46:39.000Z"}}"#
    );
    let key = format!("{folder}/record").into();
    objects.inner.put(&key, record.into()).await.unwrap();
}

#[tokio::test]
async fn a_bucket_of_the_version_before_is_served_audited_and_swept() {
    let (objects, store) = with_memory(96);
    let archives = [1, MIB, 2 * MIB + 5].map(|bytes| bytes_of(bytes, 3));
    for (number, archive) in (1..).zip(&archives) {
        put_old(&objects, number, archive).await;
    }
    assert_eq!(counts(&store).await, (3, 0, 0));
    for (number, archive) in (1..).zip(&archives) {
        assert!(read(&store, source(number)).await.unwrap() == *archive);
        let published = publish_declared(&store, number, &bytes_of(5, 9)).await;
        assert!(matches!(published, Published::AlreadyUploaded(_)));
    }
    // A part that is missing is noticed.
    let folder = format!("p/sources/{}/00112233445566778899aabbccddeeff", source(3));
    objects
        .inner
        .delete(&format!("{folder}/00000002").into())
        .await
        .unwrap();
    assert_eq!(counts(&store).await, (2, 0, 1));

    assert_eq!(sweep(&store, EXPIRY).await.sources, 3);
    let left: Vec<_> = objects
        .inner
        .list(None)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    assert_eq!(left.len(), 0);
}

#[tokio::test]
async fn an_upload_that_began_without_a_length_looks_before() {
    let (objects, store) = with_memory(96);
    let upload = begin(&store, source(1)).await;
    assert_eq!(objects.gets.load(Relaxed), 1);
    upload.abandon().await;
    let open: &AtomicUsize = &objects.open_answers;
    assert_eq!(open.load(Relaxed), 0);
}
