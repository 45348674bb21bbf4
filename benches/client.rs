//! The client beside what people use without it: tar, curl, gzip and zstd; over loopback, and over a line that breaks.
//! `./bench client` runs it.
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark may stop at the first thing that is not as it should be"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "what is printed is rounded anyway"
)]

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use waystation_testing::faulty_line::{Fault, FaultyLine};
use waystation_testing::program::built;
use waystation_testing::{Source, Waystation, archive, delay};

const MIB: u64 = 1024 * 1024;
const FILES: usize = 7_000;
const FILE_BYTES: usize = 18_600;
const ROUNDS: usize = 5;
const LARGE_FILES: u64 = 100_000;
const LARGE_BYTES: u64 = 10 * 1024 * MIB;

/// Measures, and prints it by that name.
type Measure = fn(&Bench, &str);

/// What is measured, by the name that `--row` finds it by.
const ROWS: [(&str, Measure); 6] = [
    ("push of 7,000 files, gzip", |bench, name| {
        bench.pushes(name, "gzip", "tar czf - .", 2.0);
    }),
    ("push of 7,000 files, zstd", |bench, name| {
        bench.pushes(name, "zstd", "tar --zstd -cf - .", 1.0);
    }),
    ("push of 10 GiB in 100,000 files", Bench::large_push),
    ("pull --unpack", Bench::pull),
    ("256 MiB in parts, against a PUT of curl", Bench::parts),
    (
        "1 GiB over a line that breaks each 64 MiB, 100 ms away",
        Bench::broken_line,
    ),
];

fn main() {
    let part = chosen();
    let is_chosen = |name: &str| part.as_deref().is_none_or(|part| name.contains(part));
    assert!(
        ROWS.iter().any(|(name, _)| is_chosen(name)),
        "no row has that in its name"
    );
    let room = tempfile::tempdir_in("/dev/shm").unwrap();
    let server = Waystation::start(&["--rate-limit", "0", "--upload-limit", "2GiB"]);
    let bench = Bench { server, room };
    let tree = bench.room.path().join("tree");
    make_tree(&tree);
    println!("| what | ours | theirs | | bar |\n|---|---|---|---|---|");
    for (name, measure) in ROWS.iter().filter(|(name, _)| is_chosen(name)) {
        measure(&bench, name);
    }
}

/// The part of a name that `--row` gives.
fn chosen() -> Option<String> {
    let mut words = env::args().skip_while(|word| word != "--row");
    words.next()?;
    Some(words.next().expect("--row needs a part of a name"))
}

struct Bench {
    server: Waystation,
    room: TempDir,
}

impl Bench {
    fn ours(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(built());
        command.args(arguments).arg("--quiet");
        command.current_dir(self.room.path());
        command.env("WAYSTATION_URL", self.server.url(""));
        command.env("WAYSTATION_TOKEN", self.server.api_token());
        command
    }

    fn shell(&self, line: &str) -> Command {
        let mut shell = Command::new("bash");
        shell
            .args(["-o", "pipefail", "-c", line])
            .current_dir(self.room.path());
        shell
    }

    fn source(&self) -> Source {
        self.server.create_source()
    }

    fn pushes(&self, name: &str, how: &str, tar: &str, bar: f64) {
        let (mut ours, mut theirs, mut peak) = (Vec::new(), Vec::new(), 0);
        let (mut our_bytes, mut their_bytes) = (0, 0);
        for _ in 0..ROUNDS {
            let push = self.ours(&["push", "tree", "--json", "--compress", how]);
            let (took, printed, memory) = timed(&push);
            ours.push(took);
            peak = peak.max(memory);
            let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
            our_bytes = json["upload"]["size"].as_u64().unwrap();
            let source = self.source();
            let line = format!("cd tree && {tar} | curl -sSf -T - '{}'", source.upload_url);
            let (took, printed, _) = timed(&self.shell(&line));
            theirs.push(took);
            let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
            their_bytes = json["upload"]["size"].as_u64().unwrap();
        }
        row(name, ours, theirs, bar);
        let size = our_bytes as f64 / their_bytes as f64;
        println!(
            "| size of its archive | {our_bytes} | {their_bytes} | {size:.3} times | ≤ 1.03 |"
        );
        println!("| its peak memory | {peak} KiB | | | ≤ 64 MiB |");
    }

    /// Of a folder far larger than the memory for it. Its files are holes, which need no room here, but for one that
    /// cannot be compressed: most memory is needed there.
    fn large_push(&self, name: &str) {
        let folder = self.room.path().join("large");
        for number in 0..LARGE_FILES {
            let package = folder.join(format!("package{}", number % 1000));
            fs::create_dir_all(&package).unwrap();
            let file = File::create(package.join(format!("file{number}.js"))).unwrap();
            file.set_len(LARGE_BYTES / LARGE_FILES).unwrap();
        }
        fs::write(folder.join("noise"), noise()).unwrap();
        let push = self.ours(&["push", "large", "--json", "--compress", "zstd:1"]);
        let (took, printed, peak) = timed(&push);
        let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(json["upload"]["files"], LARGE_FILES + 1);
        fs::remove_dir_all(&folder).unwrap();
        println!("| {name} | {took:.2?} | | | |");
        println!("| its peak memory | {peak} KiB | | | ≤ 64 MiB |");
    }

