//! A slow disk: calls that take seconds, or do not end at all. Nobody waits for it except those who need
//! what it does, and no client is blamed for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::available_parallelism;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::timeout;
use waystation::clock::Timestamp;
use waystation::source::SourceId;
use waystation::store::folder::{BLOCKING_THREADS, Faults, Sync, Verdict};
use waystation::store::{
    Collection, DocumentKey, DocumentName, Download, Expected, FolderStore, Staged, Store, Upload,
    Written,
};
use waystation_testing::connection::{Connection, head};
use waystation_testing::reply::Reply;
use waystation_testing::{Waystation, archive, eventually};

use crate::staging::{self, publish};
use crate::strace::Attached;

/// How long clients may do nothing. The disk takes longer.
const IDLE_TIMEOUT: [&str; 2] = ["--idle-timeout", "1s"];
const WRITES: &str = "inject=/^p?write:delay_enter=1300000";
const SENDS: &str = "inject=sendfile:delay_enter=5000000:when=1";
const ARCHIVE_BYTES: usize = 300_000;

/// How many writes are under way at once.
const WRITERS: usize = BLOCKING_THREADS / 3;
/// More than the server has threads.
const CLIENTS: usize = BLOCKING_THREADS + 30;
const EXPIRY: Timestamp = Timestamp::from_ms(1_900_000_000_000);
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls of one name, which do not end until they are let go.
#[derive(Default)]
struct Held {
    state: Mutex<HeldState>,
    changed: Condvar,
}

#[derive(Default)]
struct HeldState {
    name: Option<&'static str>,
    /// How many calls are held at most.
    most: usize,
    calls: usize,
}

impl Held {
    fn call(&self, name: &'static str) {
        let mut state = self.state.lock().unwrap();
        if state.name == Some(name) && state.calls < state.most {
            state.calls += 1;
            let _state = self
                .changed
                .wait_while(state, |state| state.name == Some(name));
        }
    }

    fn hold(&self, name: Option<&'static str>, most: usize) {
        let mut state = self.state.lock().unwrap();
        *state = HeldState {
            name,
            most,
            calls: 0,
        };
        self.changed.notify_all();
    }

    /// Runs `waiting`, all of which are held up by calls of that name, and then `others`, who must not be.
    async fn keeps_nobody_waiting(
        &self,
        name: &'static str,
        waiting: impl Future,
        others: impl Future,
    ) {
        self.keep_waiting(name, usize::MAX, waiting, others).await;
    }

    /// The same, where others make calls of that name as well, so that only the first `most` are held.
    async fn keep_waiting(
        &self,
        name: &'static str,
        most: usize,
        waiting: impl Future,
        others: impl Future,
    ) {
        self.hold(Some(name), most);
        let are_held = |calls| calls == most || (most == usize::MAX && calls > 0);
        let others = async {
            while !are_held(self.state.lock().unwrap().calls) {
                yield_now().await;
            }
            let ended = timeout(PATIENCE, others).await;
            self.hold(None, 0);
            assert!(ended.is_ok(), "others wait for those who wait for {name}");
        };
        tokio::join!(waiting, others);
    }
}

/// A store that is asked for everything on threads, as where nothing is in memory.
fn store(held: &Arc<Held>) -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let held = Arc::clone(held);
    let hook = move |name: &'static str| {
        held.call(name);
        match name {
            "preadv2" => Verdict::Fail(rustix::io::Errno::AGAIN.into()),
            _ => Verdict::Go,
        }
    };
    let faults = Faults::decided_by(Arc::new(hook));
    let store = FolderStore::open_failing(folder.path().to_owned(), Sync::On, 0, faults).unwrap();
    (folder, Store::Folder(store))
}

/// Each expires in a second of its own.
fn source(number: u64) -> SourceId {
    SourceId::mint(EXPIRY.after(Duration::from_secs(number)), [1; 10])
}

async fn begin(store: &Store, number: u64) -> Upload {
    staging::begin(store, source(number)).await
}

async fn stage(upload: Upload) -> Staged {
    staging::stage(upload, archive(ARCHIVE_BYTES, 1)).await
}

async fn read(download: Download) {
    let pieces = download.into_stream(0..ARCHIVE_BYTES as u64);
    let pieces: Vec<_> = pieces.map(Result::unwrap).collect().await;
    assert!(pieces.concat() == archive(ARCHIVE_BYTES, 1));
}

async fn open(store: &Store, number: u64) -> Option<Download> {
    store.open(source(number)).await.unwrap()
}

async fn look_around(store: &Store) {
    assert!(open(store, u64::from(u32::MAX)).await.is_none());
    assert_eq!(store.sweep(EXPIRY).await.unwrap().failures, 0);
    assert!(store.count(EXPIRY).await.unwrap().unwrap().live > 0);
}

async fn all<T>(work: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    join_all(work).await
}

