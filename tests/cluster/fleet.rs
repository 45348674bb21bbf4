//! A store in a bucket, and the servers that share it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use tempfile::TempDir;

use waystation_testing::connection::{Connection, head};
use waystation_testing::engine::{BUCKET, Engine};
use waystation_testing::program::{Ended, Program, run, waystation};
use waystation_testing::reply::Reply;
use waystation_testing::{Source, address_in};

/// A store below a prefix of its own, and a folder with what its servers share: their keys.
pub(crate) struct SharedStore {
    pub(crate) bucket: String,
    pub(crate) endpoint: String,
    prefix: String,
    room: TempDir,
}

impl SharedStore {
    /// A place for a store; nothing is made there yet.
    pub(crate) fn on(engine: &Engine) -> Self {
        let store = Self {
            bucket: BUCKET.to_owned(),
            endpoint: engine.endpoint(),
            prefix: format!("store-{:016x}", rand::random::<u64>()),
            room: tempfile::tempdir().unwrap(),
        };
        store.write_keys(&[&new_key()]);
        store
    }

    pub(crate) fn url(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }

    /// What the keys of all sources begin with, or those of one.
    pub(crate) fn key_of(&self, source: Option<&Source>) -> String {
        let id = source.map(|source| source.id() + "/");
        format!("{}/sources/{}", self.prefix, id.unwrap_or_default())
    }

    /// What servers that start from now on sign and verify with.
    pub(crate) fn write_keys(&self, keys: &[&str]) {
        fs::write(self.key_file(), keys.join("\n")).unwrap();
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(self.key_file(), private).unwrap();
    }

    pub(crate) fn keys(&self) -> String {
        fs::read_to_string(self.key_file()).unwrap()
    }

    fn key_file(&self) -> PathBuf {
        self.file("keys")
    }

    /// Where a test may put a file of its own.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    /// One of the program's commands, for this store.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = waystation(arguments);
        command
            .args(["--store", &self.url(), "--s3-endpoint", &self.endpoint])
            .envs(Engine::environment());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        run(self.command(arguments))
    }

    /// A server on this store, on a free port.
    pub(crate) fn serve(&self, flags: &[&str]) -> Command {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.arg("--key-file").arg(self.key_file()).args(flags);
        // A first start leaves its API token there.
        command.current_dir(self.room.path());
        command
    }

    /// The header with a token made by the command for it.
    pub(crate) fn create_bearer(&self) -> String {
        let made = self.run(&["token", "create", "a test"]);
        assert_eq!(made.code, Some(0), "{made:?}");
        format!("Authorization: Bearer {}", made.stdout.trim_end())
    }
}

/// A line of a key file.
pub(crate) fn new_key() -> String {
    STANDARD.encode(rand::random::<[u8; 32]>())
}

/// One of the servers.
pub(crate) struct Node {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
}

impl Node {
    /// Starts one, and waits until it accepts connections.
    pub(crate) fn start(store: &SharedStore, flags: &[&str]) -> Self {
        Self::run(store.serve(flags))
    }

    /// Starts one by a command of the test's own.
    pub(crate) fn run(command: Command) -> Self {
        let program = Program::start(command);
        let address = address_in(&program.await_line("listening on http://"));
        Self { program, address }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) fn stop(mut self) {
        self.program.signal(Signal::TERM);
        assert_eq!(self.program.await_end(), Some(0));
    }

    /// One request; no answer if it does not come whole.
    pub(crate) fn try_call(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Option<Reply> {
        let length = format!("Content-Length: {}", body.len());
        let headers = [&["Connection: close", &length], headers].concat();
        let mut connection = Connection::try_open(self.address).ok()?;
        connection.try_send(head(method, path, &headers).as_bytes());
        connection.try_send(body);
        let received = connection.into_rest();
        Reply::parse(&received).map(|(reply, _)| reply)
    }

    pub(crate) fn call(&self, method: &str, path: &str, headers: &[&str]) -> Reply {
        self.try_call(method, path, headers, b"").unwrap()
    }

    pub(crate) fn create_source(&self, bearer: &str) -> Source {
        let reply = self.call("POST", "/v1/sources", &[bearer]);
        assert_eq!(reply.status, 201, "{reply:?}");
        Source::of(&reply)
    }

    pub(crate) fn upload(&self, source: &Source, archive: &[u8]) -> Reply {
        let path = source.upload_path();
        self.try_call("PUT", &path, &[], archive).unwrap()
    }

    pub(crate) fn download(&self, source: &Source) -> Reply {
        self.call("GET", &source.download_path(), &[])
    }

    /// A source that has its archive.
    pub(crate) fn create_and_upload(&self, bearer: &str, archive: &[u8]) -> Source {
        let source = self.create_source(bearer);
        let reply = self.upload(&source, archive);
        assert_eq!(reply.status, 200, "{reply:?}");
        source
    }
}
