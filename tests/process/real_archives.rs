//! Archives as tar makes them, and one that is larger than the memory the server may use.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use waystation_testing::curl::curl;
use waystation_testing::program::{run, without_settings};
use waystation_testing::{Waystation, archive};

const MIB: u64 = 1024 * 1024;
const LARGE_BYTES: u64 = 1536 * MIB;
const MEMORY_LIMIT_KIB: u64 = 64 * 1024;

/// Runs a line of the shell, with words as `$1` and so on.
fn run_shell(line: &str, words: &[&str]) {
    let mut shell = without_settings("sh");
    shell.args(["-c", line, "sh"]).args(words);
    let ended = run(shell);
    assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
}

/// A file that takes little room on the disk, but is nowhere near all zeroes.
fn write_large_file(path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(LARGE_BYTES).unwrap();
    for (seed, offset) in (0..).zip((0..LARGE_BYTES).step_by(64 << 20)) {
        file.write_all_at(&archive(100_000, seed), offset).unwrap();
    }
}

#[test]
fn a_plain_tar_and_what_is_not_compressed_with_gzip_are_served_as_what_they_are() {
    let server = Waystation::start(&[]);
    let tar = server.store.write_file("first.txt", b"of a tar");
    for (format, media_type) in [
        ("gnu", "application/x-tar"),
        ("pax", "application/x-tar"),
        ("ustar", "application/x-tar"),
        ("v7", "application/x-tar"),
        ("pax --gzip", "application/gzip"),
    ] {
        let file = format!("{tar}.archive");
        run_shell(
            &format!("tar -cf \"$2\" --format={format} \"$1\""),
            &[&tar, &file],
        );
        let source = server.create_source();
        let report = curl(&["-T", &file, &source.upload_url]).json();
        assert_eq!(report["upload"]["media_type"], media_type, "{format}");
    }
}

#[test]
fn a_large_archive_comes_back_while_the_server_stays_small() {
    let server = Waystation::start(&["--upload-limit", "2GiB"]);
    let file = server.store.room().join("large.tar.gz");
    write_large_file(&file);
    let (file, source) = (file.to_str().unwrap(), server.create_source());
    let reply = curl(&["-L", "-T", file, &source.upload_url]);
    assert_eq!(reply.status, 200, "{reply:?}");
    let words = [source.download_url.as_str(), file];
    run_shell("curl -q -sSfL \"$1\" | cmp - \"$2\"", &words);
    let peak_kib = server.program.peak_memory_kib();
    assert!(peak_kib < MEMORY_LIMIT_KIB, "{peak_kib} KiB");
}
