//! What only the store in a folder promises: its files, its lock, its room, and its start after a
//! crash.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::time::timeout;
use waystation::clock::Timestamp;
use waystation::digest::{Digester, ExpectedDigests};
use waystation::service::api_tokens::ApiTokens;
use waystation::service::users::UserId;
use waystation::store::folder::{Faults, Sync, Verdict};
use waystation::store::{
    Attempt, AttemptStart, Collection, Expected, FolderStore, Store, StoreError, UploadStart,
    Written,
};

use crate::attempts::{self, append, plan};
use crate::bucket::eventually;
use crate::suite::{EXPIRY, bytes_of, publish, read, source};
use waystation_testing::store_folder::{entries_of, files_in_parts};

pub(crate) fn new_store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 0);
    (folder, store)
}

fn open(folder: &Path, keep_free_bytes: u64) -> Store {
    let store = FolderStore::open(folder.join("store"), Sync::On, keep_free_bytes).unwrap();
    Store::Folder(store)
}

fn only_archive(folder: &TempDir) -> PathBuf {
    let mut files = entries_of(&folder.path().join("store/sources"));
    files.retain(|path| path.is_file());
    assert_eq!(files.len(), 1);
    files.remove(0)
}

/// A command of another user may have made it.
#[tokio::test]
async fn a_document_that_the_server_may_not_read_does_not_hide_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let is_denied = Arc::new(AtomicBool::new(false));
    let denied = Arc::clone(&is_denied);
    let faults = Faults::decided_by(Arc::new(move |call| {
        if call == "read" && denied.swap(false, Relaxed) {
            Verdict::Fail(ErrorKind::PermissionDenied.into())
        } else {
            Verdict::Go
        }
    }));
    let root = folder.path().join("store");
    let store = FolderStore::open_failing(root, Sync::Off, 0, faults).unwrap();
    let tokens = ApiTokens::new(Store::Folder(store));
    let ada = UserId::of("ada");
    for name in ["one", "two", "three"] {
        tokens.create(name, ada, EXPIRY).await.unwrap();
    }
    for listed in [2, 3] {
        is_denied.store(listed == 2, Relaxed);
        assert_eq!(tokens.list(ada).await.unwrap().len(), listed);
    }
}

#[tokio::test]
async fn after_expiry_no_file_and_no_folder_is_left() {
    let (folder, store) = new_store();
    for number in 0..5 {
        publish(&store, source(number), &bytes_of(10, number)).await;
    }
    let second_over = Timestamp::from_ms(EXPIRY.as_ms() + 500);
    store.sweep(second_over).await.unwrap();
    assert_eq!(
        entries_of(&folder.path().join("store/sources")),
        [] as [&Path; 0]
    );
    assert_eq!(
        entries_of(&folder.path().join("store/stage")),
        [] as [&Path; 0]
    );
}

#[tokio::test]
async fn a_claim_removes_what_a_crash_left_and_nothing_else() {
    let (folder, store) = new_store();
    publish(&store, source(1), &bytes_of(10, 1)).await;
    let stage = folder.path().join("store/stage");
    fs::write(stage.join("00112233445566778899aabbccddeeff"), "half").unwrap();
    fs::write(stage.join("notes.txt"), "an operator's").unwrap();
    assert_eq!(store.claim().await.unwrap(), 1);
    assert_eq!(entries_of(&stage), [stage.join("notes.txt")]);
    assert_eq!(read(&store, source(1)).await.unwrap(), bytes_of(10, 1));
}

#[tokio::test]
async fn a_store_has_one_server_at_a_time() {
    let (folder, first) = new_store();
    first.claim().await.unwrap();
    let second = open(folder.path(), 0);
    let refused = second.claim().await.unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("another server is running on the store"));
    drop(first);
    second.claim().await.unwrap();
}

