//! A million guesses, one after the other as fast as they are refused.

use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::all_at_once::alone;
use waystation_testing::connection::{Connection, head};
use waystation_testing::dice::Dice;
use waystation_testing::program::Program;
use waystation_testing::reply::Reply;
use waystation_testing::store_folder::Store;
use waystation_testing::{Source, Waystation};

const GUESSES: u64 = 1_000_000;
const GUESSERS: u8 = 4;
/// How many are sent before the answer to the first of them is read.
const PIPELINED: u64 = 100;
const LOG_LINES: usize = 1_000;
/// All of them leave nothing behind.
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
    let api_token = server.store.create_token("a test");
    let mut line = Connection::open(server.address);
    line.send(asks_for_bearer(&api_token));
    let known = Known::of(&stored, &api_token, &line.next_reply());

    thread::scope(|scope| {
        for guesser in 1..=GUESSERS {
            let (server, known) = (&server, &known);
            scope.spawn(move || {
                let mut line = Connection::open_from(20 + guesser, server.address);
                let mut dice = Dice::of(guesser.into());
                for _ in 0..GUESSES / u64::from(GUESSERS) / PIPELINED {
                    line.send(known.guesses(PIPELINED, &mut dice));
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

/// What is no secret, and helps to guess one: only the secret itself is wrong then.
#[derive(Clone)]
pub(crate) struct Known {
    source: String,
    /// An API token's text without its secret.
    token: String,
    /// What is signed in a bearer.
    claims: String,
}

/// How many characters of an API token are its secret.
const SECRET_CHARACTERS: usize = 32;

impl Known {
    /// `exchanged` is the answer to a request for a bearer.
    pub(crate) fn of(stored: &Source, api_token: &str, exchanged: &Reply) -> Self {
        let exchanged = exchanged.json();
        let bearer = exchanged["token"].as_str().unwrap();
        let (claims, _) = bearer.rsplit_once('.').unwrap();
        Self {
            source: stored.id(),
            token: api_token[..api_token.len() - SECRET_CHARACTERS].to_owned(),
            claims: claims.to_owned(),
        }
    }

    /// Requests with secrets that are none, of each of the kinds in turn.
    pub(crate) fn guesses(&self, count: u64, dice: &mut Dice) -> String {
        let mut hex = |digits| {
            let mut rolls = std::iter::repeat_with(|| format!("{:012x}", dice.roll()));
            let text: String = rolls.by_ref().take(4).collect();
            text[..digits].to_owned()
        };
        (0..count)
            .map(|number| self.guess(number, &mut hex))
            .collect()
    }

    fn guess(&self, number: u64, hex: &mut impl FnMut(usize) -> String) -> String {
        let id = &self.source;
        let token = hex(32);
        match number % 8 {
            0 => head("GET", &format!("/v1/sources/{id}?token={token}"), &[]),
            1 => {
                let other = format!("{}{}", &id[..24], hex(12));
                head("GET", &format!("/v1/sources/{other}?token={token}"), &[])
            }
            2 => {
                let path = format!("/v1/sources/{id}?token={token}");
                head("PUT", &path, &["Content-Length: 0"])
            }
            3 => asks_by_bearer(&format!("tk-us-{}", hex(48))),
            4 => asks_by_bearer(&format!("{}{token}", self.token)),
            // The last character has two bits that belong to no byte.
            5 => asks_by_bearer(&format!("{}.{}0", self.claims, hex(42))),
            6 => asks_for_bearer(&format!("tk-us-{}", hex(48))),
            _ => asks_for_bearer(&format!("{}{token}", self.token)),
        }
    }
}

fn asks_by_bearer(bearer: &str) -> String {
    let bearer = format!("Authorization: Bearer {bearer}");
    head("POST", "/v1/sources", &[&bearer, "Content-Length: 0"])
}

/// A request to exchange an API token.
pub(crate) fn asks_for_bearer(api_token: &str) -> String {
    let basic = STANDARD.encode(format!(":{api_token}"));
    let basic = format!("Authorization: Basic {basic}");
    head(
        "POST",
        "/v1/tokens/exchange",
        &[&basic, "Content-Length: 0"],
    )
}