    fn pull(&self, name: &str) {
        let source = self.source();
        let line = format!("tar czf - tree | curl -sSf -T - '{}'", source.upload_url);
        timed(&self.shell(&line));
        let (mut ours, mut theirs, mut peak) = (Vec::new(), Vec::new(), 0);
        let into = self.room.path().join("into");
        for _ in 0..ROUNDS {
            let pull = self.ours(&["pull", &source.download_url, "--unpack", "into", "--json"]);
            let (took, printed, memory) = timed(&pull);
            let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
            assert_eq!(json["download"]["is_checked"], true);
            ours.push(took);
            peak = peak.max(memory);
            fs::remove_dir_all(&into).unwrap();
            let url = &source.download_url;
            let line = format!("mkdir into && curl -sSf '{url}' | tar xz -C into");
            theirs.push(timed(&self.shell(&line)).0);
            fs::remove_dir_all(&into).unwrap();
        }
        row(name, ours, theirs, 1.0);
        println!("| its peak memory | {peak} KiB | | | ≤ 64 MiB |");
    }

    /// The same archive in parts, and whole by curl.
    fn parts(&self, name: &str) {
        let path = self.room.path().join("archive");
        fs::write(&path, noise()).unwrap();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(timed(&self.ours(&["push", "archive"])).0);
            let line = format!("curl -sSf -T archive '{}'", self.source().upload_url);
            theirs.push(timed(&self.shell(&line)).0);
        }
        row(name, ours, theirs, 0.9);
    }

    fn broken_line(&self, name: &str) {
        let path = self.room.path().join("archive");
        let bytes = 1024 * MIB;
        write_long(&path, bytes);
        let far = far_from(self.server.address);
        let line = FaultyLine::always(far, Fault::Cut(64 * MIB));
        let mut push = self.ours(&["push", "archive"]);
        push.env("WAYSTATION_URL", line.url());
        let (took, _, memory) = timed(&push);
        let more = line.sent_bytes() as f64 / bytes as f64 - 1.0;
        println!(
            "| {name} | {:.1} s | | {:.2} % more sent | ≤ 5 % |",
            took.as_secs_f64(),
            more * 100.0
        );
        println!("| its peak memory | {memory} KiB | | | ≤ 64 MiB |");
    }
}

/// 256 MiB that nothing compresses.
fn noise() -> Vec<u8> {
    archive(usize::try_from(256 * MIB).unwrap(), 1)
}

/// The server, 100 ms further away.
fn far_from(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || delay::serve(&listener, server, Duration::from_millis(100)));
    address
}

/// Words of which some are frequent, as in sources.
fn make_tree(tree: &Path) {
    let mut state = 1u64;
    let mut word = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let chance = (state >> 40) as f64 / (1u64 << 24) as f64;
        format!("w{:x} ", (chance * chance * chance * 6000.0) as u64)
    };
    for number in 0..FILES {
        let folder = tree.join(format!("package{}/src{}", number % 211, number % 7));
        fs::create_dir_all(&folder).unwrap();
        let mut content = String::new();
        while content.len() < FILE_BYTES {
            content.push_str(&word());
            if content.len() % 40 < 3 {
                content.push_str("\n    ");
            }
        }
        fs::write(folder.join(format!("file{number}.js")), content).unwrap();
    }
}

fn write_long(path: &Path, bytes: u64) {
    let piece = archive(usize::try_from(MIB).unwrap(), 2);
    let mut file = File::create(path).unwrap();
    for _ in 0..bytes / MIB {
        file.write_all(&piece).unwrap();
    }
}

/// How long it took, what it printed, and the most memory that it had, in KiB.
fn timed(command: &Command) -> (Duration, String, u64) {
    let mut measured = Command::new("python3");
    // The peak of a child that has ended is known to its parent alone.
    let script = "import os, resource, subprocess, sys, time\n\
                  begin = time.monotonic()\n\
                  done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)\n\
                  took = time.monotonic() - begin\n\
                  peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n\
                  print(done.returncode, took, peak)\n\
                  sys.stdout.flush()\n\
                  os.write(1, done.stdout)";
    measured
        .args(["-c", script])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        measured.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        measured.env(name, value.unwrap());
    }
    measured.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = measured.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let (first, rest) = printed.split_once('\n').unwrap();
    let words: Vec<_> = first.split(' ').collect();
    assert_eq!(words[0], "0", "{command:?}: {printed}");
    let took = Duration::from_secs_f64(words[1].parse().unwrap());
    (took, rest.to_owned(), words[2].parse().unwrap())
}

fn row(what: &str, ours: Vec<Duration>, theirs: Vec<Duration>, bar: f64) {
    let (ours, theirs) = (median(ours), median(theirs));
    let factor = theirs.as_secs_f64() / ours.as_secs_f64();
    println!("| {what} | {ours:.2?} | {theirs:.2?} | {factor:.2} times as fast | ≥ {bar} |");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
