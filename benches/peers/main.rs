//! waystation beside nginx, dufs, `SeaweedFS` and the limit of the machine: the same work by the same
//! client, in turn. `./bench` installs what is needed and runs this.
#![allow(
    clippy::unwrap_used,
    reason = "a measurement stops at the first thing that is not as it should be"
)]

use std::cell::OnceCell;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

mod body;
mod bucket;
mod connection;
mod deploy;
mod hand_off;
mod limit;
mod machine;
mod memory;
mod million;
mod peer;
mod picture;
mod process;
mod report;
mod requests;
mod s3;
mod transfers;

use machine::Kept;
use peer::{Peer, Places, make_certificate};
use report::{Bar, Row};
use transfers::Load;
use waystation_testing::delay;

/// As many as a median needs, at least.
const ROUNDS: usize = 7;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// What can be asked for.
const GROUPS: [&str; 9] = [
    "put", "get", "post", "hand-off", "tls", "memory", "start", "deletion", "deploy",
];
/// What can be asked for, and is no part of all.
const BUCKET: &str = "bucket";

/// The servers, each started when it is first needed.
struct Servers {
    places: Places,
    /// Part of the names of those rows of uploads and downloads that are wanted.
    row: String,
    /// Whether to leave out the servers that take longest.
    is_quick: bool,
    waystation: OnceCell<Peer>,
    before: OnceCell<Peer>,
    sync_off: OnceCell<Peer>,
    nginx: OnceCell<Peer>,
    dufs: OnceCell<Peer>,
    seaweedfs: OnceCell<Peer>,
    limit: OnceCell<Peer>,
    synced_limit: OnceCell<Peer>,
}

impl Servers {
    fn waystation(&self) -> &Peer {
        let start = || Peer::waystation(&self.places, "waystation", None, &[]);
        self.waystation.get_or_init(start)
    }

    /// The other build of ours, if one was named.
    fn before(&self) -> Option<&Peer> {
        let places = Places {
            waystation: self.places.before.clone()?,
            ..self.places.clone()
        };
        let start = || Peer::waystation(&places, BEFORE, None, &[]);
        Some(self.before.get_or_init(start))
    }

    fn sync_off(&self) -> &Peer {
        let flags = ["--sync", "off"];
        let start = || Peer::waystation(&self.places, "waystation, sync off", None, &flags);
        self.sync_off.get_or_init(start)
    }

    fn nginx(&self) -> &Peer {
        let start = || Peer::nginx(&self.places, "nginx", None);
        self.nginx.get_or_init(start)
    }

    fn dufs(&self) -> &Peer {
        self.dufs.get_or_init(|| Peer::dufs(&self.places))
    }

    fn seaweedfs(&self) -> &Peer {
        let start = || Peer::seaweedfs(&self.places);
        self.seaweedfs.get_or_init(start)
    }

    fn wants(&self, row: &str) -> bool {
        row.contains(&self.row)
    }

    fn slow(&self) -> Vec<&Peer> {
        if self.is_quick {
            Vec::new()
        } else {
            vec![self.dufs(), self.seaweedfs()]
        }
    }

    fn limit(&self) -> &Peer {
        let start = || Peer::limit(&self.places, "limit", "off");
        self.limit.get_or_init(start)
    }

    fn synced_limit(&self) -> &Peer {
        let start = || Peer::limit(&self.places, "limit, synced", "synced");
        self.synced_limit.get_or_init(start)
    }
}

/// The name of the other build.
const BEFORE: &str = "before";

/// A change may cost users so much at most, where it gains something else.
const NOT_SLOWER: Bar = Bar::AtLeast {
    of: "waystation",
    times: 0.95,
    other: BEFORE,
};

fn at_least(of: &'static str, times: f64, other: &'static str) -> Bar {
    Bar::AtLeast { of, times, other }
}

/// Sizes, how many clients move them, and how often each does in a round; what of nginx's is asked.
const UPLOADS: [(&str, Load, Option<f64>); 6] = [
    ("64 KiB", load(64 * KIB, 1, 256), None),
    ("1 MiB", load(MIB, 1, 64), Some(0.7)),
    ("8 MiB", load(8 * MIB, 1, 8), None),
    ("32 MiB", load(32 * MIB, 1, 3), Some(1.0)),
    ("256 MiB", load(256 * MIB, 1, 1), Some(1.0)),
    ("8 MiB, 16 clients", load(8 * MIB, 16, 2), Some(1.0)),
];

