//! Clients that create, upload and download without a pause, each time at another node, and keep book
//! of what they were promised and of what failed.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use jiff::Timestamp;

use crate::balance::Balance;
use waystation_testing::reply::Reply;
use waystation_testing::{Source, archive};

/// Within one part, at the edge of one, and over several.
const ARCHIVE_BYTES: [usize; 5] = [1, 100_000, 700_000, 2 * 1024 * 1024, 5_000_000];

/// An archive that was answered with 200. It can be made again from its seed.
#[derive(Clone)]
struct Promise {
    source: Source,
    seed: u64,
}

impl Promise {
    fn archive(&self) -> Vec<u8> {
        let kinds = ARCHIVE_BYTES.len() as u64;
        let kind = usize::try_from(self.seed % kinds).unwrap();
        archive(ARCHIVE_BYTES[kind], self.seed)
    }

    fn has_expired(&self) -> bool {
        Timestamp::now() >= self.source.expires_at()
    }
}

/// A request that did not get what its client wanted.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) node: SocketAddr,
    pub(crate) method: &'static str,
    pub(crate) begun_at: Instant,
    pub(crate) ended_at: Instant,
    /// None if it was cut off.
    pub(crate) reply: Option<Reply>,
}

/// All clients together.
pub(crate) struct Traffic<'a> {
    balance: &'a Balance,
    /// What they authenticate with, in turn.
    bearers: Vec<String>,
    next_seed: AtomicU64,
    is_over: AtomicBool,
    hand_offs: AtomicUsize,
    looks: AtomicUsize,
    promises: Mutex<Vec<Promise>>,
    failures: Mutex<Vec<Failure>>,
}

impl<'a> Traffic<'a> {
    pub(crate) fn new(balance: &'a Balance, bearers: Vec<String>) -> Self {
        Self {
            balance,
            bearers,
            next_seed: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            hand_offs: AtomicUsize::new(0),
            looks: AtomicUsize::new(0),
            promises: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    /// How many archives have been created, uploaded and downloaded.
    pub(crate) fn hand_offs(&self) -> usize {
        self.hand_offs.load(Ordering::Relaxed)
    }

    /// How many failed requests `is_such`.
    pub(crate) fn failures(&self, is_such: impl Fn(&Failure) -> bool) -> usize {
        let failures = self.failures.lock().unwrap();
        failures.iter().filter(|failure| is_such(failure)).count()
    }

    pub(crate) fn into_failures(self) -> Vec<Failure> {
        self.failures.into_inner().unwrap()
    }

    /// Lets the clients end what they are doing.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// A client that hands archives off, one after the other.
    pub(crate) fn hand_off_repeatedly(&self) {
        while !self.is_over() {
            let seed = self.next_seed.fetch_add(1, Ordering::Relaxed);
            if let Some(source) = self.create(seed) {
                self.hand_off(&Promise { source, seed });
            }
        }
    }

    fn create(&self, seed: u64) -> Option<Source> {
        let turn = usize::try_from(seed).unwrap() % self.bearers.len();
        let bearer = self.bearers[turn].as_str();
        let reply = self.ask("POST", "/v1/sources", &[bearer], b"", 201)?;
        Some(Source::of(&reply))
    }

    /// Uploads until it works, since every upload that failed may be tried again; then downloads.
    fn hand_off(&self, promise: &Promise) {
        let archive = promise.archive();
        let path = promise.source.upload_path();
        while self.ask("PUT", &path, &[], &archive, 200).is_none() {
            if promise.has_expired() {
                return;
            }
        }
        self.promises.lock().unwrap().push(promise.clone());
        if self.look_at(promise, &archive) {
            self.hand_offs.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A client that looks whether what was promised is still served, over and over.
    pub(crate) fn look_repeatedly(&self) {
        while !self.is_over() {
            self.look_at_all();
        }
    }

    fn look_at_all(&self) {
        let promises = self.promises.lock().unwrap().clone();
        for promise in promises.iter().filter(|promise| !promise.has_expired()) {
            if self.look_at(promise, &promise.archive()) {
                self.looks.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Is it served? If it is, then whole; if not, then because it has expired.
    fn look_at(&self, promise: &Promise, archive: &[u8]) -> bool {
        let path = promise.source.download_path();
        let node = self.balance.next();
        let begun_at = Instant::now();
        let reply = node.try_call("GET", &path, &[], b"");
        match reply {
            Some(reply) if reply.status == 200 => {
                assert!(reply.body == archive, "not whole: {reply:?}");
                return true;
            }
            Some(reply) if reply.status == 410 => assert!(promise.has_expired(), "{reply:?}"),
            reply => self.note(node.address, "GET", begun_at, reply),
        }
        false
    }

    /// One request at the next node. Anything but an answer with `wanted` goes into the book.
    fn ask(
        &self,
        method: &'static str,
        path: &str,
        headers: &[&str],
        body: &[u8],
        wanted: u16,
    ) -> Option<Reply> {
        let node = self.balance.next();
        let begun_at = Instant::now();
        let reply = node.try_call(method, path, headers, body);
        if reply.as_ref().is_some_and(|reply| reply.status == wanted) {
            return reply;
        }
        self.note(node.address, method, begun_at, reply);
        None
    }

    fn note(
        &self,
        node: SocketAddr,
        method: &'static str,
        begun_at: Instant,
        reply: Option<Reply>,
    ) {
        self.failures.lock().unwrap().push(Failure {
            node,
            method,
            begun_at,
            ended_at: Instant::now(),
            reply,
        });
    }

    /// Looks at everything a last time, and says how much that was.
    pub(crate) fn look_for_the_last_time(&self) -> usize {
        let before = self.looks.load(Ordering::Relaxed);
        self.look_at_all();
        self.looks.load(Ordering::Relaxed) - before
    }

    /// When the last source of all expires.
    pub(crate) fn last_expiry(&self) -> Timestamp {
        let promises = self.promises.lock().unwrap();
        let expiries = promises.iter().map(|promise| promise.source.expires_at());
        expiries.max().unwrap()
    }
}
