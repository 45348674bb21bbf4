//! Users who deploy, and runners that report, while servers are killed and started again: clients of no more than
//! the calls that the service documents. What they are answered is what is checked in the end.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::dice::Dice;
use crate::reply::Reply;
use crate::server::{Source, path_of, try_call};

/// What their servers are started with: they ask for more than one user does, and all is looked at in the end.
pub const FLAGS: [&str; 6] = [
    "--rate-limit",
    "0",
    "--max-queued-per-app",
    "1000",
    "--keep-deployments",
    "1000",
];
/// How long to wait before a call is tried again.
const PAUSE: Duration = Duration::from_millis(20);
/// The most pieces of a log, and bytes of a piece.
const PIECES: usize = 12;
const PIECE_BYTES: usize = 3_000;

/// Applications of one user, the servers that are there just now, and what runners know of their deployments.
pub struct Deploying {
    addresses: Mutex<Vec<SocketAddr>>,
    bearer: String,
    runner: String,
    apps: Vec<String>,
    asked: AtomicUsize,
    is_over: AtomicBool,
    runs: Mutex<Runs>,
}

/// What runners have done.
#[derive(Default)]
struct Runs {
    /// What runs, by application.
    running: HashMap<String, String>,
    /// In which order they were begun, by application.
    begun: HashMap<String, Vec<String>>,
    /// What was appended, by deployment.
    logs: BTreeMap<String, Vec<u8>>,
    pieces: usize,
}

/// A deployment that a runner was handed.
struct Claim {
    app: String,
    id: String,
    report_path: String,
    source_path: String,
    /// What was uploaded for it.
    mark: String,
}

fn name_of(number: usize) -> String {
    format!("kills-{number}")
}

impl Deploying {
    /// With so many applications, made on a server at `address`. Both tokens are headers.
    pub fn new(address: SocketAddr, bearer: &str, runner: &str, apps: usize) -> Self {
        let mut deploying = Self {
            addresses: Mutex::new(vec![address]),
            bearer: bearer.to_owned(),
            runner: runner.to_owned(),
            apps: Vec::new(),
            asked: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            runs: Mutex::default(),
        };
        for number in 0..apps {
            let body = json!({ "app": { "name": name_of(number) } });
            let made = deploying.insist(bearer, "POST", "/v1/apps", body.to_string().as_bytes());
            assert_eq!(made.status, 201, "{made:?}");
            let id = made.json()["app"]["id"].as_str().unwrap().to_owned();
            deploying.apps.push(id);
        }
        deploying
    }

    /// The ids of its applications.
    pub fn apps(&self) -> &[String] {
        &self.apps
    }

    /// From now on these can be asked.
    pub fn move_to(&self, addresses: &[SocketAddr]) {
        *self.addresses.lock().unwrap() = addresses.to_vec();
    }

    /// Lets runners work in threads, for as long as `work` takes.
    pub fn run_during<T>(&self, runners: usize, dice: &mut Dice, work: impl FnOnce() -> T) -> T {
        thread::scope(|scope| {
            let _end = EndOnDrop(self);
            for _ in 0..runners {
                let dice = dice.split();
                scope.spawn(move || self.work(dice));
            }
            work()
        })
    }

    /// Runners ask for no more. One that is waiting for an answer gets it first, or loses its server.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// How many pieces of logs were appended.
    pub fn pieces(&self) -> usize {
        self.runs().pieces
    }

    /// Deploys an archive of its own.
    pub fn deploy(&self, app: usize) {
        self.deploy_with(app, |mark| mark.as_bytes().to_vec());
    }

    /// Deploys what `archive` makes of a mark, which is its git ref as well.
    pub fn deploy_with(&self, app: usize, archive: impl FnOnce(&str) -> Vec<u8>) {
        let mark = format!("mark-{}", self.asked.fetch_add(1, Ordering::Relaxed));
        let archive = archive(&mark);
        let created = self.insist(&self.bearer, "POST", "/v1/sources", b"");
        assert_eq!(created.status, 201, "{created:?}");
        let source = Source::of(&created);
        let sent = self.insist("X-Test: upload", "PUT", &source.upload_path(), &archive);
        assert_eq!(sent.status, 200, "{sent:?}");
        let body = json!({ "deployment": { "source_url": source.download_url, "git_ref": mark } });
        let path = format!("/v1/apps/{}/deployments", self.apps[app]);
        // Sent once: whether one was accepted whose answer was lost, a list shows.
        let asked = self.try_ask(&self.bearer, "POST", &path, body.to_string().as_bytes());
        let is_expected = |reply: &Reply| matches!(reply.status, 201 | 500 | 503);
        assert!(asked.as_ref().is_none_or(is_expected), "{asked:?}");
    }

    /// The log of one that was listed.
    pub fn log_of(&self, listed: &Value) -> Vec<u8> {
        let text = |key: &str| listed[key].as_str().unwrap().to_owned();
        let path = format!(
            "/v1/apps/{}/deployments/{}/output",
            text("app_id"),
            text("id")
        );
        self.insist(&self.bearer, "GET", &path, b"").body
    }

    /// What is listed of all applications.
    pub fn list(&self) -> Vec<Value> {
        let lists = self.apps.iter().flat_map(|app| self.list_of(app));
        lists.collect()
    }