const DOWNLOADS: [(&str, Load, Option<f64>); 5] = [
    ("64 KiB", load(64 * KIB, 1, 1024), None),
    ("1 MiB", load(MIB, 1, 384), Some(1.0)),
    ("8 MiB", load(8 * MIB, 1, 48), None),
    ("32 MiB", load(32 * MIB, 1, 12), Some(1.0)),
    ("256 MiB", load(256 * MIB, 1, 2), Some(1.0)),
];

const fn load(bytes: u64, clients: usize, transfers: usize) -> Load {
    Load {
        bytes,
        clients,
        transfers,
    }
}

fn measure_group(group: &str, rounds: usize, servers: &Servers, done: &mut dyn FnMut(Row)) {
    let places = &servers.places;
    match group {
        "put" => uploads(rounds, servers, done),
        "get" => downloads(rounds, servers, done),
        "post" => {
            let title = "POST /v1/sources, 64 connections";
            let mut row = Row::new("post", title, "requests/s");
            row.bars = vec![at_least("waystation", 0.9, "nginx"), NOT_SLOWER];
            let limit = Peer::limit(places, "limit", "requests");
            let ours = servers.waystation();
            let mut asked = vec![
                ("waystation", ours, ours.jwt()),
                ("waystation, by API token", ours, ours.api_token()),
                ("nginx", servers.nginx(), ours.jwt()),
                ("limit", &limit, ours.jwt()),
            ];
            let before = servers.before();
            asked.extend(before.map(|before| (BEFORE, before, before.jwt())));
            requests::post(places, rounds, &asked, &mut row);
            done(row);
        }
        "hand-off" => {
            let title = "Hand-off of 64 KiB (create, PUT, GET), 16 clients";
            let mut row = Row::new("hand-off", title, "hand-offs/s");
            row.bars = vec![
                at_least("waystation", 1.0, "SeaweedFS"),
                at_least("waystation", 0.9, hand_off::DEVICE),
                at_least("waystation, sync off", 3.0, "SeaweedFS"),
                at_least("waystation, sync off", 1.0, "nginx"),
                NOT_SLOWER,
            ];
            let mut peers = vec![
                servers.waystation(),
                servers.sync_off(),
                servers.nginx(),
                servers.seaweedfs(),
                servers.limit(),
                servers.synced_limit(),
            ];
            peers.extend(servers.before());
            hand_off::measure(rounds, &places.room, &peers, &mut row);
            done(row);
        }
        "tls" => in_tls(rounds, servers, done),
        "memory" => memory::measure(places).into_iter().for_each(done),
        "start" => done(million::start_up(places, rounds)),
        "deploy" => {
            let objects = (!servers.is_quick).then(|| servers.seaweedfs());
            deploy::measure(places, rounds, objects, &|row| servers.wants(row), done);
        }
        "deletion" => million::deletion(places).into_iter().for_each(done),
        BUCKET => bucket::measure(places, rounds, &|row| servers.wants(row), done),
        other => panic!("'{other}' is none of {GROUPS:?}"),
    }
}

fn uploads(rounds: usize, servers: &Servers, done: &mut dyn FnMut(Row)) {
    for (size, load, bar) in UPLOADS {
        if !servers.wants(&format!("put {size}")) {
            continue;
        }
        let mut peers = vec![
            servers.waystation(),
            servers.sync_off(),
            servers.nginx(),
            servers.limit(),
            servers.synced_limit(),
        ];
        peers.splice(3..3, servers.slow());
        peers.extend(servers.before());
        let mut row = Row::new(&format!("put {size}"), &format!("PUT {size}"), "MB/s");
        row.bars = vec![NOT_SLOWER];
        if let Some(times) = bar {
            row.bars.extend([
                at_least("waystation", times, "nginx"),
                at_least("waystation", 3.0, "dufs"),
            ]);
        }
        if size == "1 MiB" {
            row.bars
                .push(at_least("waystation, sync off", 1.0, "nginx"));
        }
        load.put(rounds, &servers.places.room, &peers, &mut row);
        done(row);
    }
}

fn downloads(rounds: usize, servers: &Servers, done: &mut dyn FnMut(Row)) {
    let mut peers = vec![servers.waystation(), servers.nginx()];
    peers.extend(servers.slow());
    peers.extend(servers.before());
    let bars = |times| {
        vec![
            at_least("waystation", times, "nginx"),
            at_least("waystation", 3.0, "dufs"),
            NOT_SLOWER,
        ]
    };
    for (size, load, bar) in DOWNLOADS {
        if !servers.wants(&format!("get {size}")) {
            continue;
        }
        let mut row = Row::new(&format!("get {size}"), &format!("GET {size}"), "MB/s");
        row.bars = bar.map_or(vec![NOT_SLOWER], bars);
        let peers = [&peers[..], &[servers.limit()]].concat();
        load.get(rounds, &servers.places.room, &peers, &mut row);
        done(row);
    }
    if !servers.wants("get 1 KiB") {
        return;
    }
    let mut row = Row::new("get 1 KiB", "GET 1 KiB, 64 connections", "requests/s");
    row.bars = bars(0.9);
    let limit = Peer::limit(&servers.places, "limit", "requests");
    requests::get(&servers.places, rounds, &peers, &limit, &mut row);
    done(row);
}

