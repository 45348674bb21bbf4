//! A store that is not there any more while the server runs: its file system was unmounted, or its folder
//! moved away. What cannot be found then is not missing.

use std::fs;

use waystation_testing::reply::Reply;
use waystation_testing::{Server, Source, Waystation, archive, assert_refused, eventually};

use crate::small_disk::SmallDisk;

fn assert_unavailable(server: &Server, bearer: &str, there: &Source, empty: &Source) {
    let refused = |reply: Reply| {
        assert_refused(&reply, 503);
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
    };
    for _ in 0..3 {
        refused(server.download(there));
        refused(server.download(empty));
        refused(server.upload(empty, &archive(1000, 1)));
        refused(server.call("GET", "/v1/tokens", &[bearer]));
        refused(server.call("POST", "/v1/tokens", &[bearer]));
        let ready = server.ask_admin("/readyz");
        assert_eq!(ready.status, 503);
        assert!(ready.text().contains("not there any more"), "{ready:?}");
    }
    let failed = || server.metric("waystation_sweep_failures_total");
    eventually("three sweeps have failed", || failed() >= Some(3.0));
    let log = server.program.stderr();
    for line in ["not ready", "the sweep failed"] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
}

#[test]
fn nothing_is_missing_in_a_store_that_is_unmounted() {
    let disk = SmallDisk::start("size=16m", &["--admin-listen", "0", "--keep-free", "0B"]);
    let (there, empty) = (disk.create(), disk.create());
    assert_eq!(disk.upload(&there, b"an archive").status, 200);
    disk.change_mount(&["umount", "-l"]);
    assert_unavailable(&disk.server, &disk.bearer, &there, &empty);
}

#[test]
fn nothing_is_missing_in_a_store_that_is_moved_away_and_nothing_is_written_to_what_is_in_its_place()
{
    let server = Waystation::start(&["--admin-listen", "0"]);
    let (there, empty) = (
        server.create_and_upload(b"an archive"),
        server.create_source(),
    );
    let bearer = server.bearer();
    let (path, away) = (
        server.store.path(),
        server.store.path().with_extension("away"),
    );
    fs::rename(&path, &away).unwrap();
    // As a second server makes it.
    for folder in ["stage", "drafts", "sources", "users", "tokens"] {
        fs::create_dir_all(path.join(folder)).unwrap();
    }
    fs::write(path.join("lock"), "").unwrap();
    assert_unavailable(&server, &bearer, &there, &empty);
    assert_eq!(
        server.store.entries_below("tokens"),
        [] as [std::path::PathBuf; 0]
    );

    fs::remove_dir_all(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    assert_eq!(server.download(&there).body, b"an archive");
    assert_eq!(server.ask_admin("/readyz").status, 200);
    server.program.await_line("ready again");
}
