//! A server whose store is a small file system of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use waystation_testing::connection::{CHUNKED, Connection, chunked, head};
use waystation_testing::program::run;
use waystation_testing::reply::Reply;
use waystation_testing::store_folder::{Store, api_token_in};
use waystation_testing::wall_clock::WallClock;
use waystation_testing::{Server, Source};

/// A server whose store is a file system of its own. Both end with the test.
pub(crate) struct SmallDisk {
    pub(crate) server: Server,
    pub(crate) clock: WallClock,
    pub(crate) bearer: String,
    /// The store, as it is seen from outside of the server's mounts.
    pub(crate) view: PathBuf,
    pub(crate) store: Store,
    /// How the server got mounts of its own.
    flag: &'static str,
}

impl SmallDisk {
    /// Starts a server on a new file system with the given options of tmpfs.
    pub(crate) fn start(options: &str, flags: &[&str]) -> Self {
        let store = Store::new();
        fs::create_dir(store.path()).unwrap();
        let flag = own_mounts();
        let mut command = Command::new("unshare");
        command.arg(flag);
        let script = "mount -t tmpfs -o \"mode=0700,$0\" small \"$1\"; shift; exec \"$@\"";
        command.args(["sh", "-ec", script, options]);
        command.arg(store.path());
        let serve = store.serve(flags);
        command.arg(serve.get_program()).args(serve.get_args());
        let clock = WallClock::new();
        let server = Server::start(clock.rule(command));
        let root = format!("/proc/{}/root", server.program.id());
        let view = Path::new(&root).join(store.path().strip_prefix("/").unwrap());
        let first_token = fs::read_to_string(view.join("first-token")).unwrap();
        let bearer = format!("Authorization: Bearer {}", api_token_in(&first_token));
        Self {
            server,
            clock,
            bearer,
            view,
            store,
            flag,
        }
    }

    pub(crate) fn create(&self) -> Source {
        self.server.create_source(&self.bearer)
    }

    /// Uploads without a length, so that only the file system can say that it is full.
    pub(crate) fn upload(&self, source: &Source, archive: &[u8]) -> Reply {
        let mut connection = Connection::open(self.server.address);
        connection.try_send(head("PUT", &source.upload_path(), &[CHUNKED]).as_bytes());
        connection.try_send(&chunked(archive));
        connection.next_reply()
    }

    /// Runs `mount` or `umount` on the store as the server sees it.
    pub(crate) fn change_mount(&self, command_and_flags: &[&str]) {
        let mut command = Command::new("nsenter");
        if self.flag == "-Urm" {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.args(["-m", "-t", &self.server.program.id().to_string()]);
        command.args(command_and_flags).arg(self.store.path());
        let done = run(command);
        assert_eq!(done.code, Some(0), "{done:?}");
    }
}

/// How a command gets mounts of its own: as root, or as root of a user namespace.
fn own_mounts() -> &'static str {
    let works = |flag: &&str| {
        let mut command = Command::new("unshare");
        command.args([flag, "true"]);
        run(command).code == Some(0)
    };
    let flag = ["-m", "-Urm"].into_iter().find(works);
    flag.expect("these tests mount a small file system: they need root, or user namespaces")
}
