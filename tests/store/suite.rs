//! What every store promises, written against the contract of [`Store`] alone.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt};
use sha2::{Digest as _, Sha256};
use waystation::clock::Timestamp;
use waystation::digest::{Digester, ExpectedDigests};
use waystation::media::MediaType;
use waystation::source::{Facts, SourceId};
use waystation::store::{Piece, Published, Staged, Store, Swept, Upload, UploadStart};
use waystation_testing::PATIENCE;

pub(crate) const EXPIRY: Timestamp = Timestamp::from_ms(1_900_000_000_500);
const UPLOADED: Timestamp = Timestamp::from_ms(1_899_999_999_000);

/// Lengths around the sizes in which stores read and write.
const LENGTHS: [usize; 9] = [
    1,
    65_535 - 80,
    65_536 - 80,
    65_537,
    262_143,
    262_144,
    262_145,
    524_289,
    1_500_000,
];

pub(crate) fn source(number: u8) -> SourceId {
    source_expiring_at(EXPIRY, number)
}

pub(crate) fn source_expiring_at(expiry: Timestamp, number: u8) -> SourceId {
    SourceId::mint(expiry, [number; 10])
}

/// Bytes that differ from place to place, so that a piece out of order is noticed.
pub(crate) fn bytes_of(length: usize, seed: u8) -> Bytes {
    let period: Vec<_> = (0..251).map(|at| seed ^ at).collect();
    let mut bytes = period.repeat(length.div_ceil(period.len()));
    bytes.truncate(length);
    bytes.into()
}

pub(crate) async fn begin(store: &Store, source: SourceId) -> Upload {
    let digester = Digester::expecting(&ExpectedDigests::default());
    match store.begin_upload(source, None, digester).await.unwrap() {
        UploadStart::Accepted(upload) => upload,
        UploadStart::AlreadyUploaded(facts) => panic!("there is {facts:?} already"),
    }
}

pub(crate) async fn stage(store: &Store, source: SourceId, bytes: &Bytes) -> Staged {
    let mut upload = begin(store, source).await;
    for at in (0..bytes.len()).step_by(100_000) {
        let end = bytes.len().min(at + 100_000);
        upload.write(bytes.slice(at..end)).await.unwrap();
    }
    upload.finish().await.unwrap()
}

pub(crate) async fn publish(store: &Store, source: SourceId, bytes: &Bytes) -> Facts {
    let staged = stage(store, source, bytes).await;
    match staged.publish(UPLOADED).await.unwrap() {
        Published::New(facts) => facts,
        Published::AlreadyUploaded(facts) => panic!("there is {facts:?} already"),
    }
}

pub(crate) async fn read(store: &Store, source: SourceId) -> Option<Vec<u8>> {
    let download = store.open(source).await.unwrap()?;
    let all = 0..download.facts().size_bytes;
    Some(collect(download.into_stream(all)).await)
}

pub(crate) async fn collect(stream: waystation::store::ByteStream) -> Vec<u8> {
    let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
    pieces.concat()
}

/// The same bytes as they would be sent: of some it is only said where they lie.
pub(crate) async fn collect_pieces(stream: waystation::store::PieceStream) -> Vec<u8> {
    let pieces: Vec<Piece> = stream.try_collect().await.unwrap();
    let bytes = pieces.into_iter().map(|piece| match piece {
        Piece::Bytes(bytes) => bytes.to_vec(),
        Piece::InFile(part) => {
            let file = File::from(part.as_fd().try_clone_to_owned().unwrap());
            let mut bytes = vec![0; part.length()];
            file.read_exact_at(&mut bytes, part.offset()).unwrap();
            bytes
        }
    });
    bytes.collect::<Vec<_>>().concat()
}

/// Sweeps at the instant at which what expired by `due` may be deleted.
pub(crate) async fn sweep(store: &Store, due: Timestamp) -> Swept {
    store.sweep(due.after(store.sweep_grace())).await.unwrap()
}

/// Waits until nothing is in the stage: what is dropped is removed in the background.
async fn wait_until_nothing_is_staged(store: &Store) {
    wait_until_staged(store, 0).await;
}