async fn check_who_waits(held: &Held, store: &Store) {
    publish(stage(begin(store, 1).await).await).await;
    let others = async || {
        look_around(store).await;
        read(open(store, 1).await.unwrap()).await;
    };

    let mut numbers = 2..;
    let mut clients = || numbers.by_ref().take(CLIENTS).collect::<Vec<_>>();
    let begins = all(clients().into_iter().map(|number| begin(store, number)));
    held.keeps_nobody_waiting("create", begins, others()).await;

    let uploads = all(clients().into_iter().map(|number| begin(store, number))).await;
    let stages = all(uploads.into_iter().map(stage));
    held.keeps_nobody_waiting("write", stages, others()).await;

    for name in ["fdatasync", "fsync"] {
        let stages = clients()
            .into_iter()
            .map(async |number| stage(begin(store, number).await).await);
        let publications = all(all(stages).await.into_iter().map(publish));
        held.keeps_nobody_waiting(name, publications, others())
            .await;
    }

    let downloads = all((0..CLIENTS).map(|_| open(store, 1))).await;
    let reads = all(downloads.into_iter().flatten().map(read));
    let others = async {
        look_around(store).await;
        publish(stage(begin(store, 0).await).await).await;
    };
    held.keeps_nobody_waiting("pread", reads, others).await;
}

/// Makes and revokes something like an API token.
async fn write_and_delete_a_document(store: &Store) {
    let key = DocumentKey {
        collection: Collection::Users,
        name: DocumentName::from_bytes(&[1]),
    };
    let content = BTreeMap::from([("name", "alice")]);
    let written = store.write_document(&key, &content, Expected::Absent).await;
    assert_eq!(written.unwrap(), Written::Done);
    store.delete_document(&key).await.unwrap();
}

async fn check_documents(held: &Held, store: &Store) {
    for (name, number) in ["create", "write", "fdatasync", "fsync"]
        .into_iter()
        .zip(0..)
    {
        let numbers = number * CLIENTS as u64..(number + 1) * CLIENTS as u64;
        let uploads = all(numbers.map(async |number| {
            publish(stage(begin(store, number).await).await).await;
        }));
        let others = write_and_delete_a_document(store);
        held.keep_waiting(name, WRITERS, uploads, others).await;
    }
}

#[test]
fn documents_wait_behind_no_archive() {
    let runtime = Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let held = Arc::new(Held::default());
    let (_folder, store) = store(&held);
    runtime.unwrap().block_on(check_documents(&held, &store));
}

#[test]
fn whoever_waits_for_the_disk_keeps_only_their_own_kind_waiting() {
    let runtime = Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let held = Arc::new(Held::default());
    let (_folder, store) = store(&held);
    runtime.unwrap().block_on(check_who_waits(&held, &store));
}

#[test]
fn an_upload_is_not_cut_off_for_the_slowness_of_the_disk() {
    let server = Waystation::start(&IDLE_TIMEOUT);
    let source = server.create_source();
    let archive = archive(ARCHIVE_BYTES, 1);
    let mut connection = Connection::open(server.address);
    let length = format!("Content-Length: {}", archive.len());
    let headers = ["Connection: close", &length];
    connection.send(head("PUT", &source.upload_path(), &headers));
    connection.send(&archive[..100_000]);
    eventually("some of it is in the stage", || {
        server.store.staged_bytes() > Some(0)
    });
    let staged = server.store.entries_below("stage").remove(0);
    let arguments = ["-P", staged.to_str().unwrap(), "-e", WRITES];
    let strace = Attached::to(&server.program, &arguments);
    connection.send(&archive[100_000..]);
    let (reply, _) = Reply::parse(&connection.into_rest()).unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    let calls = strace.detach();
    assert!(calls.iter().any(|call| call.name.contains("write")));
    assert!(server.download(&source).body == archive);
}

#[test]
fn downloads_that_wait_for_the_disk_hold_up_nobody_and_are_not_cut_off() {
    let server = Waystation::start(&IDLE_TIMEOUT);
    let archive = archive(ARCHIVE_BYTES, 1);
    let source = server.create_and_upload(&archive);
    let strace = Attached::to(&server.program, &["-e", SENDS]);
    // More than one for each thread that serves connections.
    let mut downloads: Vec<_> = (0..4 * available_parallelism().unwrap().get())
        .map(|_| Connection::open(server.address))
        .collect();
    for download in &mut downloads {
        download.send(head("GET", &source.download_path(), &["Connection: close"]));
    }
    for download in &mut downloads {
        assert_eq!(download.next_head().status, 200);
    }
    server.create_source();
    for download in &mut downloads {
        assert!(!download.has_more(), "the others waited for the disk");
    }
    for download in downloads {
        assert!(download.into_rest() == archive);
    }
    let calls = strace.detach();
    assert!(calls.iter().any(|call| call.name == "sendfile"));
}
