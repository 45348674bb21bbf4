//! A store with a million live sources: how it starts, and how it deletes what expires meanwhile.
//!
//! The sources are made as files, as `src/store/folder/layout.rs` and `footer.rs` say, since a million
//! uploads would take half an hour. They live for days, and are kept for the next run.

use std::collections::HashSet;
use std::fs;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::fs::inotify;
use sha2::{Digest as _, Sha256};
use waystation::clock::Timestamp;
use waystation::grant::{Action, GrantKeys};
use waystation::keys::KeyRing;
use waystation::source::SourceId;

use crate::body::Body;
use crate::connection::Connection;
use crate::peer::{Places, now_ms, waystation_command};
use crate::process::{Process, empty, free_address, settle};
use crate::report::{Bar, Measured, Row};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// A million live sources: as many in one second of each of these minutes.
const MINUTES: u64 = 8_000;
const IN_EACH: u64 = 125;
const ARCHIVE_BYTES: u64 = 64;
/// How many expire each second, and for how long that is watched.
const EXPIRING: u64 = 1_000;
const WATCH_SECONDS: u64 = 30;
/// Between the making of what expires and its first instant.
const LEAD_MS: u64 = 8_000;

/// A store and a source in it that lives.
struct Stocked {
    store: PathBuf,
    live: SourceId,
}

/// Makes the file of a source, as an upload would have left it.
fn make_source(store: &Path, expires_at_ms: u64, number: u64) -> SourceId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    let source = SourceId::mint(Timestamp::from_ms(expires_at_ms), random);
    let body = Body::new(ARCHIVE_BYTES, 0);
    let mut file = body.piece(0).to_vec();
    let mut footer = b"waystn\x00\x01".to_vec();
    footer.extend(ARCHIVE_BYTES.to_be_bytes());
    footer.extend(now_ms().to_be_bytes());
    footer.extend([0; 8]);
    footer.extend(Sha256::digest(body.piece(0)));
    let check = Sha256::new()
        .chain_update(source.as_bytes())
        .chain_update(&footer)
        .finalize();
    footer.extend(&check[..16]);
    file.extend(footer);
    fs::write(
        folder_of(store, expires_at_ms).join(source.to_string()),
        file,
    )
    .unwrap();
    source
}

fn folder_of(store: &Path, expires_at_ms: u64) -> PathBuf {
    let seconds = expires_at_ms / 1_000;
    let minute = format!("{:09x}", seconds / 60);
    store.join(format!("sources/{minute}/{:02}", seconds % 60))
}

/// A store with `minutes` × `in_each` live sources.
fn stock(places: &Places, name: &str, minutes: u64, in_each: u64) -> Stocked {
    let folder = places.room.parent().unwrap().join(name);
    let store = folder.join("store");
    let marker = folder.join("first-expiry-ms");
    let mut first_ms: u64 = fs::read_to_string(&marker)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    if first_ms < now_ms() + DAY_MS / 8 {
        eprintln!(
            "making {} live sources, which are kept for later runs",
            minutes * in_each
        );
        let _ = fs::remove_file(&marker);
        empty(&folder);
        // The server makes what else a store has.
        drop(start(places, &store, 404, "/"));
        first_ms = (now_ms() / MINUTE_MS) * MINUTE_MS + DAY_MS;
        let next = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let minute = next.fetch_add(1, Ordering::Relaxed)
                        && minute < minutes
                    {
                        let at = first_ms + minute * MINUTE_MS;
                        fs::create_dir_all(folder_of(&store, at)).unwrap();
                        for number in 0..in_each {
                            make_source(&store, at, minute * in_each + number);
                        }
                    }
                });
            }
        });
        settle(&folder);
        fs::write(&marker, first_ms.to_string()).unwrap();
    }
    // The same file again: it says what its id is.
    let live = make_source(&store, first_ms, 0);
    Stocked { store, live }
}

/// Starts a server and waits for its first answer.
fn start(places: &Places, store: &Path, status: u16, path: &str) -> Process {
    let address = free_address();
    let command = waystation_command(places, address, store, &[]);
    let process = Process::start(store.parent().unwrap(), &command);
    let begun = Instant::now();
    loop {
        if let Ok(mut connection) = Connection::try_open(address, None) {
            if status == 200 {
                connection.get(path, &Body::new(ARCHIVE_BYTES, 0));
            } else {
                assert_eq!(connection.ask("GET", path, "", "").0.status, status);
            }
            return process;
        }
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "it does not start"
        );
        sleep(Duration::from_micros(500));
    }
}

