//! A store in a bucket, for the servers that share it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use waystation_testing::Source;
use waystation_testing::program::{Ended, run, waystation};
use waystation_testing::seaweedfs::{BUCKET, SeaweedFs};

/// A store below a prefix of its own, and a folder with what its servers share: their keys.
pub(crate) struct SharedStore {
    pub(crate) bucket: String,
    pub(crate) endpoint: String,
    prefix: String,
    room: TempDir,
}

impl SharedStore {
    /// A place for a store; nothing is made there yet.
    pub(crate) fn on(objects: &SeaweedFs) -> Self {
        let store = Self {
            bucket: BUCKET.to_owned(),
            endpoint: objects.endpoint(),
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
            .envs(SeaweedFs::environment());
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
