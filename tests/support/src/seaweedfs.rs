//! A real object store for tests: `SeaweedFS` with its S3 gateway, on ports and in a folder
//! of its own. It can be stopped, and started again on what it holds.
//!
//! It takes seconds to start, so the tests of a program share one: see [`SeaweedFs::shared`].

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tempfile::NamedTempFile;
use tokio_rustls::rustls::crypto::ring::default_provider;

use crate::connection::Connection;
use crate::program::{run, tools, without_settings};
use crate::{eventually, repository};

/// The bucket that it has from the start.
pub const BUCKET: &str = "bucket";

pub const ACCESS_KEY: &str = "tests";
pub const SECRET_KEY: &str = "known-to-everyone";
const REGION: &str = "us-east-1";

/// Its ports are neighbours, and the first of them ends in zero.
const PORTS: u16 = 10;
/// Below those that systems give to outgoing connections: one of these could take a port while the
/// server is stopped.
const FIRST_BLOCK: u16 = 1_000;
const BLOCKS: u16 = 2_200;

/// How many keys it lists at once.
const PAGE_KEYS: usize = 1_000;

/// One that runs, or is stopped. All that is its own goes with it.
pub struct SeaweedFs {
    folder: PathBuf,
    first_port: u16,
    guard: Mutex<Option<Guard>>,
}

