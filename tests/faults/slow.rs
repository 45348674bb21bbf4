//! A slow disk: calls that take seconds, or do not end at all. Nobody waits for it except those who need
//! what it does, and no client is blamed for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::timeout;
use waystation::clock::{Clock, FakeClock, Timestamp};
use waystation::digest::ExpectedDigests;
use waystation::grant::{Action, GrantKeys};
use waystation::keys::KeyRing;
use waystation::pace::Pace;
use waystation::server::{ConnectionLimits, Server};
use waystation::service::Service as UseCases;
use waystation::service::deployments::DeploymentLimits;
use waystation::service::sources::body::Sent;
use waystation::service::sources::receive::Announced;
use waystation::service::sources::{Limits, TransferMode};
use waystation::source::SourceId;
use waystation::store::folder::{BLOCKING_THREADS, Faults, Sync, Verdict};
use waystation::store::{
    Collection, Download, Expected, FolderStore, Piece, Staged, Store, Upload, Written,
};
use waystation_testing::connection::{Connection, exchange, head};
use waystation_testing::{PATIENCE, archive, eventually};

use crate::model::Service;
use crate::staging::{self, publish};

/// How slow clients may be.
const PACE: Pace = Pace {
    idle_timeout: Duration::from_mins(1),
    min_bytes_per_second: 1024,
};
const ARCHIVE_BYTES: usize = 300_000;

/// How many writes are under way at once.
const WRITERS: usize = BLOCKING_THREADS / 3;
/// More than the server has threads.
const CLIENTS: usize = BLOCKING_THREADS + 30;
const EXPIRY: Timestamp = Timestamp::from_ms(1_900_000_000_000);

/// Calls of one name, which do not end until they are let go.
#[derive(Default)]
struct Held {
    state: Mutex<HeldState>,
    changed: Condvar,
}

#[derive(Default)]
struct HeldState {
    name: Option<&'static str>,
    /// So many are let go before any is held.
    passing: usize,
    /// How many are held at most.
    most: usize,
    calls: usize,
}

impl Held {
    fn call(&self, name: &'static str) {
        let mut state = self.state.lock().unwrap();
        if state.name == Some(name) && state.passing > 0 {
            state.passing -= 1;
        } else if state.name == Some(name) && state.calls < state.most {
            state.calls += 1;
            let _state = self
                .changed
                .wait_while(state, |state| state.name == Some(name));
        }
    }

    fn hold(&self, name: Option<&'static str>, most: usize) {
        *self.state.lock().unwrap() = HeldState {
            name,
            most,
            ..HeldState::default()
        };
        self.changed.notify_all();
    }

    fn let_one_pass(&self) {
        self.state.lock().unwrap().passing += 1;
    }

    fn calls(&self) -> usize {
        self.state.lock().unwrap().calls
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
            while !are_held(self.calls()) {
                yield_now().await;
            }
            let ended = timeout(PATIENCE, others).await;
            self.hold(None, 0);
            assert!(ended.is_ok(), "others wait for those who wait for {name}");
        };
        tokio::join!(waiting, others);
    }
}

/// Lets held calls go when a test ends, also when it fails: their threads would be waited for.
struct LetGo<'a>(&'a Held);

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        self.0.hold(None, 0);
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
    let others = Box::pin(async {
        look_around(store).await;
        publish(stage(begin(store, 0).await).await).await;
    });
    held.keeps_nobody_waiting("pread", reads, others).await;
}