pub(crate) async fn wait_until_staged(store: &Store, uploads: u64) {
    let reached = async {
        while store.audit().await.unwrap().staged != uploads {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap();
}

pub(crate) async fn assert_empty(store: &Store) {
    wait_until_nothing_is_staged(store).await;
    let audit = store.audit().await.unwrap();
    assert_eq!(audit, waystation::store::Audit::default());
}

pub(crate) async fn an_upload_is_seen_only_once_it_is_published(store: &Store) {
    let bytes = bytes_of(300_000, 1);
    let mut upload = begin(store, source(1)).await;
    assert_eq!(read(store, source(1)).await, None);
    upload.write(bytes.clone()).await.unwrap();
    assert_eq!(read(store, source(1)).await, None);
    let staged = upload.finish().await.unwrap();
    assert_eq!(read(store, source(1)).await, None);
    staged.publish(UPLOADED).await.unwrap();
    assert_eq!(read(store, source(1)).await.unwrap(), bytes);
}

pub(crate) async fn an_archive_comes_back_byte_by_byte_in_any_range(store: &Store) {
    for (number, length) in (0..).zip(LENGTHS) {
        let bytes = bytes_of(length, number);
        publish(store, source(number), &bytes).await;
        let (middle, end) = (length as u64 / 2, length as u64);
        for range in [
            0..end,
            0..1,
            end - 1..end,
            middle..end,
            1.min(middle)..middle,
        ] {
            let download = store.open(source(number)).await.unwrap().unwrap();
            let part = collect(download.into_stream(range.clone())).await;
            let download = store.open(source(number)).await.unwrap().unwrap();
            let pieces = collect_pieces(download.into_pieces(range.clone())).await;
            assert!(part == pieces, "{range:?} of {length}");
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert!(part == bytes[range.clone()], "{range:?} of {length}");
        }
    }
}

pub(crate) async fn the_facts_are_those_of_the_bytes(store: &Store) {
    let mut bytes = b"\x1f\x8b\x08\x00".to_vec();
    bytes.extend_from_slice(&bytes_of(70_000, 9));
    let bytes = Bytes::from(bytes);
    let facts = publish(store, source(1), &bytes).await;
    assert_eq!(facts.size_bytes, 70_004);
    assert_eq!(facts.sha256.0, *Sha256::digest(&bytes));
    assert_eq!(facts.media_type, MediaType::Gzip);
    assert_eq!(facts.uploaded_at, UPLOADED);
    let download = store.open(source(1)).await.unwrap().unwrap();
    assert_eq!(*download.facts(), facts);
}

pub(crate) async fn an_upload_that_is_given_up_leaves_nothing(store: &Store) {
    let mut upload = begin(store, source(1)).await;
    upload.write(bytes_of(600_000, 1)).await.unwrap();
    upload.abandon().await;
    assert_eq!(store.audit().await.unwrap().staged, 0);

    let staged = stage(store, source(1), &bytes_of(600_000, 1)).await;
    staged.abandon().await;
    assert_eq!(store.audit().await.unwrap().staged, 0);

    assert_empty(store).await;
    publish(store, source(1), &bytes_of(10, 2)).await;
}

pub(crate) async fn an_upload_that_is_dropped_leaves_nothing(store: &Store) {
    drop(begin(store, source(1)).await);
    let mut upload = begin(store, source(1)).await;
    upload.write(bytes_of(600_000, 1)).await.unwrap();
    drop(upload);
    drop(stage(store, source(1), &bytes_of(600_000, 1)).await);
    assert_empty(store).await;
}

pub(crate) async fn the_first_upload_stays_and_a_later_one_learns_its_facts(store: &Store) {
    let (first, second) = (bytes_of(200_000, 1), bytes_of(200_000, 2));
    let late = stage(store, source(1), &second).await;
    let facts = publish(store, source(1), &first).await;
    let published = late.publish(UPLOADED).await.unwrap();
    assert_eq!(published, Published::AlreadyUploaded(facts));

    let digester = Digester::expecting(&ExpectedDigests::default());
    match store.begin_upload(source(1), None, digester).await.unwrap() {
        UploadStart::AlreadyUploaded(learned) => assert_eq!(learned, facts),
        UploadStart::Accepted(_) => panic!("it has been uploaded"),
    }
    assert_eq!(read(store, source(1)).await.unwrap(), first);
    wait_until_nothing_is_staged(store).await;
}

pub(crate) async fn of_many_uploads_at_once_exactly_one_is_new_and_whole(store: &Store) {
    let uploads = (0..8).map(|number| async move {
        let staged = stage(store, source(1), &bytes_of(100_000, number)).await;
        (number, staged)
    });
    let staged = join_all(uploads).await;
    let publications = staged
        .into_iter()
        .map(|(number, staged)| async move { (number, staged.publish(UPLOADED).await.unwrap()) });
    let ended = join_all(publications).await;
    let new: Vec<_> = ended
        .iter()
        .filter(|(_, published)| matches!(published, Published::New(_)))
        .collect();
    let [(winner, Published::New(facts))] = new.as_slice() else {
        panic!("{new:?}");
    };
    let learned = |published: &Published| match published {
        Published::New(facts) | Published::AlreadyUploaded(facts) => *facts,
    };
    assert!(
        ended
            .iter()
            .all(|(_, published)| learned(published) == *facts)
    );
    let stored = read(store, source(1)).await.unwrap();
    assert_eq!(stored, bytes_of(100_000, *winner));
    wait_until_nothing_is_staged(store).await;
}

pub(crate) async fn a_sweep_deletes_what_has_expired_and_nothing_else(store: &Store) {
    // Around the millisecond, the second, the minute, and far away.
    let live_ms = [1, 499, 500, 60_000, 600_000, 7 * 24 * 3_600_000];
    let expired_ms = [0, 1, 500, 501, 60_000, 3_600_000];
    let now = EXPIRY;
    let mut live = Vec::new();
    for (number, ms) in (0..).zip(live_ms) {
        let expiry = Timestamp::from_ms(now.as_ms() + ms);
        live.push(source_expiring_at(expiry, number));
    }
    let mut expired = Vec::new();
    for (number, ms) in (100..).zip(expired_ms) {
        let expiry = Timestamp::from_ms(now.as_ms() - ms);
        expired.push(source_expiring_at(expiry, number));
    }
    for source in live.iter().chain(&expired) {
        publish(store, *source, &bytes_of(10, 1)).await;
    }

    let swept = sweep(store, now).await;
    assert_eq!(swept.sources, expired.len() as u64);
    assert_eq!(swept.failures, 0);
    // From the expiry to the deletion.
    let lag = Duration::from_hours(1) + store.sweep_grace();
    assert_eq!(swept.max_lag, lag);
    for source in expired {
        assert_eq!(read(store, source).await, None);
    }
    for source in live {
        assert_eq!(read(store, source).await.unwrap(), bytes_of(10, 1));
    }
    assert_eq!(sweep(store, now).await.sources, 0);

    let end = Timestamp::from_ms(now.as_ms() + 8 * 24 * 3_600_000);
    assert_eq!(sweep(store, end).await.sources, live_ms.len() as u64);
    assert_empty(store).await;
}

pub(crate) async fn a_source_published_after_its_expiry_goes_with_the_next_sweep(store: &Store) {
    let later = Timestamp::from_ms(EXPIRY.as_ms() + 120_000);
    publish(store, source(1), &bytes_of(10, 1)).await;
    let late = stage(store, source(2), &bytes_of(10, 2)).await;
    assert_eq!(sweep(store, later).await.sources, 1);
    late.publish(UPLOADED).await.unwrap();
    assert_eq!(sweep(store, later).await.sources, 1);
    assert_empty(store).await;
}

pub(crate) async fn a_download_that_has_begun_ends_although_its_source_is_swept(store: &Store) {
    let bytes = bytes_of(1_500_000, 7);
    publish(store, source(1), &bytes).await;
    let download = store.open(source(1)).await.unwrap().unwrap();
    let mut stream = download.into_stream(0..1_500_000);
    let first = stream.next().await.unwrap().unwrap();
    sweep(store, EXPIRY).await;
    let rest = collect(stream).await;
    assert!([first.as_ref(), &rest].concat() == bytes);

    let gone = async {
        while store.open(source(1)).await.unwrap().is_some() {
            sweep(store, EXPIRY).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

pub(crate) async fn an_audit_counts_what_is_whole(store: &Store) {
    for number in 0..3 {
        publish(store, source(number), &bytes_of(100_000, number)).await;
    }
    let mut under_way = begin(store, source(9)).await;
    under_way.write(bytes_of(5_000_000, 9)).await.unwrap();
    wait_until_staged(store, 1).await;
    let audit = store.audit().await.unwrap();
    assert_eq!((audit.whole, audit.staged), (3, 1));
    assert_eq!(audit.faults, Vec::<String>::new());
    under_way.abandon().await;
}
