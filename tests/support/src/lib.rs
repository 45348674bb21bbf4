//! What the tests stand on: a running server with a store of its own, the programs that ask it, and
//! a way to wait for what happens. Everything here ends with the test that started it.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]
#![allow(
    clippy::must_use_candidate,
    clippy::new_without_default,
    clippy::return_self_not_must_use,
    reason = "only tests use it, and their authors read it here"
)]

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub mod api_reference;
pub mod call_gate;
pub mod certificate;
pub mod clients;
pub mod connection;
pub mod curl;
pub mod delay;
pub mod deployers;
pub mod description;
pub mod dice;
pub mod faulty_line;
pub mod line;
pub mod nginx;
pub mod program;
pub mod relay;
pub mod reply;
pub mod runners;
pub mod schema;
pub mod seaweedfs;
pub mod server;
pub mod store_folder;
pub mod tarball;
pub mod terminal;
pub mod trees;
pub mod tus_client;
pub mod wall_clock;

use reply::Reply;

pub use server::{Server, Source, Waystation, address_in};

/// How long anything may take that is only waited for. Far more than it needs, so that a slow
/// machine fails no test.
pub const PATIENCE: Duration = Duration::from_mins(1);
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