#[tokio::test]
async fn a_changed_byte_is_found_by_the_audit() {
    let (folder, store) = new_store();
    publish(&store, source(1), &bytes_of(1000, 1)).await;
    let path = only_archive(&folder);
    let mut file = fs::read(&path).unwrap();
    file[500] ^= 1;
    fs::write(&path, file).unwrap();
    let audit = store.audit().await.unwrap();
    assert_eq!((audit.whole, audit.faults.len()), (0, 1));
    assert!(
        audit.faults[0].contains("has changed"),
        "{:?}",
        audit.faults
    );
}

#[tokio::test]
async fn a_shorter_file_is_corrupt_and_is_not_served() {
    let (folder, store) = new_store();
    publish(&store, source(1), &bytes_of(1000, 1)).await;
    let path = only_archive(&folder);
    let file = fs::read(&path).unwrap();
    for length in [0, 79, 80, 1079] {
        fs::write(&path, &file[..length]).unwrap();
        let refused = store.open(source(1)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
        assert_eq!(store.audit().await.unwrap().faults.len(), 1);
    }
}

/// Whoever opens a pipe waits for its other end.
#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
    let (folder, store) = new_store();
    publish(&store, source(1), &bytes_of(10, 1)).await;
    let key = Collection::Users.key(&[1]);
    let archive = only_archive(&folder);
    fs::remove_file(&archive).unwrap();
    for path in [&archive, &folder.path().join("store/users/01.json")] {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
    let asked = async {
        let refused = store.open(source(1)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
        assert_eq!(store.audit().await.unwrap().faults.len(), 1);
        let document = store.read_document::<Value>(&key).await;
        document.unwrap_err();
        assert_eq!(store.sweep(EXPIRY).await.unwrap().failures, 0);
    };
    timeout(Duration::from_secs(10), asked).await.unwrap();
    assert!(!archive.exists());
}

#[tokio::test]
async fn what_the_store_did_not_make_is_reported_and_never_deleted() {
    let (folder, store) = new_store();
    publish(&store, source(1), &bytes_of(10, 1)).await;
    // The other is a UUID, and by its bits one that has expired.
    let names = ["README", "018bcfe5-6800-4fff-bfff-ffffffffffff"];
    let foreign = names.map(|name| only_archive(&folder).with_file_name(name));
    for path in &foreign {
        fs::write(path, "an operator's").unwrap();
    }
    assert_eq!(store.audit().await.unwrap().faults.len(), 2);
    let later = Timestamp::from_ms(EXPIRY.as_ms() + 600_000);
    let swept = store.sweep(later).await.unwrap();
    assert_eq!((swept.sources, swept.failures), (1, 0));
    assert!(foreign.iter().all(|path| path.exists()));
}

#[tokio::test]
async fn what_would_eat_into_the_room_kept_free_is_refused_and_deleting_still_works() {
    let (folder, roomy) = new_store();
    publish(&roomy, source(1), &bytes_of(10, 1)).await;
    let full = open(folder.path(), u64::MAX);
    let digester = Digester::expecting(&ExpectedDigests::default());
    let refused = full.begin_upload(source(2), None, digester.clone()).await;
    assert!(matches!(refused, Err(StoreError::NoRoom { .. })));
    assert_eq!(full.room_bytes().await.unwrap(), Some(0));
    assert_eq!(full.sweep(EXPIRY).await.unwrap().sources, 1);

    let declared = roomy
        .begin_upload(source(2), Some(u64::MAX), digester)
        .await;
    assert!(matches!(declared, Err(StoreError::NoRoom { .. })));
}

#[tokio::test]
async fn what_an_upload_announces_is_kept_for_it_as_long_as_it_runs() {
    let (_folder, store) = new_store();
    // More than half of the room: whatever else writes to this file system, there is none for two.
    let announced = Some(store.room_bytes().await.unwrap().unwrap() / 10 * 6);
    let digester = Digester::expecting(&ExpectedDigests::default());
    let begin = |number, announced| store.begin_upload(source(number), announced, digester.clone());
    let first = begin(1, announced).await.unwrap();
    let refused = begin(2, announced).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::NoRoom { reserved_bytes, .. } if Some(reserved_bytes) > announced),
        "{refused}"
    );
    // One without a length is let in, and gets what is left.
    begin(2, None).await.unwrap();
    let UploadStart::Accepted(first) = first else {
        panic!("it is a new source");
    };
    first.abandon().await;
    begin(2, announced).await.unwrap();
}

