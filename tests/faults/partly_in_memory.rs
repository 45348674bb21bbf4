//! An archive of which only some is in memory. What the system keeps there no test can command, so the
//! answer to that question is the test's own.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use futures_util::TryStreamExt;
use waystation::clock::Timestamp;
use waystation::digest::{Digester, ExpectedDigests};
use waystation::source::SourceId;
use waystation::store::folder::{Faults, Sync, Verdict};
use waystation::store::{FolderStore, Piece, Store, UploadStart};
use waystation_testing::archive;

const EXPIRY: Timestamp = Timestamp::from_ms(1_900_000_000_500);
/// Several parts.
const BYTES: usize = 3_500_000;
/// How often it is asked about such an archive at most.
const MOST_QUESTIONS: usize = 12;

/// A store that finds nothing in memory when it asks for the times in `unanswered`.
fn open(root: &Path, unanswered: Range<usize>) -> Store {
    let asked = AtomicUsize::new(0);
    let faults = Faults::decided_by(Arc::new(move |call| {
        if call == "preadv2" && unanswered.contains(&asked.fetch_add(1, Relaxed)) {
            return Verdict::Fail(rustix::io::Errno::AGAIN.into());
        }
        Verdict::Go
    }));
    Store::Folder(FolderStore::open_failing(root.to_owned(), Sync::Off, 0, faults).unwrap())
}

async fn publish(store: &Store, source: SourceId, bytes: Bytes) {
    let digester = Digester::expecting(&ExpectedDigests::default());
    let started = store.begin_upload(source, None, digester).await.unwrap();
    let UploadStart::Accepted(mut upload) = started else {
        panic!("it is a new source");
    };
    upload.write(bytes).await.unwrap();
    let staged = upload.finish().await.unwrap();
    staged.publish(EXPIRY).await.unwrap();
}

fn bytes_of(piece: &Piece) -> Vec<u8> {
    match piece {
        Piece::Bytes(bytes) => bytes.to_vec(),
        Piece::InFile(part) => {
            let file = File::from(part.as_fd().try_clone_to_owned().unwrap());
            let mut bytes = vec![0; part.length()];
            file.read_exact_at(&mut bytes, part.offset()).unwrap();
            bytes
        }
    }
}

#[tokio::test]
async fn after_bytes_that_had_to_be_read_none_are_only_pointed_at() {
    let root = tempfile::tempdir().unwrap();
    let (source, sent) = (SourceId::mint(EXPIRY, [1; 10]), archive(BYTES, 1));
    publish(&open(root.path(), 0..0), source, sent.clone().into()).await;
    let once = (0..MOST_QUESTIONS).map(|question| question..question + 1);
    let from_then_on = (0..MOST_QUESTIONS).map(|question| question..usize::MAX);
    for unanswered in once.chain(from_then_on) {
        let store = open(root.path(), unanswered.clone());
        let download = store.open(source).await.unwrap().unwrap();
        let pieces = download.into_pieces(0..BYTES as u64);
        let pieces: Vec<_> = pieces.try_collect().await.unwrap();
        let is_read = |piece: &Piece| matches!(piece, Piece::Bytes(_));
        let mut rest = pieces.iter().skip_while(|piece| !is_read(piece));
        assert!(rest.all(is_read), "{unanswered:?}");
        let received: Vec<_> = pieces.iter().map(bytes_of).collect();
        assert!(received.concat() == sent, "{unanswered:?}");
    }
}
