//! How much memory a server needs for many transfers at once, on an object store that is slower than they.

use std::fs;
use std::thread;

use waystation_testing::curl::curl;
use waystation_testing::seaweedfs::SeaweedFs;
use waystation_testing::{Server, Source, archive};

use crate::shared_store::SharedStore;

const TRANSFERS: usize = 64;
const MIB: usize = 1024 * 1024;
/// All of them together move gigabytes, through an object store that takes a tenth of one a second.
const PATIENCE_SECONDS: &str = "3000";
const LIMIT_KIB: u64 = 300 * 1024;

/// Uploads a file to as many sources at once, then downloads all of them at once. Returns the most
/// memory that the server has had.
fn peak_kib_of(archive_bytes: usize) -> u64 {
    let store = SharedStore::on(SeaweedFs::shared());
    let node = Server::start(store.serve(&["--rate-limit", "0", "--lifetime", "1h"]));
    let bearer = store.create_bearer();
    let file = store.file("app.tar.gz");
    fs::write(&file, archive(archive_bytes, 1)).unwrap();
    let file = file.to_str().unwrap();

    let sources: Vec<_> = (0..TRANSFERS)
        .map(|_| node.create_source(&bearer))
        .collect();
    at_once(&sources, |source| {
        let link = node.url(&source.upload_path());
        let reply = curl(&["--max-time", PATIENCE_SECONDS, "-T", file, &link]);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.json()["upload"]["size"], archive_bytes);
    });
    at_once(&sources, |source| {
        let link = node.url(&source.download_path());
        let reply = curl(&["--max-time", PATIENCE_SECONDS, "-o", "/dev/null", &link]);
        assert_eq!(reply.status, 200, "{reply:?}");
    });
    node.program.peak_memory_kib()
}

fn at_once(sources: &[Source], transfer: impl Fn(&Source) + Sync) {
    thread::scope(|scope| {
        for source in sources {
            scope.spawn(|| transfer(source));
        }
    });
}

/// How large each archive is; `tests/measure-memory` sets it to more than every run should take.
fn archive_mib() -> usize {
    let set = std::env::var("TEST_ARCHIVE_MIB");
    set.map_or(16, |text| text.parse().unwrap())
}

#[test]
fn many_transfers_at_once_leave_a_server_small() {
    let archive_mib = archive_mib();
    let peak_kib = peak_kib_of(archive_mib * MIB);
    println!(
        "{TRANSFERS} uploads, then downloads, of {archive_mib} MiB at once: peak {} MiB",
        peak_kib / 1024
    );
    assert!(peak_kib < LIMIT_KIB, "{peak_kib} KiB");
}