/// An empty store, and how often it has synced a folder since.
fn counting_syncs() -> (TempDir, Store, Arc<AtomicUsize>) {
    let folder = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&syncs);
    let faults = Faults::decided_by(Arc::new(move |call| {
        counted.fetch_add(usize::from(call == "fsync"), Relaxed);
        Verdict::Go
    }));
    let store = FolderStore::open_failing(folder.path().to_owned(), Sync::On, 0, faults);
    let store = Store::Folder(store.unwrap());
    syncs.store(0, Relaxed);
    (folder, store, syncs)
}

/// Whoever removed it may not have synced that yet.
#[tokio::test]
async fn a_document_that_is_gone_is_deleted_durably_too() {
    let (_folder, store, syncs) = counting_syncs();
    let key = Collection::Users.key(&[1]);
    store.delete_document(&key).await.unwrap();
    assert_eq!(syncs.load(Relaxed), 1);
}

/// Each sync of a folder is waited for.
#[tokio::test]
async fn the_first_document_of_a_collection_below_another_syncs_each_folder_once() {
    let (_folder, store, syncs) = counting_syncs();
    let key = Collection::Variables([7; 16]).key(&[1]);
    let value = Value::from(Map::new());
    let write = store.write_document(&key, &value, Expected::Absent);
    assert_eq!(write.await.unwrap(), Written::Done);
    assert_eq!(syncs.load(Relaxed), 2);
}

#[tokio::test]
async fn folders_that_somebody_removes_are_made_again() {
    let (folder, store) = new_store();
    publish(&store, source(1), &bytes_of(10, 1)).await;
    fs::remove_dir_all(folder.path().join("store/sources")).unwrap();
    assert_eq!(read(&store, source(1)).await, None);
    publish(&store, source(2), &bytes_of(10, 2)).await;
    assert_eq!(read(&store, source(2)).await.unwrap(), bytes_of(10, 2));

    fs::remove_dir(folder.path().join("store/stage")).unwrap();
    publish(&store, source(3), &bytes_of(10, 3)).await;
    assert_eq!(store.audit().await.unwrap().whole, 2);
}

/// A folder for each application would stay where thousands come and go.
#[tokio::test]
async fn the_folder_of_a_collection_goes_with_its_last_document_and_nobody_who_writes_there_notices()
 {
    let (folder, store) = new_store();
    let collection = Collection::Variables([7; 16]);
    let key = |number| collection.key(&[number]);
    let work = |number| {
        let (store, key) = (store.clone(), key(number));
        tokio::spawn(async move {
            for _ in 0..100 {
                let value = Value::from(Map::new());
                let write = store.write_document(&key, &value, Expected::Absent);
                assert_eq!(write.await.unwrap(), Written::Done);
                store.delete_document(&key).await.unwrap();
            }
        })
    };
    for worker in [1, 2, 3, 4].map(work) {
        worker.await.unwrap();
    }
    let variables = folder.path().join("store/variables");
    assert_eq!(entries_of(&variables), Vec::<PathBuf>::new());
    let users = Collection::Users.key(&[1]);
    store.delete_document(&users).await.unwrap();
    assert!(folder.path().join("store/users").is_dir());
}

/// A folder's only upload in parts, of which bytes were sent, and the file that has these.
async fn begun_in_parts(folder: &TempDir, store: &Store) -> (Attempt, PathBuf) {
    let attempt = attempts::begin(store, source(1), &plan(Some(1000))).await;
    append(store, source(1), attempt, bytes_of(700, 1)).await;
    let mut files = files_in_parts(&folder.path().join("store"));
    assert_eq!(files.len(), 1);
    (attempt, files.remove(0))
}

