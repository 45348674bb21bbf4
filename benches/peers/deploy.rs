//! Deployments: how fast the server accepts, hands out, logs and ends them, and what it needs for those who follow.
//! The runners are this program's own and start nothing, so that what is measured is the server.

use std::collections::{HashMap, HashSet};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::body::Body;
use crate::connection::Connection;
use crate::peer::{Peer, Places, now_ms};
use crate::process::settle;
use crate::report::{Bar, Row};
use crate::transfers::{Round, as_f64, at_once, in_turn};

const NAME: &str = "waystation";
const MIB: f64 = 1024.0 * 1024.0;
/// Of a log, with its newline.
const LINE_BYTES: usize = 50;
/// What a runner sends at once of a log that comes fast.
const PIECE_LINES: usize = 1_200;
/// Just below what a log may have.
const PIECES: usize = 250;
const RUNNERS: usize = 8;
const CLIENTS: usize = 16;
const FOLLOWERS: usize = 100;

/// A server, and those who deploy to it.
struct Deploying {
    peer: Peer,
    runner: String,
    source_url: String,
    archive: Body,
}

/// What a runner has claimed.
struct Claim {
    id: String,
    app: String,
    reports: String,
    source: String,
}

impl Deploying {
    fn start(places: &Places, name: &'static str) -> Self {
        let peer = Peer::waystation(places, name, None, &["--max-queued", "20000"]);
        let archive = Body::new(1024 * 1024, 0);
        let target = peer.targets(1).remove(0);
        peer.put(&mut peer.connect(), &target, &archive, &archive.sha256());
        Self {
            runner: peer.create_runner_token(places),
            source_url: format!("http://{}{}", peer.address, target.get),
            archive,
            peer,
        }
    }

    fn post(&self, connection: &mut Connection, path: &str, body: &Value) -> Value {
        let headers = format!("Authorization: Bearer {}\r\n", self.peer.jwt());
        let (answer, made) = connection.ask("POST", path, &headers, &body.to_string());
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&made));
        serde_json::from_slice(&made).unwrap()
    }

    fn create_app(&self, connection: &mut Connection, name: &str) {
        let body = json!({ "app": { "name": name } });
        self.post(connection, "/v1/apps", &body);
    }

    fn deploy(&self, connection: &mut Connection, app: &str) {
        let body = json!({ "deployment": { "source_url": self.source_url } });
        self.post(connection, &format!("/v1/apps/{app}/deployments"), &body);
    }

    /// Waits for work; none if there was none for a while.
    fn claim(&self, connection: &mut Connection) -> Option<Claim> {
        let headers = format!("Authorization: Bearer {}\r\n", self.runner);
        let (answer, body) = connection.ask("POST", "/v1/runner/claims", &headers, "{}");
        if answer.status == 204 {
            return None;
        }
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&body));
        let answer: Value = serde_json::from_slice(&body).unwrap();
        let claim = &answer["claim"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let path = |value: &Value| {
            let (_, rest) = value.as_str().unwrap().split_once("://").unwrap();
            rest[rest.find('/').unwrap()..].to_owned()
        };
        Some(Claim {
            id: text(&claim["deployment"]["id"]),
            app: text(&claim["app"]["name"]),
            reports: path(&claim["report_url"]),
            source: path(&claim["source_url"]),
        })
    }

    /// A follower of `app` who has said who they are.
    fn follow(&self, app: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(self.peer.address).unwrap();
        let url = format!(
            "ws://{}/v1/apps/{app}/deployments/stream",
            self.peer.address
        );
        let (mut socket, _) = client(url, stream).unwrap();
        let auth = json!({ "type": "auth", "data": { "token": self.peer.jwt() } });
        socket.send(Message::text(auth.to_string())).unwrap();
        socket
    }
}

impl Claim {
    fn report(&self, connection: &mut Connection, status: &str) {
        let path = format!("{}/status", self.reports);
        let body = json!({ "status": status }).to_string();
        let (answer, body) = connection.ask("PUT", &path, "", &body);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&body));
    }

    /// Returns where the log ends then.
    fn append(&self, connection: &mut Connection, offset: usize, text: &str) -> usize {
        let path = format!("{}/log?offset={offset}", self.reports);
        let (answer, body) = connection.ask("PUT", &path, "", text);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&body));
        offset + text.len()
    }
}

/// Reads the log until `until` has seen enough of it.
fn read_log(socket: &mut WebSocket<TcpStream>, mut until: impl FnMut(&str) -> bool) {
    loop {
        let message = socket.read().unwrap();
        let Message::Text(text) = message else {
            continue;
        };
        let frame: Value = serde_json::from_str(&text).unwrap();
        if frame["type"] == "log" && until(frame["data"]["content"].as_str().unwrap()) {
            return;
        }
    }
}