impl SeaweedFs {
    /// The one that all tests of this program share: each takes a prefix of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<SeaweedFs> = OnceLock::new();
        SHARED.get_or_init(|| {
            // For the clients that tests make themselves.
            let _ = default_provider().install_default();
            Self::start()
        })
    }

    /// Starts one with an empty bucket.
    pub fn start() -> Self {
        let server = Self {
            folder: tempfile::tempdir().unwrap().keep(),
            first_port: find_free_ports(),
            guard: Mutex::default(),
        };
        fs::create_dir(server.folder.join("data")).unwrap();
        fs::write(server.folder.join("identities.json"), identities()).unwrap();
        server.run();
        let created = server.ask(&["-X", "PUT"], BUCKET);
        assert_eq!(created.status, 200, "{created:?}");
        server.await_writes();
        server
    }

    /// Ends it as a crash would. It keeps what it holds.
    pub fn stop(&self) {
        self.lock().take().unwrap().end("keep\n");
    }

    fn lock(&self) -> MutexGuard<'_, Option<Guard>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it again on the same ports, and waits until it can be used.
    pub fn resume(&self) {
        self.run();
        self.await_writes();
        eventually("SeaweedFS reads", || self.reads_all());
    }

    fn run(&self) {
        let sockets = format!("/tmp/seaweedfs-*-grpc-{}?.sock", self.first_port / PORTS);
        *self.lock() = Some(Guard::start(&self.folder, &sockets, &self.command()));
        eventually("SeaweedFS answers", || {
            Connection::can_open(self.s3_port()) && self.ask(&[], "").status == 200
        });
    }

    /// It answers before it can write.
    fn await_writes(&self) {
        let key = "is-it-there";
        eventually("SeaweedFS writes", || self.try_put(key, "").status == 200);
        self.delete(key);
    }

    fn command(&self) -> Vec<String> {
        let weed = tools().join("bin/weed").to_str().unwrap().to_owned();
        let flags = FLAGS.split_whitespace().map(str::to_owned);
        let ports = (self.first_port..).zip(PORT_FLAGS);
        let ports = ports.map(|(port, flag)| format!("-{flag}={port}"));
        [weed].into_iter().chain(flags).chain(ports).collect()
    }

    fn s3_port(&self) -> u16 {
        self.first_port
    }

    /// Where it can be reached.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3_port())
    }

    /// The variables in which programs look for what they need to use it.
    pub fn environment() -> [(&'static str, &'static str); 3] {
        [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_REGION", REGION),
        ]
    }

    /// It writes before it can read all that it holds. Asks for a byte of each object.
    fn reads_all(&self) -> bool {
        let mut curl = Self::curl();
        curl.args(["-r", "0-0"]);
        for key in self.keys("") {
            curl.args(["-o", "/dev/null", &self.url(&format!("{BUCKET}/{key}"))]);
        }
        // Some may be deleted meanwhile: that is an answer too.
        !run(curl)
            .stdout
            .lines()
            .any(|status| status.starts_with('5'))
    }

    pub fn has_bucket(&self, bucket: &str) -> bool {
        self.ask(&["-I"], bucket).status == 200
    }

    /// All keys that begin with `prefix`, in order.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        loop {
            let page = self.page_of_keys(prefix, keys.last().map_or("", String::as_str));
            let is_last = page.len() < PAGE_KEYS;
            keys.extend(page);
            if is_last {
                return keys;
            }
        }
    }

    fn page_of_keys(&self, prefix: &str, after: &str) -> Vec<String> {
        let [prefix, after] = [prefix, after].map(|key| key.replace('/', "%2F"));
        let query = format!("list-type=2&prefix={prefix}&start-after={after}");
        let answer = self.ask(&[], &format!("{BUCKET}?{query}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let keys = answer.body.split("<Key>").skip(1);
        keys.map(|rest| rest.split("</Key>").next().unwrap().to_owned())
            .collect()
    }

    /// Makes an object, or replaces one.
    pub fn put(&self, key: &str, content: &str) {
        let answer = self.try_put(key, content);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    fn try_put(&self, key: &str, content: &str) -> Answer {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let upload = ["-T", file.path().to_str().unwrap()];
        self.ask(&upload, &format!("{BUCKET}/{key}"))
    }

    /// Deletes an object behind the back of the server that put it there.
    pub fn delete(&self, key: &str) {
        let answer = self.ask(&["-X", "DELETE"], &format!("{BUCKET}/{key}"));
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    /// One signed request.
    fn ask(&self, arguments: &[&str], path: &str) -> Answer {
        let mut curl = Self::curl();
        curl.args(arguments).arg(self.url(path));
        let told = run(curl).stdout;
        let (body, status) = told.trim_end().rsplit_once('\n').unwrap();
        Answer {
            status: status.parse().unwrap(),
            body: body.to_owned(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint())
    }

    /// Signs what it sends, and says the status after each answer, on a line of its own.
    fn curl() -> Command {
        let mut curl = without_settings("curl");
        curl.args(["-q", "-sS", "-w", "\n%{http_code}\n"])
            .args(["--aws-sigv4", &format!("aws:amz:{REGION}:s3")])
            .args(["--user", &format!("{ACCESS_KEY}:{SECRET_KEY}")]);
        curl
    }
}

/// What it said.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: String,
}

/// `-volume.max=0`: as many volumes as there is room for; they are small so that little room is
/// enough. The election is for a leader among one: with the default of 10s, a second start takes 20s.
const FLAGS: &str = "-logtostderr=true server -dir=data -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.electionTimeout=1s -master.telemetry=false -master.volumeSizeLimitMB=256 \
    -volume.max=0 -filer.localSocket=filer.sock \
    -s3 -s3.config=identities.json -s3.localSocket=s3.sock -s3.port.iceberg=0 -s3.port.lance=0";

/// All ports that it opens, in the order in which they are given.
const PORT_FLAGS: [&str; 8] = [
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
];

/// One identity, which may do anything.
fn identities() -> String {
    let credentials = format!(r#"{{"accessKey":"{ACCESS_KEY}","secretKey":"{SECRET_KEY}"}}"#);
    let actions = r#"["Admin","Read","Write","List","Tagging"]"#;
    format!(
        r#"{{"identities":[{{"name":"tests","credentials":[{credentials}],"actions":{actions}}}]}}"#
    )
}

/// It cannot be asked which ports it was given, so it gets some that were free just now.
fn find_free_ports() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let start: u32 = rand::random();
    let mut blocks =
        (0..u32::from(BLOCKS)).map(|step| start.wrapping_add(step) % u32::from(BLOCKS));
    let block = blocks.find_map(|block| {
        let first = (FIRST_BLOCK + u16::try_from(block).unwrap()) * PORTS;
        (first..first + PORTS).all(is_free).then_some(first)
    });
    block.expect("no free ports")
}

/// The script that ends it when nobody holds its input any more.
struct Guard(Child);

impl Guard {
    fn start(folder: &Path, sockets: &str, command: &[String]) -> Self {
        let script = repository().join("tests/support/guard");
        let child = Command::new(script)
            .arg(folder)
            .arg(sockets)
            .args(command)
            // Neither the developer's own settings, nor their credentials.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// Ends it, and waits for that.
    fn end(self, order: &str) {
        let Self(mut child) = self;
        let mut input = child.stdin.take().unwrap();
        input.write_all(order.as_bytes()).unwrap();
        drop(input);
        child.wait().unwrap();
    }
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        let guard = self.lock().take();
        if let Some(guard) = guard {
            guard.end("");
        } else {
            // Fails only if something else removed it.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
