//! The system's clock is set while the server runs, by hours and to the very instant: what clients see,
//! and what is deleted.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use waystation_testing::connection::{Connection, head};
use waystation_testing::curl::{HELD_ARCHIVE_BYTES, HeldDownload, curl};
use waystation_testing::program::{Program, run};
use waystation_testing::store_folder::Store;
use waystation_testing::wall_clock::WallClock;
use waystation_testing::{Source, Waystation, archive, assert_refused, eventually};

const MS: SignedDuration = SignedDuration::from_millis(1);
const SECOND: SignedDuration = SignedDuration::from_secs(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// The default, which these tests keep.
const LIFETIME: SignedDuration = SignedDuration::from_mins(10);
/// How soon the server has to notice that its clock was set: it looks each second.
const SOON: Duration = Duration::from_secs(5);

/// A server, and the clock that it goes by.
struct Scene {
    server: Waystation,
    clock: WallClock,
}

impl Scene {
    fn start(flags: &[&str]) -> Self {
        let clock = WallClock::new();
        let store = Store::new();
        let program = Program::start(clock.rule(store.serve(flags)));
        Self {
            server: Waystation::of(store, program),
            clock,
        }
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

    let set_at = Instant::now();
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
    assert!(set_at.elapsed() < SOON);

    scene.clock.stand_at(source.expires_at() + MINUTE);
    eventually("no folder is left either", || {
        scene.server.store.entries_below("sources").is_empty()
    });
}

#[test]
fn set_back_by_an_hour_what_was_live_lives_on_and_new_links_go_by_the_new_time() {
    let scene = Scene::start(&[]);
    let before = scene.server.create_and_upload(b"before");
    scene.clock.run_off_by(-HOUR);
    scene.assert_served(&before, b"before");
    // Who lost the first answer tries again.
    assert_eq!(scene.server.upload(&before, b"before").status, 200);

    let after = scene.server.create_and_upload(b"after");
    assert!(after.expires_at() < Timestamp::now() - HOUR + LIFETIME);
    scene.assert_served(&after, b"after");
    assert!(scene.sweep().contains("deleted 0 expired"));

    // Ten minutes have passed by the clock that was set back.
    scene.clock.run_off_by(LIFETIME - HOUR);
    assert_eq!(scene.status(&after), 410);
    eventually("what is expired is deleted", || {
        scene.server.store.archives().len() == 1
    });
    scene.assert_served(&before, b"before");
    scene.clock.stand_at(before.expires_at());
    assert_eq!(scene.status(&before), 410);
    scene.await_deletion();
}

#[test]
fn set_on_by_an_hour_and_back_what_was_deleted_stays_so_and_all_else_is_as_it_was() {
    let scene = Scene::start(&[]);
    let source = scene.server.create_and_upload(b"an archive");
    scene.clock.run_off_by(HOUR);
    assert_eq!(scene.status(&source), 410);
    scene.await_deletion();

    scene.clock.run_off_by(SignedDuration::ZERO);
    assert_eq!(scene.status(&source), 404);
    assert_eq!(scene.server.upload(&source, b"another").status, 200);
    scene.assert_served(&source, b"another");
}

#[test]
fn what_no_sweep_has_met_before_the_clock_was_set_back_is_whole_again() {
    let scene = Scene::start(&["--rate-limit", "0"]);
    // Sweeps come each second, so most of the time one does not.
    eventually("no sweep came in between", || {
        let source = scene.server.create_and_upload(b"an archive");
        scene.clock.run_off_by(HOUR);
        assert_eq!(scene.status(&source), 410);
        scene.clock.run_off_by(SignedDuration::ZERO);
        let reply = scene.server.download(&source);
        assert!(matches!(reply.status, 200 | 404), "{reply:?}");
        reply.status == 200 && reply.body == b"an archive"
    });
}

#[test]
fn an_upload_under_way_is_cut_off_when_the_clock_is_set_past_its_expiry() {
    let scene = Scene::start(&[]);
    let source = scene.server.create_source();
    let mut upload = scene.begin_upload(&source);
    let set_at = Instant::now();
    scene.clock.stand_at(source.expires_at());
    let reply = upload.next_reply();
    assert!(set_at.elapsed() < SOON);
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
fn an_upload_under_way_keeps_its_place_when_the_clock_is_set_on_by_a_day() {
    let scene = Scene::start(&["--lifetime", "7d"]);
    let source = scene.server.create_source();
    let mut upload = scene.begin_upload(&source);
    scene.clock.run_off_by(24 * HOUR);
    assert!(scene.sweep().contains("deleted 0 expired"));
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
fn a_bearer_ends_with_its_hour_by_the_clock() {
    let scene = Scene::start(&[]);
    let made_at = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    scene.clock.stand_at(made_at);
    let exchange = scene.server.url("/v1/tokens/exchange");
    let password = format!(":{}", scene.server.api_token());
    let exchanged = curl(&["-X", "POST", "-u", &password, &exchange]).json();
    let bearer = exchanged["token"].as_str().unwrap();
    let bearer = format!("Authorization: Bearer {bearer}");
    let user = scene.server.url("/v1/users/self");
    let status_at = |now: Timestamp| {
        scene.clock.stand_at(now);
        curl(&["-H", &bearer, &user]).status
    };
    assert_eq!(status_at(made_at + HOUR - MS), 200);
    assert_eq!(status_at(made_at + HOUR), 401);
    // Before it was made: the clock of the node that made it was ahead, or was set back since.
    assert_eq!(status_at(made_at - HOUR), 200);
}
