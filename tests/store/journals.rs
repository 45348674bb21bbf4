//! What every store promises of journals, and at the end what only one of them shows.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use futures_util::future::join_all;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use waystation::store::bucket::Overwrite;
use waystation::store::folder::Sync;
use waystation::store::{
    Appended, Audit, BucketStore, FolderStore, JournalKey, MAX_APPEND_BYTES, Store, StoreError,
};

use crate::bucket::shortly_before_expiry;
use crate::documents::on_double;
use crate::object_store_double::ObjectStoreDouble;
use crate::suite::bytes_of;

const KEY: JournalKey = JournalKey::new([1; 16], 7);
/// The last part of its name.
const NAME: &str = "01010101010101010101010101010101-00000000000000000007";

async fn append(store: &Store, offset: u64, bytes: impl Into<Bytes>) -> Appended {
    let appended = store.append_journal(&KEY, offset, bytes.into());
    appended.await.unwrap()
}

async fn length(store: &Store) -> u64 {
    store.journal_length(&KEY).await.unwrap()
}

/// All that is there from `offset` on, read by so many bytes at a time.
async fn read_by(store: &Store, offset: u64, limit_bytes: usize) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let at = offset + all.len() as u64;
        let read = store.read_journal(&KEY, at, limit_bytes).await.unwrap();
        assert!(read.len() <= limit_bytes);
        if read.is_empty() {
            return all;
        }
        all.extend(read);
    }
}

async fn read(store: &Store) -> Vec<u8> {
    read_by(store, 0, 1_000_000).await
}

const fn done(length: u64) -> Appended {
    Appended::Done { length }
}

const fn repeated(length: u64) -> Appended {
    Appended::Repeated { length }
}

const fn mismatch(length: u64) -> Appended {
    Appended::Mismatch { length }
}

pub(crate) async fn bytes_are_appended_at_the_end_and_nowhere_else(store: &Store) {
    assert_eq!(append(store, 1, "x").await, mismatch(0));
    assert_eq!(length(store).await, 0);
    assert_eq!(append(store, 0, "one ").await, done(4));
    assert_eq!(append(store, 4, "two").await, done(7));
    // Before the end, behind it, and over it.
    for (offset, bytes) in [(0, "x"), (3, "xxxx"), (4, "two and more"), (8, "x")] {
        assert_eq!(append(store, offset, bytes).await, mismatch(7), "{offset}");
    }
    assert_eq!(append(store, u64::MAX, "x").await, mismatch(7));
    assert_eq!(length(store).await, 7);
    assert_eq!(read(store).await, b"one two");
    assert_eq!(append(store, 7, " three").await, done(13));
    assert_eq!(read(store).await, b"one two three");
}

pub(crate) async fn the_same_bytes_again_change_nothing(store: &Store) {
    append(store, 0, "one ").await;
    append(store, 4, "two ").await;
    append(store, 8, "three").await;
    // As they were appended, some of them at once, and a part.
    for (offset, bytes) in [(0, "one "), (8, "three"), (0, "one two "), (5, "wo th")] {
        let again = append(store, offset, bytes).await;
        assert_eq!(again, repeated(13), "{bytes}");
    }
    assert_eq!(append(store, 0, "one Two ").await, mismatch(13));
    assert_eq!(append(store, 13, "").await, repeated(13));
    for offset in [0, 12, 14] {
        assert_eq!(append(store, offset, "").await, mismatch(13), "{offset}");
    }
    assert_eq!(read(store).await, b"one two three");
}

pub(crate) async fn of_many_appends_at_one_place_one_is_done_and_the_others_learn_of_it(
    store: &Store,
) {
    for round in 0..5 {
        let offset = round * 2;
        let appends = (0..8).map(|number| append(store, offset, format!("{number}\n")));
        let ended = join_all(appends).await;
        let is_done = |appended: &&Appended| **appended == done(offset + 2);
        assert_eq!(ended.iter().filter(is_done).count(), 1, "{ended:?}");
        let is_refused = |appended: &&Appended| **appended == mismatch(offset + 2);
        assert_eq!(ended.iter().filter(is_refused).count(), 7, "{ended:?}");
        let winner = ended.iter().position(|end| is_done(&end)).unwrap();
        let all = read(store).await;
        assert_eq!(all.len() as u64, offset + 2);
        assert!(all.ends_with(format!("{winner}\n").as_bytes()));
    }
    // What they send is the same: one of them has appended it, whichever.
    let ended = join_all((0..8).map(|_| append(store, 10, "same"))).await;
    let is_there = |appended: &Appended| [done(14), repeated(14)].contains(appended);
    assert!(ended.iter().all(is_there), "{ended:?}");
    assert!(read(store).await.ends_with(b"same"));
}

