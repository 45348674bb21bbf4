//! Unpacking beside GNU tar: a tar.gz of 100 MiB in 10,000 files, into memory (`/dev/shm`), so that the disk has no say.
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark may stop at the first thing that is not as it should be"
)]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use waystation::clock::Clock;
use waystation::pack::{UnpackLimits, unpack};
use waystation_testing::tarball::Tarball;

const FILES: usize = 10_000;
const FILE_BYTES: usize = 10_486;
const ROUNDS: usize = 7;

fn main() {
    let room = tempfile::tempdir_in("/dev/shm").unwrap();
    let archive = room.path().join("archive.tar.gz");
    make_archive(&archive);
    // From here on the peak is that of unpacking.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(timed(room.path(), |into| {
            let mut tar = Command::new("tar");
            tar.arg("-xzf").arg(&archive).arg("-C").arg(into);
            assert!(tar.status().unwrap().success());
        }));
        ours.push(timed(room.path(), |into| {
            let archive = File::open(&archive).unwrap();
            let now = Clock::System.now();
            unpack(archive, into, UnpackLimits::default(), now).unwrap();
        }));
    }
    let (theirs, ours) = (median(theirs), median(ours));
    let factor = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("unpack 100 MiB of 10,000 files: {ours:.2?}, GNU tar {theirs:.2?}: {factor:.2} times");
    println!("memory at most: {}", peak_memory());
}

/// Words in an order that nothing can guess, so that they shrink as sources do.
fn make_archive(path: &Path) {
    let mut state = 1u64;
    let mut word = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        format!("{:x} ", (state >> 48) % 4000)
    };
    let mut tarball = Tarball::new();
    for number in 0..FILES {
        let mut content = String::new();
        while content.len() < FILE_BYTES {
            content.push_str(&word());
        }
        let name = format!(
            "app/package{}/src{}/file{number}.js",
            number % 211,
            number % 7
        );
        tarball = tarball.file(&name, &content.as_bytes()[..FILE_BYTES]);
    }
    let file = File::create(path).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    gzip.write_all(&tarball.end()).unwrap();
    gzip.finish().unwrap();
}

fn timed(room: &Path, work: impl FnOnce(&Path)) -> Duration {
    let into = room.join("tree");
    fs::create_dir(&into).unwrap();
    let started_at = Instant::now();
    work(&into);
    let took = started_at.elapsed();
    fs::remove_dir_all(&into).unwrap();
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn peak_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap().trim().to_owned()
}
