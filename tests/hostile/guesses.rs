//! A million guesses, one after the other as fast as they are refused.

use std::fmt::Write as _;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::all_at_once::alone;
use crate::harness::connection::{Connection, head};
use crate::harness::program::Program;
use crate::harness::store::Store;
use crate::harness::{Source, Waystation};

const GUESSES: u64 = 1_000_000;
const GUESSERS: u8 = 4;
/// How many are sent before the answer to the first of them is read.
const PIPELINED: u64 = 100;
const LOG_LINES: usize = 1_000;
/// Who has made them all has left nothing behind.
const LIMIT_KIB: u64 = 48 * 1024;

#[test]
fn a_million_guesses_open_nothing() {
    let _alone = alone();
    let store = Store::new();
    // Each guess is looked at: none is refused for its number.
    let command = store.serve(&["--auth-failure-limit", "0"]);
    let program = Program::start_keeping(command, LOG_LINES);
    let server = Waystation::of(store, program);
    let stored = server.create_and_upload(b"an archive");

    thread::scope(|scope| {
        for guesser in 1..=GUESSERS {
            let (server, stored) = (&server, &stored);
            scope.spawn(move || {
                let mut line = Connection::open_from(20 + guesser, server.address);
                let mut random = Random(u64::from(guesser));
                for _ in 0..GUESSES / u64::from(GUESSERS) / PIPELINED {
                    let guesses = (0..PIPELINED).map(|number| guess(number, stored, &mut random));
                    line.send(guesses.collect::<String>());
                    for _ in 0..PIPELINED {
                        let status = line.next_reply().status;
                        assert!(matches!(status, 401 | 403), "{status}");
                    }
                }
            });
        }
    });
    assert_eq!(server.download(&stored).body, b"an archive");
    let peak_kib = server.program.peak_memory_kib();
    println!("soak: {GUESSES} guesses, none of them right");
    println!("peak memory {peak_kib} KiB");
    assert!(peak_kib <= LIMIT_KIB, "{peak_kib} KiB");
}

/// A request with a secret that is none, of each of the kinds in turn.
pub(crate) fn guess(number: u64, stored: &Source, random: &mut Random) -> String {
    let id = stored.id();
    let token = random.hex(32);
    match number % 6 {
        0 => head("GET", &format!("/v1/sources/{id}?token={token}"), &[]),
        1 => {
            let other = format!("{}{}", &id[..24], random.hex(12));
            head("GET", &format!("/v1/sources/{other}?token={token}"), &[])
        }
        2 => {
            let path = format!("/v1/sources/{id}?token={token}");
            head("PUT", &path, &["Content-Length: 0"])
        }
        3 => {
            let bearer = format!("Authorization: Bearer tk-us-{}", random.hex(48));
            head("GET", "/v1/users/self", &[&bearer])
        }
        4 => {
            let claims = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjQ4NTUzODU2MDB9";
            let bearer = format!("Authorization: Bearer {claims}.{}", random.hex(43));
            head("POST", "/v1/sources", &[&bearer, "Content-Length: 0"])
        }
        _ => {
            let basic = STANDARD.encode(format!(":tk-us-{}", random.hex(48)));
            let basic = format!("Authorization: Basic {basic}");
            let headers = [basic.as_str(), "Content-Length: 0"];
            head("POST", "/v1/tokens/exchange", &headers)
        }
    }
}

/// Cheap, and never the same guess twice.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn hex(&mut self, digits: usize) -> String {
        let mut text = String::new();
        while text.len() < digits {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let _ = write!(text, "{:016x}", self.0);
        }
        text.truncate(digits);
        text
    }
}
