//! What every store promises of uploads in parts.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use waystation::clock::Timestamp;
use waystation::digest::{Algorithm, ExpectedDigests};
use waystation::media::MediaType;
use waystation::source::{Facts, SourceId};
use waystation::store::{Attempt, AttemptStart, OpenAttempt, Plan, Published, Store, UploadStart};

use crate::suite::{EXPIRY, assert_empty, bytes_of, publish, read, source, sweep};

const UPLOADED: Timestamp = Timestamp::from_ms(1_899_999_999_500);

pub(crate) fn plan(announced_bytes: Option<u64>) -> Plan {
    Plan {
        announced_bytes,
        ..Plan::default()
    }
}

pub(crate) async fn begin(store: &Store, source: SourceId, plan: &Plan) -> Attempt {
    match store.begin_attempt(source, plan).await.unwrap() {
        UploadStart::Accepted(attempt) => attempt,
        UploadStart::AlreadyUploaded(facts) => panic!("there is {facts:?} already"),
    }
}

pub(crate) async fn open(store: &Store, source: SourceId, attempt: Attempt) -> OpenAttempt {
    let start = store.open_attempt(source, attempt).await.unwrap();
    let AttemptStart::GoesOn(open) = start else {
        panic!("{start:?}");
    };
    open
}

/// Appends a part, as one request does. Returns the offset that is told.
pub(crate) async fn append(store: &Store, source: SourceId, attempt: Attempt, part: Bytes) -> u64 {
    let mut open = open(store, source, attempt).await;
    open.write(part).await.unwrap();
    open.commit().await.unwrap()
}

async fn finish(store: &Store, source: SourceId, attempt: Attempt) -> Published {
    let open = open(store, source, attempt).await;
    let staged = open.finish().await.unwrap();
    staged.publish(UPLOADED).await.unwrap()
}

pub(crate) async fn offset(store: &Store, source: SourceId, attempt: Attempt) -> Option<u64> {
    let found = store.find_attempt(source, attempt).await.unwrap();
    found.map(|progress| progress.saved.offset)
}

fn facts_of(published: Published) -> Facts {
    match published {
        Published::New(facts) => facts,
        Published::AlreadyUploaded(facts) => panic!("there is {facts:?} already"),
    }
}

pub(crate) async fn parts_of_any_length_become_one_archive_with_the_facts_of_its_bytes(
    store: &Store,
) {
    let bytes: Bytes = [b"\x1f\x8b\x08\x00".as_slice(), &bytes_of(1_400_000, 3)]
        .concat()
        .into();
    let mut expected = ExpectedDigests::default();
    expected.add(Algorithm::Md5, vec![0; 16]).unwrap();
    let plan = Plan {
        announced_bytes: Some(bytes.len() as u64),
        expected,
        metadata: Some("filename d29ybGQ=".to_owned()),
    };
    let attempt = begin(store, source(1), &plan).await;
    let mut at = 0;
    for length in [1, 63, 64, 65, 500, 70_000, 1_000_000] {
        let part = bytes.slice(at..at + length);
        at += length;
        assert_eq!(append(store, source(1), attempt, part).await, at as u64);
        let progress = store
            .find_attempt(source(1), attempt)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((progress.saved.offset, &progress.plan), (at as u64, &plan));
        assert_eq!(progress.first, None);
    }
    assert_eq!(read(store, source(1)).await, None);
    append(store, source(1), attempt, bytes.slice(at..)).await;
    let facts = facts_of(finish(store, source(1), attempt).await);
    assert_eq!(facts.size_bytes, bytes.len() as u64);
    assert_eq!(facts.sha256.0, *Sha256::digest(&bytes));
    assert_eq!(facts.media_type, MediaType::Gzip);
    assert_eq!(read(store, source(1)).await.unwrap(), bytes);
    let progress = store
        .find_attempt(source(1), attempt)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(progress.published(), Some(facts));
}

