//! Expiry by the system's own clock, which is set while the server runs: what clients see, and what is
//! deleted. What needs no process is in `tests/api/expiry.rs` and in the model.

use jiff::SignedDuration;

use waystation_testing::connection::{Connection, head};
use waystation_testing::curl::{HELD_ARCHIVE_BYTES, HeldDownload, curl};
use waystation_testing::program::run;
use waystation_testing::store_folder::Store;
use waystation_testing::wall_clock::WallClock;
use waystation_testing::{Source, Waystation, archive, assert_refused, eventually};

const MS: SignedDuration = SignedDuration::from_millis(1);
const SECOND: SignedDuration = SignedDuration::from_secs(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// A server, and the clock that it goes by.
struct Scene {
    server: Waystation,
    clock: WallClock,
}

impl Scene {
    fn start(flags: &[&str]) -> Self {
        let clock = WallClock::new();
        let server = clock.start(Store::new(), flags);
        Self { server, clock }
    }

    /// What the command for it says that a sweep, by the same clock, has deleted.
    fn sweep(&self) -> String {
        let swept = run(self.clock.rule(self.server.store.command(&["sweep"])));
        assert_eq!(swept.code, Some(0), "{swept:?}");
        swept.stdout
    }

    /// Begins an upload of two bytes, and waits until the first is in the stage.
    fn begin_upload(&self, source: &Source) -> Connection {
        let mut connection = Connection::open(self.server.address);
        connection.send(head("PUT", &source.upload_path(), &["Content-Length: 2"]));
        connection.send("a");
        eventually("an upload is under way", || {
            // An empty file is there before anybody has looked at the clock.
            self.server.store.staged_bytes() > Some(0)
        });
        connection
    }

    fn status(&self, source: &Source) -> u16 {
        self.server.download(source).status
    }

    fn assert_served(&self, source: &Source, archive: &[u8]) {
        let reply = self.server.download(source);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.body == archive);
    }

    fn await_deletion(&self) {
        eventually("no archive is left", || {
            self.server.store.archives().is_empty()
        });
    }
}

#[test]
fn the_instant_divides_what_is_served_and_kept_from_what_is_refused_and_deleted() {
    let scene = Scene::start(&[]);
    let source = scene.server.create_and_upload(b"an archive");
    let unused = scene.server.create_source();
    // It was made later.
    scene.clock.stand_at(source.expires_at() - MS);
    scene.assert_served(&source, b"an archive");
    assert_eq!(scene.status(&unused), 404);
    assert!(scene.sweep().contains("deleted 0 expired"));
    scene.assert_served(&source, b"an archive");

    scene.clock.stand_at(source.expires_at());
    let refused = [
        scene.server.download(&source),
        scene.server.upload(&source, b"an archive"),
        scene.server.upload(&source, b"another"),
    ];
    for reply in refused {
        assert_eq!(assert_refused(&reply, 410)["code"], "expired");
    }
    let probe = curl(&["-I", "-o", "/dev/null", &source.download_url]);
    assert_eq!(probe.status, 410);
    // The server's own sweep, not that of the command.
    scene.await_deletion();

    scene.clock.stand_at(source.expires_at() + MINUTE);
    eventually("no folder is left either", || {
        scene.server.store.entries_below("sources").is_empty()
    });
}

#[test]
fn an_upload_under_way_is_cut_off_when_the_clock_is_set_past_its_expiry() {
    let scene = Scene::start(&[]);
    let source = scene.server.create_source();
    let mut upload = scene.begin_upload(&source);
    scene.clock.stand_at(source.expires_at());
    let reply = upload.next_reply();
    assert_eq!(assert_refused(&reply, 410)["code"], "expired");
    scene.server.store.assert_nothing_stored();
}

#[test]
fn an_upload_under_way_goes_on_when_the_clock_is_set_back() {
    let scene = Scene::start(&["--header-timeout", "2s"]);
    let source = scene.server.create_source();
    scene.clock.stand_at(source.expires_at() - SECOND);
    let mut upload = scene.begin_upload(&source);
    scene.clock.run_off_by(-HOUR);
    // Once the server has no more patience with this one, a timer set to that expiry would have ended.
    let silent = Connection::open(scene.server.address);
    assert_eq!(silent.into_rest(), b"");
    upload.send("b");
    let reply = upload.next_reply();
    assert_eq!(reply.status, 200, "{reply:?}");
    scene.assert_served(&source, b"ab");
}

#[test]
fn a_download_under_way_finishes_whole_though_the_clock_is_set_past_its_expiry() {
    let scene = Scene::start(&[]);
    let sent = archive(HELD_ARCHIVE_BYTES, 1);
    let source = scene.server.create_and_upload(&sent);
    let download = HeldDownload::start(&source.download_url);
    scene.clock.run_off_by(HOUR);
    assert_eq!(scene.status(&source), 410);
    scene.await_deletion();
    assert!(download.finish().body == sent);
}

#[test]
fn what_expired_while_no_server_ran_vanishes_at_the_next_start() {
    let server = Waystation::start(&[]);
    let source = server.create_and_upload(b"an archive");
    let store = server.kill();
    let clock = WallClock::new();
    // Past the minute, so that its folder may go too.
    clock.stand_at(source.expires_at() + MINUTE);
    let server = clock.start(store, &[]);
    eventually("the store is empty", || {
        server.store.entries_below("sources").is_empty()
    });
}
