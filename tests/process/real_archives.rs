//! Real archives: this repository's own, and one that is larger than the memory the server may use.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use waystation_testing::curl::curl;
use waystation_testing::program::{run, without_settings};
use waystation_testing::{Source, Waystation, archive};

const MIB: u64 = 1024 * 1024;
const LARGE_BYTES: u64 = 1536 * MIB;
const MEMORY_LIMIT_KIB: u64 = 64 * 1024;

/// A line for the shell, with its words after it as `$1` and so on.
fn shell(line: &str, words: &[&str]) -> Command {
    let mut shell = without_settings("sh");
    shell.args(["-c", line, "sh"]).args(words);
    shell
}

fn run_shell(line: &str, words: &[&str]) -> String {
    let ended = run(shell(line, words));
    assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
    ended.stdout
}

fn sha256_of(line: &str, words: &[&str]) -> String {
    let told = run_shell(&format!("{line} | sha256sum"), words);
    told.split(' ').next().unwrap().to_owned()
}

fn assert_comes_back(source: &Source, file: &str) {
    let sha256 = sha256_of("cat \"$1\"", &[file]);
    let reply = curl(&["-L", "-T", file, &source.upload_url]);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["upload"]["sha256"], sha256);
    let back = sha256_of("curl -q -sSfL \"$1\"", &[&source.download_url]);
    assert_eq!(back, sha256);
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
    assert_comes_back(&server.create_source(), file.to_str().unwrap());
    let peak_kib = server.program.peak_memory_kib();
    assert!(peak_kib < MEMORY_LIMIT_KIB, "{peak_kib} KiB");
}