pub(crate) async fn what_was_not_committed_is_sent_again(store: &Store) {
    let bytes = bytes_of(200_000, 5);
    let attempt = begin(store, source(1), &plan(None)).await;
    append(store, source(1), attempt, bytes.slice(..1000)).await;
    let mut broken = open(store, source(1), attempt).await;
    broken.write(bytes_of(100_000, 9)).await.unwrap();
    drop(broken);
    assert_eq!(offset(store, source(1), attempt).await, Some(1000));
    append(store, source(1), attempt, bytes.slice(1000..)).await;
    facts_of(finish(store, source(1), attempt).await);
    assert_eq!(read(store, source(1)).await.unwrap(), bytes);
}

pub(crate) async fn a_length_that_becomes_known_stays_known(store: &Store) {
    let attempt = begin(store, source(1), &plan(None)).await;
    let mut part = open(store, source(1), attempt).await;
    part.announce(10).await.unwrap();
    part.write(bytes_of(4, 1)).await.unwrap();
    part.commit().await.unwrap();
    drop(part);
    let progress = store
        .find_attempt(source(1), attempt)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(progress.saved.announced_bytes, Some(10));
    assert_eq!(progress.plan.announced_bytes, None);
}

pub(crate) async fn a_new_beginning_replaces_the_one_before(store: &Store) {
    let older = begin(store, source(1), &plan(Some(3))).await;
    append(store, source(1), older, bytes_of(3, 1)).await;
    let newer = begin(store, source(1), &plan(Some(3))).await;
    let other = begin(store, source(2), &plan(Some(3))).await;
    assert_eq!(offset(store, source(1), older).await, None);
    assert!(matches!(
        store.open_attempt(source(1), older).await.unwrap(),
        AttemptStart::Unknown
    ));
    assert_eq!(offset(store, source(1), newer).await, Some(0));
    assert_eq!(offset(store, source(2), other).await, Some(0));
    assert_eq!(offset(store, source(2), newer).await, None);
}

pub(crate) async fn a_cancelled_attempt_leaves_nothing(store: &Store) {
    let attempt = begin(store, source(1), &plan(Some(1000))).await;
    append(store, source(1), attempt, bytes_of(700, 1)).await;
    let cancelled = store.cancel_attempt(source(1), attempt).await.unwrap();
    assert_eq!(cancelled.unwrap().saved.offset, 700);
    let again = store.cancel_attempt(source(1), attempt).await.unwrap();
    assert_eq!(again, None);
    assert_eq!(offset(store, source(1), attempt).await, None);

    for is_staged in [false, true] {
        let attempt = begin(store, source(1), &plan(None)).await;
        append(store, source(1), attempt, bytes_of(700, 1)).await;
        let open = open(store, source(1), attempt).await;
        if is_staged {
            open.finish().await.unwrap().abandon().await;
        } else {
            open.cancel().await;
        }
        assert_eq!(offset(store, source(1), attempt).await, None);
    }
    assert_eq!(store.open_attempts(), []);
    assert_empty(store).await;
}

pub(crate) async fn whoever_publishes_first_stays_be_it_in_parts_or_whole(store: &Store) {
    let attempt = begin(store, source(1), &plan(None)).await;
    append(store, source(1), attempt, bytes_of(100, 1)).await;
    let late = open(store, source(1), attempt)
        .await
        .finish()
        .await
        .unwrap();
    let first = publish(store, source(1), &bytes_of(100, 2)).await;
    let published = late.publish(UPLOADED).await.unwrap();
    assert_eq!(published, Published::AlreadyUploaded(first));
    let progress = store
        .find_attempt(source(1), attempt)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((progress.first, progress.published()), (Some(first), None));
    let start = store.open_attempt(source(1), attempt).await.unwrap();
    assert!(matches!(start, AttemptStart::Ended(progress) if progress.first == Some(first)));
    match store.begin_attempt(source(1), &plan(None)).await.unwrap() {
        UploadStart::AlreadyUploaded(learned) => assert_eq!(learned, first),
        UploadStart::Accepted(_) => panic!("it has been uploaded"),
    }
    assert_eq!(read(store, source(1)).await.unwrap(), bytes_of(100, 2));

    // The same bytes, sent whole meanwhile, are the archive that was meant.
    let attempt = begin(store, source(2), &plan(None)).await;
    append(store, source(2), attempt, bytes_of(100, 3)).await;
    let whole = publish(store, source(2), &bytes_of(100, 3)).await;
    let progress = store
        .find_attempt(source(2), attempt)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(progress.published(), Some(whole));
}