/// Makes and revokes something like an API token.
async fn write_and_delete_a_document(store: &Store) {
    let key = Collection::Users.key(&[1]);
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

/// Lets a store be checked where there are no more threads than it needs.
fn on_few_threads(check: &impl AsyncFn(&Held, &Store)) {
    let runtime = Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let held = Arc::new(Held::default());
    let (_folder, store) = store(&held);
    runtime.unwrap().block_on(check(&held, &store));
}

#[test]
fn documents_wait_behind_no_archive() {
    on_few_threads(&check_documents);
}

#[test]
fn whoever_waits_for_the_disk_keeps_only_their_own_kind_waiting() {
    on_few_threads(&check_who_waits);
}

/// Its client has sent all, and waits.
#[tokio::test(start_paused = true)]
async fn an_upload_is_not_cut_off_for_the_slowness_of_the_disk() {
    let held = Held::default().into();
    let (_folder, store) = store(&held);
    let keys = KeyRing::of(&[[7; 32]]);
    let limits = Limits {
        lifetime: Duration::from_mins(10),
        upload_bytes: u64::MAX,
        transfers: 1,
        uploads_per_source: 1,
        open_attempts: 100,
        open_attempt_bytes: u64::MAX,
        transfer_mode: TransferMode::Proxy,
        upload_pace: PACE,
    };
    let clock = Clock::Fake(FakeClock::at(EXPIRY));
    let service = UseCases::build(&keys, limits, DeploymentLimits::default(), &store, clock);
    let grants = GrantKeys::derive(&keys);
    let token = grants.mint(Action::Upload, source(1));
    let grant = grants.verify_upload(source(1), token.reveal(), EXPIRY);

    // More than may wait in memory.
    let sent = archive(10 * ARCHIVE_BYTES, 1);
    let pieces = sent.chunks(100_000).map(|piece| piece.to_vec().into());
    let body = stream::iter(pieces.map(|piece| Ok(Sent::Bytes(piece))));
    held.hold(Some("write"), usize::MAX);
    let announced = Announced {
        size_bytes: None,
        total_bytes: None,
        expected: ExpectedDigests::default(),
        trailing: Vec::new(),
        precondition: Box::new(|_stored| true),
    };
    let upload = service.sources.receive(grant.unwrap(), announced, body);
    let disk = async {
        while held.calls() == 0 {
            yield_now().await;
        }
        tokio::time::advance(100 * PACE.idle_timeout).await;
        // Whatever waits for that has its turn.
        for _ in 0..100 {
            yield_now().await;
        }
        held.hold(None, 0);
    };
    let (stored, ()) = tokio::join!(upload, disk);
    assert_eq!(stored.unwrap().size_bytes, sent.len() as u64);
}

#[test]
fn downloads_that_wait_for_the_disk_hold_up_nobody() {
    let one_thread = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let (runtime, held) = (one_thread.unwrap(), Arc::default());
    let (_folder, store) = store(&held);
    runtime.block_on(async { publish(stage(begin(&store, 1).await).await).await });
    let service = Service::on(store, &FakeClock::at(EXPIRY));
    let limits = ConnectionLimits {
        connections: 8,
        head_timeout: PACE.idle_timeout,
        head_bytes: 8 * 1024,
        download_pace: PACE,
    };
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        let server = Server::new(service.router, limits, None);
        server.accept(&listener).await;
    });
    let token = GrantKeys::derive(&KeyRing::of(&[[7; 32]])).mint(Action::Download, source(1));
    let path = format!("/v1/sources/{}?token={}", source(1), token.reveal());

    held.hold(Some("pread"), usize::MAX);
    let _released = LetGo(&held);
    let mut downloads = [(); 2].map(|()| Connection::open(address));
    for (waiting, download) in downloads.iter_mut().enumerate() {
        held.let_one_pass(); // that of the facts
        download.send(head("GET", &path, &["Connection: close"]));
        assert_eq!(download.next_head().status, 200);
        eventually("it waits for the disk", || held.calls() == waiting + 1);
    }
    assert_eq!(exchange(address, "GET", "/", b"").status, 404);
    held.hold(None, 0);
    for download in downloads {
        assert!(download.into_rest() == archive(ARCHIVE_BYTES, 1));
    }
}

#[tokio::test]
async fn only_what_is_in_memory_page_by_page_is_sent_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let (asked, missing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let hook = {
        let (asked, missing) = (Arc::clone(&asked), Arc::clone(&missing));
        move |name: &'static str| {
            if name == "preadv2" && asked.fetch_add(1, Relaxed) == missing.load(Relaxed) {
                return Verdict::Fail(rustix::io::Errno::AGAIN.into());
            }
            Verdict::Go
        }
    };
    let faults = Faults::decided_by(Arc::new(hook));
    let root = folder.path().join("store");
    let store = Store::Folder(FolderStore::open_failing(root, Sync::Off, 0, faults).unwrap());
    publish(stage(begin(&store, 1).await).await).await;
    let download = open(&store, 1).await.unwrap();
    let mut pieces = download.into_pieces(100..ARCHIVE_BYTES as u64);
    let Some(Ok(Piece::InFile(part))) = pieces.next().await else {
        panic!("a large archive in a folder is sent unread");
    };
    for (missing_page, limit_bytes, bytes) in [
        (0, ARCHIVE_BYTES, 0),
        (1, ARCHIVE_BYTES, 4096 - 100),
        (7, ARCHIVE_BYTES, 7 * 4096 - 100),
        (80, ARCHIVE_BYTES, ARCHIVE_BYTES - 100),
        (80, 10_000, 10_000),
    ] {
        asked.store(0, Relaxed);
        missing.store(missing_page, Relaxed);
        assert_eq!(part.bytes_in_memory(limit_bytes), bytes, "{missing_page}");
    }
}
