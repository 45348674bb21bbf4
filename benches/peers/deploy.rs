//! Deployments: how fast the server accepts, hands out, logs and ends them, and what it needs for those who follow.
//! But for the first line, and for what an idle one asks, the runners are this program's own and start nothing, so
//! that what is measured is the server.

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::body::Body;
use crate::connection::Connection;
use crate::peer::{Peer, Places, now_ms};
use crate::process::{Process, empty, settle};
use crate::report::{Bar, Row};
use crate::transfers::{Round, as_f64, at_once, in_turn};

const NAME: &str = "waystation";
/// The rows.
const FIRST_LINE: &str = "deploy first line";
const FIRST_LINE_ON_SEAWEEDFS: &str = "deploy first line on SeaweedFS";
const IDLE_RUNNER: &str = "deploy idle runner";
const LOG_LINES: &str = "deploy log lines";
const LOG_DELAY: &str = "deploy log delay";
const FOLLOWERS_MEMORY: &str = "deploy followers";
const QUEUE: &str = "deploy queue";
const MIB: f64 = 1024.0 * 1024.0;
/// Of a log, with its newline.
const LINE_BYTES: usize = 50;
/// What a runner sends at once of a log that comes fast.
const PIECE_LINES: usize = 1_200;
/// Just below what a log may have.
const PIECES: usize = 250;
/// How long a follower waits for news.
const PATIENCE: Duration = Duration::from_mins(1);
const RUNNERS: usize = 8;
const CLIENTS: usize = 16;
const FOLLOWERS: usize = 100;

/// A server, and those who deploy to it.
struct Deploying {
    peer: Peer,
    runner: String,
    source_url: String,
}

/// What a runner has claimed.
struct Claim {
    id: String,
    app: String,
    reports: String,
}

/// An archive of 1 MiB, of one file.
fn pack(places: &Places) -> Vec<u8> {
    let folder = places.room.join("tree");
    empty(&folder);
    fs::write(folder.join("file"), Body::new(1024 * 1024, 0).piece(0)).unwrap();
    let packed = Command::new("tar")
        .args(["--create", "--gzip", "--directory"])
        .arg(&places.room)
        .arg("tree")
        .output()
        .unwrap();
    assert!(packed.status.success());
    packed.stdout
}

impl Deploying {
    fn start(places: &Places, name: &'static str) -> Self {
        let peer = Peer::waystation(places, name, None, &["--max-queued", "20000"]);
        Self::to(places, peer)
    }