pub(crate) fn measure(places: &Places, rounds: usize, is_quick: bool, done: &mut dyn FnMut(Row)) {
    let it = Deploying::start(places, "deployments");
    done(first_line(&it, rounds));
    done(log_lines(&it, rounds));
    done(log_delay(&it));
    drop(it);
    done(follower_memory(places));
    let (apps, of_each) = if is_quick { (100, 10) } else { (1_000, 10) };
    done(queue(places, apps, of_each));
}

fn at_most(value: f64) -> Vec<Bar> {
    vec![Bar::AtMost {
        of: NAME.to_owned(),
        value,
    }]
}

fn reaches(value: f64) -> Vec<Bar> {
    vec![Bar::Reaches {
        of: NAME.to_owned(),
        value,
    }]
}

/// As the platform's command line does it: the stream is opened after the POST.
fn first_line(it: &Deploying, rounds: usize) -> Row {
    let title =
        "POST of a deployment to its first line in a follower; 1 MiB archive, a runner that waits";
    let mut row = Row::new("deploy first line", title, "ms");
    row.bars = at_most(150.0);
    it.create_app(&mut it.peer.connect(), "first-line");
    in_turn(rounds.max(15), &[NAME], &mut row, |_| {
        thread::scope(|scope| {
            let runner = scope.spawn(|| {
                let mut connection = it.peer.connect();
                let claim = it.claim(&mut connection).unwrap();
                claim.report(&mut connection, "building");
                it.peer.connect().get(&claim.source, &it.archive);
                claim.append(&mut connection, 0, "first\n");
                claim.report(&mut connection, "success");
            });
            // So that it waits.
            thread::sleep(Duration::from_millis(50));
            let mut connection = it.peer.connect();
            let started = Instant::now();
            it.deploy(&mut connection, "first-line");
            // Of those before, it is told as well.
            let mut socket = it.follow("first-line");
            let mut is_ours = false;
            loop {
                let Message::Text(text) = socket.read().unwrap() else {
                    continue;
                };
                let frame: Value = serde_json::from_str(&text).unwrap();
                is_ours |= frame["data"]["status"] == "building";
                if is_ours && frame["type"] == "log" {
                    break;
                }
            }
            let passed = started.elapsed();
            runner.join().unwrap();
            Round::of(passed.as_secs_f64() * 1e3)
        })
    });
    row
}

/// A deployment that runs, and a connection for its reports.
fn running(it: &Deploying, app: &str) -> (Claim, Connection) {
    let mut connection = it.peer.connect();
    it.deploy(&mut connection, app);
    let claim = it.claim(&mut connection).unwrap();
    claim.report(&mut connection, "building");
    (claim, connection)
}

fn piece() -> String {
    format!("{}\n", "x".repeat(LINE_BYTES - 1)).repeat(PIECE_LINES)
}

/// Sends as much as a log may have, as fast as it is taken.
fn send_log(claim: &Claim, connection: &mut Connection) {
    let (piece, mut offset) = (piece(), 0);
    for _ in 0..PIECES {
        offset = claim.append(connection, offset, &piece);
    }
}

fn await_whole_log(mut socket: WebSocket<TcpStream>) {
    let mut left = PIECES * PIECE_LINES * LINE_BYTES;
    read_log(&mut socket, |content| {
        left -= content.len();
        left == 0
    });
}

fn log_lines(it: &Deploying, rounds: usize) -> Row {
    let title =
        "Lines of a log through to a follower, as fast as they are taken; each append synced";
    let mut row = Row::new("deploy log lines", title, "lines/s");
    row.bars = reaches(50_000.0);
    let mut number = 0;
    in_turn(rounds.min(5), &[NAME], &mut row, |_| {
        number += 1;
        let app = format!("log-lines-{number}");
        it.create_app(&mut it.peer.connect(), &app);
        let (claim, mut connection) = running(it, &app);
        let socket = it.follow(&app);
        let started = Instant::now();
        let lines_per_second = thread::scope(|scope| {
            let follower = scope.spawn(move || await_whole_log(socket));
            send_log(&claim, &mut connection);
            follower.join().unwrap();
            as_f64((PIECES * PIECE_LINES) as u64) / started.elapsed().as_secs_f64()
        });
        claim.report(&mut connection, "success");
        Round::of(lines_per_second)
    });
    row
}

