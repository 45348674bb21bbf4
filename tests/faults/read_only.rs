//! A store that becomes read-only while the server runs, as ext4 does after an error of its device.

use waystation_testing::{archive, assert_refused, eventually};

use crate::small_disk::SmallDisk;

#[test]
fn a_store_that_can_only_be_read_serves_on_and_is_not_ready_until_a_write_works() {
    let disk = SmallDisk::start("size=16m", &["--admin-listen", "0", "--keep-free", "0B"]);
    let (there, missing) = (disk.create(), disk.create());
    let bytes = archive(100_000, 1);
    assert_eq!(disk.upload(&there, &bytes).status, 200);
    assert_eq!(disk.server.ask_admin("/readyz").status, 200);

    // Over itself: to mount it anew, nobody could have a file open for writing.
    let path = disk.store.path();
    disk.change_mount(&["mount", "-o", "bind,ro", path.to_str().unwrap()]);
    for _ in 0..3 {
        let ready = disk.server.ask_admin("/readyz");
        assert_eq!(ready.status, 503);
        assert!(ready.text().contains("can only be read"), "{ready:?}");
        let reply = disk.upload(&missing, &bytes);
        assert_refused(&reply, 503);
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
        assert!(disk.server.download(&there).body == bytes);
        let body = br#"{"token":{"name":"ci"}}"#;
        let token = disk
            .server
            .try_call("POST", "/v1/tokens", &[&disk.bearer], body);
        assert_refused(&token.unwrap(), 503);
    }
    // What expires now cannot be deleted.
    disk.clock.stand_at(there.expires_at());
    let failed = || {
        disk.server
            .metric("waystation_source_deletion_failures_total")
    };
    eventually("three sweeps have failed", || failed() >= Some(3.0));

    disk.change_mount(&["umount"]);
    assert_eq!(disk.server.ask_admin("/readyz").status, 200);
    let source = disk.create();
    assert_eq!(disk.upload(&source, &bytes).status, 200);
    disk.server.program.await_line("deleted expired sources");
    let log = disk.server.program.stderr();
    for line in [
        "not ready",
        "ready again",
        "expired sources could not be deleted",
        "expired sources are deleted again",
    ] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
}