fn in_tls(rounds: usize, servers: &Servers, done: &mut dyn FnMut(Row)) {
    let places = &servers.places;
    let certificate = make_certificate(&places.room);
    let ours = Peer::waystation(places, "waystation", Some(&certificate), &[]);
    let nginx = Peer::nginx(places, "nginx", Some(&certificate));
    let ciphers = [&ours, &nginx].map(|peer| {
        let mut connection = peer.connect();
        connection.ask("GET", "/is-it-there", "", "");
        connection.cipher().unwrap()
    });
    assert_eq!(ciphers[0], ciphers[1]);
    let load = load(256 * MIB, 1, 1);
    for method in ["PUT", "GET"] {
        let id = format!("tls {} 256 MiB", method.to_lowercase());
        let title = format!("{method} 256 MiB in TLS ({})", ciphers[0]);
        let mut row = Row::new(&id, &title, "MB/s");
        row.bars = vec![at_least("waystation", 1.0, "nginx")];
        // The limit speaks no TLS.
        let peers = [&ours, &nginx, servers.limit()];
        let measure = if method == "PUT" {
            Load::put
        } else {
            Load::get
        };
        measure(load, rounds, &places.room, &peers, &mut row);
        done(row);
    }
}

/// The value after a flag.
fn flag(arguments: &[String], name: &str) -> Option<String> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1).cloned()
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("limit") => {
            let address = arguments[1].parse().unwrap();
            let folder = PathBuf::from(&arguments[2]);
            match arguments[3].as_str() {
                "requests" => limit::serve_requests(address, &folder),
                sync => limit::serve(address, &folder, sync == "synced"),
            }
        }
        Some("delay") => {
            let listener = TcpListener::bind(&arguments[1]).unwrap();
            let added = Duration::from_millis(arguments[3].parse().unwrap());
            delay::serve(&listener, arguments[2].parse().unwrap(), added);
        }
        Some("run") => run(&arguments[1..]),
        // So that `cargo bench` and `cargo test --all-targets` do not take a quarter of an hour.
        _ => println!("run ./bench"),
    }
}

fn run(arguments: &[String]) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("target");
    let rounds = flag(arguments, "--rounds").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let row = flag(arguments, "--row").unwrap_or_default();
    let profile = flag(arguments, "--profile").unwrap_or_else(|| "dist".to_owned());
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let asked: Vec<_> = GROUPS
        .into_iter()
        .chain([BUCKET])
        .filter(|group| arguments.iter().any(|argument| argument == group))
        .collect();
    let are_all = asked.is_empty();
    // What is kept is whole.
    let kept = match &asked[..] {
        [] => Some(Kept::ALL),
        [BUCKET] => Some(Kept::BUCKET),
        _ => None,
    };
    let is_whole = profile == "dist"
        && row.is_empty()
        && !is_quick
        && rounds >= ROUNDS
        && flag(arguments, "--against").is_none();
    let groups = if are_all { &GROUPS[..] } else { &asked };
    let places = Places {
        room: target.join("bench/room"),
        waystation: PathBuf::from(flag(arguments, "--waystation").unwrap()),
        before: flag(arguments, "--against").map(PathBuf::from),
        tools: target.join("tools"),
    };
    process::empty(&places.room);
    let machine = machine::describe(&places, &profile, rounds);
    println!("{}", machine.to_markdown());
    let servers = Servers {
        places,
        row,
        is_quick,
        waystation: OnceCell::new(),
        before: OnceCell::new(),
        sync_off: OnceCell::new(),
        nginx: OnceCell::new(),
        dufs: OnceCell::new(),
        seaweedfs: OnceCell::new(),
        limit: OnceCell::new(),
        synced_limit: OnceCell::new(),
    };
    print!("{}", report::table(&[]));
    let mut rows = Vec::new();
    for group in groups {
        measure_group(group, rounds, &servers, &mut |row| {
            print!("{}", row.to_markdown());
            rows.push(row);
        });
    }
    let folder = servers.places.room.clone();
    drop(servers);
    fs::remove_dir_all(folder).unwrap();
    machine.write(&root, kept.filter(|_| is_whole), &rows);
}