/// Each line says when it was written.
fn log_delay(it: &Deploying) -> Row {
    const SECONDS: usize = 10;
    const APPENDS_PER_SECOND: usize = 20;
    const LINES: usize = 50;
    let title =
        "99 of 100 lines are with a follower after, at 1,000 lines a second, sent each 50 ms";
    let mut row = Row::new("deploy log delay", title, "ms");
    row.bars = at_most(200.0);
    it.create_app(&mut it.peer.connect(), "log-delay");
    let (claim, mut connection) = running(it, "log-delay");
    let mut socket = it.follow("log-delay");
    let appends = SECONDS * APPENDS_PER_SECOND;
    let mut delays = thread::scope(|scope| {
        let follower: ScopedJoinHandle<'_, Vec<u64>> = scope.spawn(move || {
            let mut delays = Vec::new();
            read_log(&mut socket, |content| {
                let now = now_ms();
                let written = content.lines().map(|line| line.parse::<u64>().unwrap());
                delays.extend(written.map(|at| now.saturating_sub(at)));
                delays.len() == appends * LINES
            });
            delays
        });
        let (started, mut offset) = (Instant::now(), 0);
        for number in 0..appends {
            let due = Duration::from_millis((number * 1000 / APPENDS_PER_SECOND) as u64);
            thread::sleep(due.saturating_sub(started.elapsed()));
            let lines = format!("{}\n", now_ms()).repeat(LINES);
            offset = claim.append(&mut connection, offset, &lines);
        }
        follower.join().unwrap()
    });
    claim.report(&mut connection, "success");
    delays.sort_unstable();
    row.add(NAME, as_f64(delays[delays.len() * 99 / 100]));
    row
}

/// What a whole log costs with many followers of whom half take nothing, beyond what it costs with one.
fn follower_memory(places: &Places) -> Row {
    let title =
        "Memory for 100 followers of a log of 15 MB, of whom 50 take nothing, beyond that for one";
    let mut row = Row::new("deploy followers", title, "MiB");
    row.bars = at_most(32.0);
    let peak = |followers: usize, stuck: usize| {
        let it = Deploying::start(places, "followers");
        it.create_app(&mut it.peer.connect(), "followers");
        let (claim, mut connection) = running(&it, "followers");
        let stuck: Vec<_> = (0..stuck).map(|_| it.follow("followers")).collect();
        let others: Vec<_> = (0..followers).map(|_| it.follow("followers")).collect();
        thread::scope(|scope| {
            for socket in others {
                scope.spawn(move || await_whole_log(socket));
            }
            send_log(&claim, &mut connection);
        });
        drop(stuck);
        it.peer.process.peak_memory_bytes() / MIB
    };
    let (one, many) = (peak(1, 0), peak(FOLLOWERS / 2, FOLLOWERS / 2));
    row.add(NAME, many - one);
    row
}

/// What is claimed and has not been reported to have ended; how far each application is.
#[derive(Default)]
struct Seen {
    running: HashSet<String>,
    last: HashMap<String, String>,
    ended: usize,
    last_end: Option<Instant>,
}

fn queue(places: &Places, apps: usize, of_each: usize) -> Row {
    let total = apps * of_each;
    let title = format!(
        "{total} queued deployments of {apps} apps, {RUNNERS} runners that end each at once; each end synced"
    );
    let mut row = Row::new("deploy queue", &title, "ended/s");
    row.bars = reaches(50.0);
    let it = Deploying::start(places, "queue");
    // Those of an application are asked for one after the other.
    at_once(CLIENTS, |client| {
        let mut connection = it.peer.connect();
        for app in (client..apps).step_by(CLIENTS) {
            let name = format!("queued-{app}");
            it.create_app(&mut connection, &name);
            (0..of_each).for_each(|_| it.deploy(&mut connection, &name));
        }
    });
    settle(&places.room);
    let seen = Mutex::new(Seen::default());
    let started = Instant::now();
    at_once(RUNNERS, |_| run_until(&it, &seen, total));
    let seen = seen.into_inner().unwrap();
    let passed = seen.last_end.unwrap().duration_since(started);
    row.add(NAME, as_f64(total as u64) / passed.as_secs_f64());
    row
}

/// A runner that sees to it that no application has two at once, and all come in order.
fn run_until(it: &Deploying, seen: &Mutex<Seen>, total: usize) {
    let lock = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    let mut connection = it.peer.connect();
    while lock().ended < total {
        let Some(claim) = it.claim(&mut connection) else {
            continue;
        };
        {
            let mut seen = lock();
            assert!(seen.running.insert(claim.app.clone()), "two at once");
            let before = seen.last.insert(claim.app.clone(), claim.id.clone());
            assert!(before < Some(claim.id.clone()), "out of order");
        }
        claim.report(&mut connection, "building");
        lock().running.remove(&claim.app);
        claim.report(&mut connection, "success");
        let mut seen = lock();
        seen.ended += 1;
        seen.last_end = Some(Instant::now());
    }
}