pub(crate) async fn an_end_that_is_not_noted_is_unknown_to_who_resumes(store: &Store) {
    let bytes = bytes_of(100, 1);
    let attempt = begin(store, source(1), &plan(None)).await;
    let mut first = open(store, source(1), attempt).await;
    first.write(bytes.clone()).await.unwrap();
    drop(first.finish_unnoted().await.unwrap());
    let found = store.find_attempt(source(1), attempt).await.unwrap();
    let saved = found.unwrap().saved;
    assert_eq!((saved.offset, saved.is_whole), (100, false));
    let again = open(store, source(1), attempt).await;
    let staged = again.finish_unnoted().await.unwrap();
    facts_of(staged.publish(UPLOADED).await.unwrap());
    assert_eq!(read(store, source(1)).await.unwrap(), bytes);
}

pub(crate) async fn an_attempt_goes_when_its_source_expires(store: &Store) {
    for number in [1, 2, 3] {
        let attempt = begin(store, source(number), &plan(Some(1000))).await;
        append(store, source(number), attempt, bytes_of(1000, number)).await;
        if number == 3 {
            facts_of(finish(store, source(number), attempt).await);
        }
    }
    let before = Timestamp::from_ms(EXPIRY.as_ms() - 1);
    let swept = sweep(store, before).await;
    assert_eq!((swept.sources, swept.broken, swept.failures), (0, 0, 0));
    let swept = sweep(store, EXPIRY).await;
    assert_eq!((swept.sources, swept.broken, swept.failures), (1, 2, 0));
    assert_eq!(store.open_attempts(), []);
    assert_empty(store).await;
}

pub(crate) async fn an_audit_counts_what_can_go_on(store: &Store) {
    for number in [1, 2] {
        let attempt = begin(store, source(number), &plan(None)).await;
        append(store, source(number), attempt, bytes_of(1000, number)).await;
    }
    let attempt = begin(store, source(3), &plan(None)).await;
    append(store, source(3), attempt, bytes_of(1000, 3)).await;
    facts_of(finish(store, source(3), attempt).await);
    let audit = store.audit().await.unwrap();
    assert_eq!(audit.faults, Vec::<String>::new());
    assert_eq!((audit.attempts, audit.whole, audit.staged), (2, 1, 0));
}

/// Waits for what a future gives, but not on beyond the nth time that it has to wait.
async fn with_patience<T>(future: impl Future<Output = T>, waits: usize) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = waits;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

pub(crate) async fn a_commit_that_nobody_waited_for_loses_nothing(store: &Store) {
    let bytes = bytes_of(300_000, 6);
    let attempt = begin(store, source(1), &plan(None)).await;
    let mut at = 0;
    for waits in 0.. {
        let mut open = open(store, source(1), attempt).await;
        open.write(bytes.slice(at..at + 5000)).await.unwrap();
        at += 5000;
        let committed = with_patience(open.commit(), waits).await;
        if committed.is_none() {
            assert_eq!(open.commit().await.unwrap(), at as u64, "{waits}");
        }
        drop(open);
        assert_eq!(offset(store, source(1), attempt).await, Some(at as u64));
        if committed.is_some() {
            break;
        }
    }
    append(store, source(1), attempt, bytes.slice(at..)).await;
    facts_of(finish(store, source(1), attempt).await);
    assert_eq!(read(store, source(1)).await.unwrap(), bytes);
}