    /// All pages of an application.
    fn list_of(&self, app: &str) -> Vec<Value> {
        let mut listed = Vec::new();
        let mut next = Some(1);
        while let Some(page) = next {
            let path = format!("/v1/apps/{app}/deployments?per_page=100&page={page}");
            let list = self.insist(&self.bearer, "GET", &path, b"").json();
            listed.extend_from_slice(list["deployments"].as_array().unwrap());
            next = list["meta"]["pagination"]["next_page"].as_u64();
        }
        listed
    }

    /// Have all that were accepted ended?
    pub fn is_done(&self) -> bool {
        assert!(!self.is_over(), "a runner has failed");
        let unfinished = ["queued", "building", "pushing", "starting"];
        let listed = self.list();
        listed
            .iter()
            .all(|listed| !unfinished.contains(&listed["status"].as_str().unwrap()))
    }

    /// Each has ended well, and its log is what its runner appended. Returns how many there are.
    pub fn check(&self) -> usize {
        let listed = self.list();
        for deployment in &listed {
            assert_eq!(deployment["status"], "success", "{deployment}");
            let log = self.log_of(deployment);
            let appended = &self.runs().logs[deployment["id"].as_str().unwrap()];
            assert!(
                log == *appended,
                "{} bytes of {}",
                log.len(),
                appended.len()
            );
        }
        for begun in self.runs().begun.values() {
            assert!(begun.is_sorted(), "{begun:?}");
        }
        listed.len()
    }

    fn work(&self, mut dice: Dice) {
        // One that fails ends the others.
        let _end = EndOnDrop(self);
        while !self.is_over() {
            match self.try_ask(&self.runner, "POST", "/v1/runner/claims", b"{}") {
                Some(reply) if reply.status == 200 => self.run(&Claim::of(&reply), &mut dice),
                _ => thread::park_timeout(PAUSE),
            }
        }
    }

    /// Reports as a runner does whose command works for a while. Another may have it, if the answer to its claim was
    /// late.
    fn run(&self, claim: &Claim, dice: &mut Dice) {
        if !self.report(claim, "building") {
            return;
        }
        self.begin(claim);
        let archive = self.insist("X-Test: fetch", "GET", &claim.source_path, b"");
        assert!(
            archive.status == 200 && archive.body == claim.mark.as_bytes(),
            "{archive:?}"
        );
        let mut log = Vec::new();
        for number in 0..=dice.below(PIECES) {
            let letters = "x".repeat(1 + dice.below(PIECE_BYTES));
            let piece = format!("{} {number} {letters}\n", claim.mark);
            let path = format!("{}/log?offset={}", claim.report_path, log.len());
            let appended = self.insist("X-Test: log", "PUT", &path, piece.as_bytes());
            log.extend(piece.as_bytes());
            assert_eq!(appended.status, 200, "{appended:?}");
            assert_eq!(appended.json()["log_bytes"], log.len());
            self.runs().pieces += 1;
        }
        let mut runs = self.runs();
        runs.logs.insert(claim.id.clone(), log);
        // When the end is sent, the next may begin, even before the answer comes.
        assert_eq!(runs.running.remove(&claim.app).as_ref(), Some(&claim.id));
        drop(runs);
        assert!(self.report(claim, "success"));
    }

    fn begin(&self, claim: &Claim) {
        let mut runs = self.runs();
        let other = runs.running.insert(claim.app.clone(), claim.id.clone());
        assert_eq!(other, None, "two of one application run at once");
        let begun = runs.begun.entry(claim.app.clone()).or_default();
        begun.push(claim.id.clone());
    }

    /// Says how it goes; false if another has it.
    fn report(&self, claim: &Claim, status: &str) -> bool {
        let path = format!("{}/status", claim.report_path);
        let body = json!({ "status": status }).to_string();
        let reply = self.insist("X-Test: status", "PUT", &path, body.as_bytes());
        assert!(matches!(reply.status, 200 | 410), "{reply:?}");
        reply.status == 200
    }

    /// Asks until an answer comes that is not for want of a server or its store.
    fn insist(&self, header: &str, method: &str, path: &str, body: &[u8]) -> Reply {
        let mut asked = 0;
        loop {
            match self.try_ask(header, method, path, body) {
                Some(reply) if !matches!(reply.status, 500 | 503) => return reply,
                other => assert!(asked < 3_000, "{method} {path}: {other:?}"),
            }
            asked += 1;
            thread::park_timeout(PAUSE);
        }
    }

    /// Asks one of the servers, another each time.
    fn try_ask(&self, header: &str, method: &str, path: &str, body: &[u8]) -> Option<Reply> {
        let address = {
            let mut addresses = self.addresses.lock().unwrap();
            addresses.rotate_left(1);
            addresses[0]
        };
        try_call(address, method, path, &[header], body)
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap()
    }
}

/// Ends the runners also when a test fails, which otherwise would wait for them.
struct EndOnDrop<'a>(&'a Deploying);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Claim {
    fn of(reply: &Reply) -> Self {
        let claim = reply.json()["claim"].clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            app: text(&claim["app"]["id"]),
            id: text(&claim["deployment"]["id"]),
            report_path: path_of(&text(&claim["report_url"])),
            source_path: path_of(&text(&claim["source_url"])),
            mark: text(&claim["deployment"]["git_ref"]),
        }
    }
}
