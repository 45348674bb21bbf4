//! What the tests stand on: a running server with a store of its own, the programs that ask it, and
//! a way to wait for what happens. Everything here ends with the test that started it.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]
#![allow(
    missing_docs,
    clippy::must_use_candidate,
    clippy::new_without_default,
    clippy::return_self_not_must_use,
    reason = "only tests use it, and their authors read it here"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

pub mod certificate;
pub mod clients;
pub mod connection;
pub mod curl;
pub mod dice;
pub mod engine;
pub mod line;
pub mod program;
pub mod reply;
pub mod store_folder;
pub mod terminal;
pub mod wall_clock;

use connection::exchange;
use curl::curl;
use program::Program;
use reply::Reply;
use store_folder::Store;

/// How long anything may take that is only waited for. Far more than it needs, so that a slow
/// machine fails no test.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The longest pause of [`eventually`].
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The folder of the whole repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Waits until `condition` holds, for what cannot be waited for in any better way: files that come
/// and go. The pauses are short at first, so that an instant that passes quickly is not missed.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, condition);
}

/// Waits as [`eventually`] does, for what may take longer, or must not.
pub fn eventually_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let started_at = Instant::now();
    let mut pause = Duration::from_micros(50);
    while !condition() {
        assert!(started_at.elapsed() < limit, "it never came: {what}");
        thread::park_timeout(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A server and its store.
pub struct Waystation {
    pub store: Store,
    pub program: Program,
    pub address: SocketAddr,
    api_token: OnceLock<String>,
}

impl Waystation {
    /// Starts a server on a new store and a free port.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_on(Store::new(), flags)
    }

    /// Starts a server on a store that may have been in use, on a free port.
    pub fn start_on(store: Store, flags: &[&str]) -> Self {
        let program = Program::start(store.serve(flags));
        Self::of(store, program)
    }

    /// Waits until a server that was started accepts connections.
    pub fn of(store: Store, program: Program) -> Self {
        let address = address_in(&program.await_line("listening on http://"));
        Self {
            store,
            program,
            address,
            api_token: OnceLock::new(),
        }
    }

    /// Ends the server as a crash would, and leaves its store.
    pub fn kill(mut self) -> Store {
        self.program.kill();
        self.store
    }

    /// A token made by the command for it.
    pub fn api_token(&self) -> &str {
        self.api_token
            .get_or_init(|| self.store.create_token("a test"))
    }

    pub fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.api_token())
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn create_source(&self) -> Source {
        let sources = self.url("/v1/sources");
        let reply = curl(&["-X", "POST", "-H", &self.bearer(), &sources]);
        assert_eq!(reply.status, 201, "{reply:?}");
        Source::of(&reply)
    }

    pub fn upload(&self, source: &Source, archive: &[u8]) -> Reply {
        exchange(self.address, "PUT", &source.upload_path(), archive)
    }

    pub fn download(&self, source: &Source) -> Reply {
        exchange(self.address, "GET", &source.download_path(), b"")
    }

    /// A source that has its archive.
    pub fn create_and_upload(&self, archive: &[u8]) -> Source {
        let source = self.create_source();
        let reply = self.upload(&source, archive);
        assert_eq!(reply.status, 200, "{reply:?}");
        source
    }
}

/// The two links of a source.
#[derive(Clone, Debug)]
pub struct Source {
    pub upload_url: String,
    pub download_url: String,
}

impl Source {
    /// Reads the answer to a creation.
    pub fn of(reply: &Reply) -> Self {
        let json = reply.json();
        let link = |name: &str| json["source"][name].as_str().unwrap().to_owned();
        Self {
            upload_url: link("upload_url"),
            download_url: link("download_url"),
        }
    }

    /// The link without its host: a server that was started again has another port.
    pub fn upload_path(&self) -> String {
        path_of(&self.upload_url)
    }

    pub fn download_path(&self) -> String {
        path_of(&self.download_url)
    }

    pub fn id(&self) -> String {
        let path = path_of(&self.upload_url);
        let (path, _query) = path.split_once('?').unwrap();
        path.rsplit_once('/').unwrap().1.to_owned()
    }

    /// It stands in the id: the leading 48 bits, in milliseconds.
    pub fn expires_at(&self) -> Timestamp {
        let digits = self.id().replace('-', "");
        let ms = i64::from_str_radix(&digits[..12], 16).unwrap();
        Timestamp::from_millisecond(ms).unwrap()
    }

    pub fn upload_token(&self) -> &str {
        self.upload_url.split_once("?token=").unwrap().1
    }

    pub fn download_token(&self) -> &str {
        self.download_url.split_once("?token=").unwrap().1
    }
}

fn path_of(url: &str) -> String {
    let (_scheme, rest) = url.split_once("://").unwrap();
    rest[rest.find('/').unwrap()..].to_owned()
}

/// The address in a line of the log, whatever its form.
pub fn address_in(line: &str) -> SocketAddr {
    let (_, rest) = line.split_once("http://").unwrap();
    let is_address = |c: char| c.is_ascii_digit() || ".:".contains(c);
    let end = rest.find(|c| !is_address(c)).unwrap_or(rest.len());
    rest[..end].parse().unwrap()
}

/// Bytes that begin like a gzip file and cannot be compressed; another `seed` gives others.
pub fn archive(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut archive = b"\x1f\x8b\x08\x00".to_vec();
    archive.extend(noise.take(bytes / 8 + 1).flatten());
    archive.truncate(bytes);
    archive
}

/// Checks that an answer is a refusal as all of them are: JSON that says what happened, and the
/// request's id. Returns what it says.
pub fn assert_refused(reply: &Reply, status: u16) -> Value {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert!(reply.header("x-request-id").is_some(), "{reply:?}");
    let json = reply.json();
    assert!(json["error"].as_str().is_some_and(|text| !text.is_empty()));
    json
}

/// Checks that an answer is the HTTP library's own to what is no request: a status and nothing else.
pub fn assert_refused_bare(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.body, b"", "{reply:?}");
}