    fn to(places: &Places, peer: Peer) -> Self {
        let target = peer.targets(1).remove(0);
        let (answer, _) = peer.connect().put_bytes(&target.put, &pack(places));
        assert_eq!(answer.status, 200);
        Self {
            runner: peer.create_runner_token(places),
            source_url: format!("http://{}{}", peer.address, target.get),
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

    /// The id of a new deployment.
    fn deploy(&self, connection: &mut Connection, app: &str) -> String {
        let body = json!({ "deployment": { "source_url": self.source_url } });
        let made = self.post(connection, &format!("/v1/apps/{app}/deployments"), &body);
        made["deployment"]["id"].as_str().unwrap().to_owned()
    }

    /// A runner as users have it, whose command says one line.
    fn start_runner(&self, places: &Places) -> Process {
        let folder = places.room.join("runner");
        empty(&folder);
        let token = folder.join("token");
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&token);
        file.unwrap().write_all(self.runner.as_bytes()).unwrap();
        let url = format!("http://{}", self.peer.address);
        let (program, token) = (places.waystation.to_str().unwrap(), token.to_str().unwrap());
        let command = [
            program,
            "runner",
            "--server",
            &url,
            "--token-file",
            token,
            "--work-dir",
            "work",
            "--",
            "echo",
            "first",
        ];
        Process::start(&folder, &command.map(str::to_owned))
    }

    /// How often runners have asked for work so far, and been answered.
    fn claims_asked(&self) -> usize {
        let log = self.peer.read_log();
        log.lines()
            .filter(|line| line.contains("/v1/runner/claims"))
            .count()
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
        })
    }

    /// A follower of `app` who has said who they are.
    fn follow(&self, app: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(self.peer.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
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

/// Reads until a frame comes that is waited for.
fn await_frame(socket: &mut WebSocket<TcpStream>, mut is_it: impl FnMut(&Value) -> bool) {
    loop {
        if let Message::Text(text) = socket.read().unwrap()
            && is_it(&serde_json::from_str(&text).unwrap())
        {
            return;
        }
    }
}

/// Reads the log until `until` has seen enough of it.
fn read_log(socket: &mut WebSocket<TcpStream>, mut until: impl FnMut(&str) -> bool) {
    await_frame(socket, |frame| {
        frame["type"] == "log" && until(frame["data"]["content"].as_str().unwrap())
    });
}

/// With `objects`, on a bucket as well; without, quickly. Only the rows that are wanted, by their names.
pub(crate) fn measure(
    places: &Places,
    rounds: usize,
    objects: Option<&Peer>,
    wants: &dyn Fn(&str) -> bool,
    done: &mut dyn FnMut(Row),
) {
    let it = LazyCell::new(|| Deploying::start(places, "deployments"));
    if wants(FIRST_LINE) {
        done(first_line(&it, places, rounds, FIRST_LINE, 150.0));
    }
    if wants(IDLE_RUNNER) {
        done(idle_runner(&it, places));
    }
    if wants(LOG_LINES) {
        done(log_lines(&it, rounds));
    }
    if wants(LOG_DELAY) {
        done(log_delay(&it));
    }
    drop(it);
    if wants(FOLLOWERS_MEMORY) {
        done(follower_memory(places));
    }
    if let Some(objects) = objects
        && wants(FIRST_LINE_ON_SEAWEEDFS)
    {
        let node = Peer::node(places, "deployments on SeaweedFS", objects);
        let it = Deploying::to(places, node);
        done(first_line(
            &it,
            places,
            rounds,
            FIRST_LINE_ON_SEAWEEDFS,
            500.0,
        ));
    }
    if wants(QUEUE) {
        let (apps, of_each) = if objects.is_none() {
            (100, 10)
        } else {
            (1_000, 10)
        };
        queue(places, apps, of_each).into_iter().for_each(done);
    }
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
fn first_line(it: &Deploying, places: &Places, rounds: usize, name: &str, most_ms: f64) -> Row {
    let title = "POST of a deployment to the first line of its command in a follower; an archive of 1 MiB, an idle runner";
    let mut row = Row::new(name, title, "ms");
    row.bars = at_most(most_ms);
    it.create_app(&mut it.peer.connect(), "first-line");
    let _runner = it.start_runner(places);
    in_turn(rounds.max(15), &[NAME], &mut row, |_| {
        // So that it waits for work again.
        thread::sleep(Duration::from_millis(200));
        let mut connection = it.peer.connect();
        let started = Instant::now();
        let id = it.deploy(&mut connection, "first-line");
        // Of those before, it is told as well.
        let mut socket = it.follow("first-line");
        await_frame(&mut socket, |frame| {
            let content = frame["data"]["content"].as_str().unwrap_or_default();
            frame["id"] == id.as_str() && content.lines().any(|line| line == "first")
        });
        let passed = started.elapsed();
        await_frame(&mut socket, |frame| {
            frame["id"] == id.as_str() && frame["data"]["status"] == "success"
        });
        Round::of(passed.as_secs_f64() * 1e3)
    });
    row
}

/// How often a runner asks that has nothing to do.
fn idle_runner(it: &Deploying, places: &Places) -> Row {
    let title = "Requests of an idle runner";
    let mut row = Row::new(IDLE_RUNNER, title, "a minute");
    row.bars = at_most(4.0);
    let _runner = it.start_runner(places);
    let before = it.claims_asked();
    // What is asked within it is what is measured.
    thread::sleep(Duration::from_mins(1));
    row.add(NAME, as_f64((it.claims_asked() - before) as u64));
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
    let mut row = Row::new(LOG_LINES, title, "lines/s");
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
    let mut row = Row::new(LOG_DELAY, title, "ms");
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
    let mut row = Row::new(FOLLOWERS_MEMORY, title, "MiB");
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

fn queue(places: &Places, apps: usize, of_each: usize) -> [Row; 2] {
    let total = apps * of_each;
    let title = format!(
        "{total} queued deployments of {apps} apps, {RUNNERS} runners that end each at once; each end synced"
    );
    let mut row = Row::new(QUEUE, &title, "ended/s");
    row.bars = reaches(50.0);
    let it = Deploying::start(places, "queue");
    let title =
        format!("{total} deployments of {apps} apps accepted, for {CLIENTS} clients; each synced");
    let mut accepted = Row::new("deploy accepted", &title, "accepted/s");
    let asked = Instant::now();
    // Those of an application are asked for one after the other.
    at_once(CLIENTS, |client| {
        let mut connection = it.peer.connect();
        for app in (client..apps).step_by(CLIENTS) {
            let name = format!("queued-{app}");
            it.create_app(&mut connection, &name);
            for _ in 0..of_each {
                it.deploy(&mut connection, &name);
            }
        }
    });
    accepted.add(NAME, as_f64(total as u64) / asked.elapsed().as_secs_f64());
    settle(&places.room);
    let seen = Mutex::new(Seen::default());
    let started = Instant::now();
    at_once(RUNNERS, |_| run_until(&it, &seen, total));
    let seen = seen.into_inner().unwrap();
    let passed = seen.last_end.unwrap().duration_since(started);
    row.add(NAME, as_f64(total as u64) / passed.as_secs_f64());
    [accepted, row]
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