pub(crate) async fn a_journal_is_read_from_any_offset_in_pieces_of_any_length(store: &Store) {
    let bytes = bytes_of(100, 3);
    let mut at = 0;
    for length in [1, 9, 40, 50] {
        append(store, at as u64, bytes.slice(at..at + length)).await;
        at += length;
    }
    let offsets = [0, 1, 5, 9, 10, 11, 50, 99, 100, 101];
    for limit_bytes in [1, 10, 45, 100, 500] {
        // A request for each byte is slow.
        let skipped = if limit_bytes == 1 { 6 } else { 0 };
        for offset in offsets.into_iter().skip(skipped) {
            let read = read_by(store, offset, limit_bytes).await;
            let due = bytes.get(usize::try_from(offset).unwrap()..);
            assert!(read == due.unwrap_or_default(), "{offset} {limit_bytes}");
        }
    }
    assert_eq!(read_by(store, u64::MAX, 10).await, b"");
}

pub(crate) async fn each_journal_has_its_own_bytes(store: &Store) {
    let keys = [
        JournalKey::new([1; 16], 1),
        JournalKey::new([1; 16], 10),
        JournalKey::new([2; 16], 1),
    ];
    for (number, key) in keys.iter().enumerate() {
        let bytes = Bytes::from(vec![b'x'; number + 1]);
        let appended = store.append_journal(key, 0, bytes).await.unwrap();
        assert_eq!(appended, done(number as u64 + 1));
    }
    for (number, key) in (1..).zip(&keys) {
        assert_eq!(store.journal_length(key).await.unwrap(), number);
    }
    store.delete_journal(&keys[0]).await.unwrap();
    assert_eq!(store.journal_length(&keys[0]).await.unwrap(), 0);
    assert_eq!(store.journal_length(&keys[1]).await.unwrap(), 2);
    let audit = store.audit().await.unwrap();
    assert_eq!((audit.journals, audit.faults.len()), (2, 0));
}

pub(crate) async fn a_deleted_journal_leaves_nothing(store: &Store) {
    store.delete_journal(&KEY).await.unwrap();
    for _ in 0..2 {
        append(store, 0, "one ").await;
        append(store, 4, "two").await;
        store.delete_journal(&KEY).await.unwrap();
        assert_eq!(length(store).await, 0);
        assert_eq!(read(store).await, b"");
        assert_eq!(append(store, 7, "late").await, mismatch(0));
        assert_eq!(store.audit().await.unwrap(), Audit::default());
    }
}

pub(crate) async fn an_append_may_be_as_long_as_the_limit(store: &Store) {
    let longest = bytes_of(MAX_APPEND_BYTES, 1);
    let too_long = [&longest[..], b"x"].concat();
    let refused = store.append_journal(&KEY, 0, too_long.into()).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, StoreError::AppendTooLong { bytes, .. } if bytes == 1024 * 1024 + 1));
    assert_eq!(length(store).await, 0);
    append(store, 0, "x").await;
    let appended = append(store, 1, longest.clone()).await;
    assert_eq!(appended, done(MAX_APPEND_BYTES as u64 + 1));
    assert!(read_by(store, 1, 300_000).await == longest);
    assert_eq!(
        append(store, 1, longest).await,
        repeated(MAX_APPEND_BYTES as u64 + 1)
    );
}

#[tokio::test]
async fn a_server_that_starts_on_a_folder_goes_on_where_the_last_one_was() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let store = FolderStore::open(folder.path().join("store"), Sync::On, 0);
        Store::Folder(store.unwrap())
    };
    let mut expected: Vec<u8> = Vec::new();
    for bytes in ["one ", "two ", "three ", "four"] {
        let store = open();
        store.claim().await.unwrap();
        assert_eq!(length(&store).await, expected.len() as u64);
        append(&store, expected.len() as u64, bytes).await;
        expected.extend(bytes.as_bytes());
        assert_eq!(read(&store).await, expected);
    }
    assert_eq!(read(&open()).await, b"one two three four");
}

#[tokio::test]
async fn a_journal_that_was_cut_short_is_corrupt_and_is_not_shown() {
    let (folder, store) = crate::folder::new_store();
    append(&store, 0, "one ").await;
    append(&store, 4, "two").await;
    let path = folder.path().join("store/journals").join(NAME);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let refused = store.read_journal(&KEY, 0, 100).await.unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
    let told = store.audit().await.unwrap().faults;
    assert!(told.len() == 1 && told[0].contains("shorter"), "{told:?}");

    // A server that starts now takes the last append for one that a crash has torn.
    let root = folder.path().join("store");
    let restarted = || Store::Folder(FolderStore::open(root.clone(), Sync::On, 0).unwrap());
    assert_eq!(read(&restarted()).await, b"one ");
    // And if both are spoilt, something is wrong that no crash does.
    fs::write(&path, [&whole[..8192], b"xxx"].concat()).unwrap();
    let refused = restarted().journal_length(&KEY).await.unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
    assert_eq!(restarted().audit().await.unwrap().faults.len(), 1);
}