impl Stocked {
    fn download_path(&self) -> String {
        let ring = KeyRing::load(&self.store.join("keys")).unwrap();
        let token = GrantKeys::derive(&ring).mint(Action::Download, self.live);
        format!("/v1/sources/{}?token={}", self.live, token.reveal())
    }

    fn milliseconds_to_start(&self, places: &Places) -> f64 {
        let path = self.download_path();
        settle(&self.store);
        let begun = Instant::now();
        let process = start(places, &self.store, 200, &path);
        let elapsed = begun.elapsed().as_secs_f64() * 1_000.0;
        drop(process);
        elapsed
    }

    /// Lets sources expire beside those that live. Returns the lags of their deletions in seconds, in
    /// order, and the share of a core that the server needed.
    fn watch_deletions(&self, places: &Places) -> (Vec<f64>, f64) {
        let process = start(places, &self.store, 200, &self.download_path());
        let first_ms = (now_ms() / 1_000) * 1_000 + LEAD_MS;
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
        let mut left = HashSet::new();
        for second in 0..WATCH_SECONDS {
            let at = first_ms + second * 1_000;
            let folder = folder_of(&self.store, at);
            fs::create_dir_all(&folder).unwrap();
            for number in 0..EXPIRING {
                let source = make_source(&self.store, at + number * 1_000 / EXPIRING, number);
                left.insert(source);
            }
            inotify::add_watch(&watch, &folder, inotify::WatchFlags::DELETE).unwrap();
        }
        settle(&self.store);
        assert!(now_ms() < first_ms, "this machine makes files too slowly");
        sleep(Duration::from_millis(first_ms - now_ms()));
        let (cpu_before, begun) = (process.cpu_seconds(), Instant::now());
        let mut buffer = vec![MaybeUninit::uninit(); 64 * 1024];
        let mut events = inotify::Reader::new(watch, &mut buffer);
        let mut lags = Vec::new();
        while !left.is_empty() {
            let event = events.next().unwrap();
            let name = event.file_name().and_then(|name| name.to_str().ok());
            let source: Option<SourceId> = name.and_then(|name| name.parse().ok());
            if let Some(source) = source.filter(|source| left.remove(source)) {
                let now = Timestamp::from_ms(now_ms());
                assert!(source.is_expired(now), "one was deleted while it lived");
                lags.push(now.since(source.expires_at()).as_secs_f64());
            }
        }
        let share = (process.cpu_seconds() - cpu_before) / begun.elapsed().as_secs_f64();
        lags.sort_by(f64::total_cmp);
        (lags, share * 100.0)
    }
}

const MILLION: &str = "1,000,000 live";
const THOUSAND: &str = "1,000 live";

pub(crate) fn start_up(places: &Places, rounds: usize) -> Row {
    let mut row = Row::new("start", "From start to the first answer", "ms");
    for (name, stocked) in stocks(places) {
        let mut measured = Measured::new(name);
        for _ in 0..rounds {
            measured.rounds.push(stocked.milliseconds_to_start(places));
        }
        row.results.push(measured);
    }
    row.bars = vec![Bar::AtMost {
        of: MILLION.to_owned(),
        value: 200.0,
    }];
    row
}

pub(crate) fn deletion(places: &Places) -> Vec<Row> {
    let title = "1,000 expiring each second: deletion lag, 99th percentile";
    let mut lag = Row::new("deletion-lag", title, "s");
    let title = "1,000 expiring each second: share of one core";
    let mut cpu = Row::new("deletion-cpu", title, "%");
    for (name, stocked) in stocks(places) {
        let (lags, share) = stocked.watch_deletions(places);
        lag.add(name, lags[lags.len() * 99 / 100]);
        cpu.add(name, share);
    }
    for name in [MILLION, THOUSAND] {
        let of = name.to_owned();
        lag.bars.push(Bar::AtMost {
            of: of.clone(),
            value: 2.0,
        });
        cpu.bars.push(Bar::AtMost { of, value: 5.0 });
    }
    vec![lag, cpu]
}

fn stocks(places: &Places) -> [(&'static str, Stocked); 2] {
    assert_eq!(MINUTES * IN_EACH, 1_000_000);
    [
        (MILLION, stock(places, "million", MINUTES, IN_EACH)),
        (
            THOUSAND,
            stock(places, "thousand", MINUTES / 1_000, IN_EACH),
        ),
    ]
}