#[tokio::test]
async fn an_upload_in_parts_whose_bytes_are_gone_is_unknown() {
    for is_all_gone in [true, false] {
        let (folder, store) = new_store();
        let (attempt, bytes) = begun_in_parts(&folder, &store).await;
        assert_eq!(
            attempts::offset(&store, source(1), attempt).await,
            Some(700)
        );
        if is_all_gone {
            fs::remove_file(&bytes).unwrap();
        } else {
            let file = fs::OpenOptions::new().write(true).open(&bytes);
            file.unwrap().set_len(699).unwrap();
        }
        assert_eq!(attempts::offset(&store, source(1), attempt).await, None);
        let start = store.open_attempt(source(1), attempt).await.unwrap();
        assert!(matches!(start, AttemptStart::Unknown));
        let cancelled = store.cancel_attempt(source(1), attempt).await.unwrap();
        assert_eq!(cancelled, None);
        assert_eq!(store.open_attempts(), []);
        attempts::begin(&store, source(1), &plan(None)).await;
    }
}

#[tokio::test]
async fn a_length_that_becomes_known_is_refused_if_there_is_no_room_for_it() {
    let (_folder, store) = new_store();
    let attempt = attempts::begin(&store, source(1), &plan(None)).await;
    append(&store, source(1), attempt, bytes_of(700, 1)).await;
    let mut open = attempts::open(&store, source(1), attempt).await;
    // No disk is as large.
    let refused = open.announce(u64::MAX / 2).await;
    assert!(
        matches!(refused, Err(StoreError::NoRoom { .. })),
        "{refused:?}"
    );
    open.announce(1000).await.unwrap();
    open.write(bytes_of(300, 2)).await.unwrap();
    assert_eq!(open.commit().await.unwrap(), 1000);
}

#[tokio::test]
async fn an_upload_in_parts_whose_source_has_an_archive_is_not_open_also_after_a_restart() {
    let (folder, store) = new_store();
    attempts::begin(&store, source(1), &plan(Some(1000))).await;
    let other = attempts::begin(&store, source(2), &plan(Some(1000))).await;
    publish(&store, source(1), &bytes_of(500, 1)).await;
    assert_eq!(store.open_attempts(), [(source(2), other, 1000)]);
    drop(store);
    let store = open(folder.path(), 0);
    store.claim().await.unwrap();
    assert_eq!(store.open_attempts(), [(source(2), other, 1000)]);
}

/// How much room is kept for uploads.
async fn reserved_bytes(store: &Store) -> u64 {
    // No disk is as large.
    let large = plan(Some(u64::MAX / 2));
    match store.begin_attempt(source(9), &large).await {
        Err(StoreError::NoRoom { reserved_bytes, .. }) => reserved_bytes,
        begun => panic!("{begun:?}"),
    }
}

#[tokio::test]
async fn a_request_whose_source_got_an_archive_meanwhile_keeps_no_room_when_it_ends() {
    for is_cancelled in [false, true] {
        let (_folder, store) = new_store();
        let attempt = attempts::begin(&store, source(1), &plan(Some(90_000))).await;
        let open = attempts::open(&store, source(1), attempt).await;
        assert!(reserved_bytes(&store).await > 90_000);
        publish(&store, source(1), &bytes_of(500, 1)).await;
        if is_cancelled {
            open.cancel().await;
        } else {
            drop(open);
        }
        // Its turn comes when that request has ended.
        store.find_attempt(source(1), attempt).await.unwrap();
        assert_eq!(store.open_attempts(), []);
        // What the request itself has kept goes right after its turn.
        eventually(async || reserved_bytes(&store).await == 0).await;
    }
}

#[tokio::test]
async fn an_archive_that_is_damaged_does_not_keep_the_next_server_from_starting() {
    for length in [0, 79, 500] {
        let (folder, store) = new_store();
        attempts::begin(&store, source(1), &plan(Some(1000))).await;
        publish(&store, source(1), &bytes_of(500, 1)).await;
        let archive = fs::OpenOptions::new()
            .write(true)
            .open(only_archive(&folder));
        archive.unwrap().set_len(length).unwrap();
        drop(store);
        let store = open(folder.path(), 0);
        store.claim().await.unwrap();
        assert_eq!(store.open_attempts(), []);
    }
}
