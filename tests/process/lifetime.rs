//! Expiry: refused at the instant, gone from the disk soon after, and nothing that began before is
//! spoiled.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use waystation_testing::connection::{Connection, exchange, head};
use waystation_testing::curl::{HELD_ARCHIVE_BYTES, HeldDownload, curl};
use waystation_testing::program::Program;
use waystation_testing::wall_clock::WallClock;
use waystation_testing::{Source, Waystation, archive, assert_refused, eventually};

/// How soon after its expiry an archive has to be gone.
const SOON: Duration = Duration::from_secs(5);

fn start() -> Waystation {
    Waystation::start(&["--lifetime", "2s"])
}

/// Waits until a link that has worked until now says that it has expired.
fn await_expiry(server: &Waystation, source: &Source) {
    eventually("the link has expired", || {
        let reply = server.download(source);
        assert!(matches!(reply.status, 200 | 410), "{reply:?}");
        reply.status == 410
    });
}

/// How long ago that was; it has to be over.
fn since(past: Timestamp) -> Duration {
    Timestamp::now().duration_since(past).try_into().unwrap()
}

/// Waits until neither files nor folders are left.
fn await_deletion(server: &Waystation) {
    eventually("the store is empty", || {
        server.store.entries_below("sources").is_empty()
    });
    server.store.assert_nothing_stored();
}

#[test]
fn an_expired_source_is_gone_for_every_request() {
    let server = start();
    let source = server.create_source();
    let report = server.upload(&source, b"an archive").json();
    assert_eq!(server.download(&source).body, b"an archive");
    await_expiry(&server, &source);

    let refused = [
        server.download(&source),
        server.upload(&source, b"an archive"),
        server.upload(&source, b"another"),
        curl(&["-r", "0-1", &source.download_url]),
    ];
    for reply in refused {
        let refusal = assert_refused(&reply, 410);
        assert_eq!(refusal["code"], "expired");
        assert_eq!(refusal["expired_at"], report["upload"]["expires_at"]);
    }
    let probe = curl(&["-I", "-o", "/dev/null", &source.download_url]);
    assert_eq!(probe.status, 410);
}

#[test]
fn only_who_holds_a_link_learns_that_it_has_expired() {
    let server = start();
    let source = server.create_and_upload(b"an archive");
    await_expiry(&server, &source);
    let wrong = source.download_path().replace("token=", "token=0");
    let reply = exchange(server.address, "GET", &wrong, b"");
    assert_refused(&reply, 403);
}

#[test]
fn expired_archives_vanish_from_the_disk_and_no_folder_stays() {
    let server = start();
    let source = server.create_source();
    let report = server.upload(&source, &archive(100_000, 1)).json();
    for seed in 2..5 {
        server.create_and_upload(&archive(1000, seed));
    }
    let expires_at = report["upload"]["expires_at"].as_str().unwrap();
    let expires_at: Timestamp = expires_at.parse().unwrap();
    let path_of = |id: &str| {
        let archives = server.store.archives();
        archives.into_iter().find(|path| path.ends_with(id))
    };
    let file = path_of(&source.id()).unwrap();

    eventually("the file is gone", || !file.exists());
    assert!(since(expires_at) < SOON);
    await_deletion(&server);
}

#[test]
fn what_expired_while_no_server_ran_vanishes_at_the_next_start() {
    let server = Waystation::start(&[]);
    let source = server.create_and_upload(b"an archive");
    let store = server.kill();
    assert_eq!(store.archives().len(), 1);
    let clock = WallClock::new();
    // Past the minute, so that its folder may go too.
    clock.stand_at(source.expires_at() + SignedDuration::from_mins(1));
    let program = Program::start(clock.rule(store.serve(&[])));
    await_deletion(&Waystation::of(store, program));
}

#[test]
fn a_download_that_began_before_finishes_whole() {
    let server = start();
    let sent = archive(HELD_ARCHIVE_BYTES, 1);
    let source = server.create_and_upload(&sent);
    let download = HeldDownload::start(&source.download_url);
    await_expiry(&server, &source);
    await_deletion(&server);
    assert!(download.finish().body == sent);
}

#[test]
fn a_slow_upload_is_cut_off_at_the_instant() {
    let server = start();
    let source = server.create_source();
    let file = server.store.write_file("archive", &archive(20_000_000, 1));
    let slowly = ["--limit-rate", "1M", "-T", &file, &source.upload_url];
    let reply = curl(&slowly);
    assert_eq!(assert_refused(&reply, 410)["code"], "expired");
    // All of it would have taken twenty seconds.
    assert!(since(source.expires_at()) < SOON);
    server.store.assert_nothing_stored();
}

#[test]
fn an_upload_that_sends_nothing_is_cut_off_as_well() {
    let server = start();
    let source = server.create_source();
    let mut connection = Connection::open(server.address);
    connection.send(head("PUT", &source.upload_path(), &["Content-Length: 9"]));
    connection.send("half");
    let reply = connection.next_reply();
    assert_eq!(assert_refused(&reply, 410)["code"], "expired");
    assert!(Timestamp::now() >= source.expires_at());
    server.store.assert_nothing_stored();
}