#[tokio::test]
async fn what_is_no_journal_is_reported_and_never_deleted() {
    let (folder, in_folder) = crate::folder::new_store();
    let file = folder.path().join("store/journals/notes.txt");
    fs::write(&file, "an operator's").unwrap();
    let (double, in_bucket) = on_double(ObjectStoreDouble::default());
    let objects = ["notes.txt".into(), format!("{NAME}/x")];
    let objects = objects.map(|key| Path::from(format!("p/journals/{key}")));
    for object in &objects {
        double.inner.put(object, "x".into()).await.unwrap();
    }
    for (store, faults) in [(in_folder, 1), (in_bucket, 2)] {
        append(&store, 0, "one").await;
        let audit = store.audit().await.unwrap();
        assert_eq!((audit.journals, audit.faults.len()), (1, faults));
        assert!(audit.faults[0].contains("nothing that this store made"));
        store.delete_journal(&KEY).await.unwrap();
    }
    assert!(file.exists());
    for object in &objects {
        double.inner.head(object).await.unwrap();
    }
}

#[tokio::test]
async fn a_journal_that_had_no_room_is_as_it_was_and_goes_on_when_there_is_some() {
    let (folder, roomy) = crate::folder::new_store();
    append(&roomy, 0, "one ").await;
    let full = FolderStore::open(folder.path().join("store"), Sync::On, u64::MAX).unwrap();
    let refused = Store::Folder(full)
        .append_journal(&KEY, 4, "two".into())
        .await;
    assert!(matches!(refused, Err(StoreError::NoRoom { .. })));
    assert_eq!(append(&roomy, 4, "two").await, done(7));
}

/// Servers on one bucket.
fn nodes<const COUNT: usize>(double: &Arc<ObjectStoreDouble>) -> [Store; COUNT] {
    [(); COUNT].map(|()| {
        let clock = shortly_before_expiry();
        let bucket = BucketStore::within(double.clone(), "p", Overwrite::Refuse, clock);
        Store::Bucket(bucket)
    })
}

#[tokio::test]
async fn servers_that_take_turns_append_to_one_journal() {
    let double = Arc::new(ObjectStoreDouble::default());
    let stores = nodes::<3>(&double);
    let mut expected: Vec<u8> = Vec::new();
    for (number, store) in (0..12_u8).zip(stores.iter().cycle()) {
        let offset = expected.len() as u64;
        // What the one before has appended is not known here.
        assert_eq!(
            append(store, offset, vec![number; 3]).await,
            done(offset + 3)
        );
        expected.extend([number; 3]);
    }
    for store in &stores {
        assert_eq!(length(store).await, 36);
        assert_eq!(read(store).await, expected);
    }
    // One deletes it, and the others notice.
    stores[0].delete_journal(&KEY).await.unwrap();
    for store in &stores {
        assert_eq!(length(store).await, 0);
        assert_eq!(read(store).await, b"");
    }
}

/// Writes, lists and reads since the last time.
fn requests(double: &ObjectStoreDouble) -> [u64; 3] {
    [&double.puts, &double.lists, &double.gets].map(|count| count.swap(0, Relaxed))
}

#[tokio::test]
async fn an_append_is_one_request_and_so_is_a_look_at_the_end() {
    let double = Arc::new(ObjectStoreDouble::default());
    let [writer, reader] = nodes(&double);
    append(&writer, 0, "one ").await;
    requests(&double);
    for offset in [4, 8, 12] {
        append(&writer, offset, "more").await;
        assert_eq!(requests(&double), [1, 0, 0]);
    }
    assert_eq!(read_by(&reader, 0, 100).await, b"one moremoremore");
    // One list and the chunks, and one list that shows the end.
    assert_eq!(requests(&double), [0, 2, 4]);
    for _ in 0..3 {
        assert_eq!(read_by(&reader, 16, 100).await, b"");
        assert_eq!(requests(&double), [0, 1, 0]);
    }
    append(&writer, 16, " end").await;
    requests(&double);
    let new = reader.read_journal(&KEY, 16, 100).await.unwrap();
    assert_eq!((&*new, requests(&double)), (&b" end"[..], [0, 1, 1]));
    // By less than a chunk is costlier, and right.
    assert_eq!(read_by(&reader, 16, 3).await, b" end");
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_is_known_to_be_there() {
    let (_, store) = on_double(ObjectStoreDouble {
        loses_answers: true,
        ..ObjectStoreDouble::default()
    });
    assert_eq!(append(&store, 0, "one ").await, repeated(4));
    assert_eq!(append(&store, 4, "two").await, repeated(7));
    assert_eq!(append(&store, 4, "Two").await, mismatch(7));
    assert_eq!(read(&store).await, b"one two");
}

#[tokio::test]
async fn what_is_behind_a_gap_is_not_shown_and_the_audit_says_so() {
    let (double, store) = on_double(ObjectStoreDouble::default());
    append(&store, 0, "one ").await;
    append(&store, 4, "two ").await;
    append(&store, 8, "three").await;
    let chunk = Path::from(format!("p/journals/{NAME}/{:020}", 4));
    double.inner.delete(&chunk).await.unwrap();
    let [fresh] = nodes(&double);
    assert_eq!(length(&fresh).await, 4);
    assert_eq!(read(&fresh).await, b"one ");
    let audit = fresh.audit().await.unwrap();
    assert_eq!((audit.journals, audit.faults.len()), (0, 1));
    assert!(audit.faults[0].contains("from 4 to 8 are missing"));
    fresh.delete_journal(&KEY).await.unwrap();
    assert_eq!(fresh.audit().await.unwrap(), Audit::default());
}
