//! The most memory that a server of ours needs, each time from a fresh start.

use std::thread::sleep;
use std::time::Duration;

use crate::body::Body;
use crate::peer::{Peer, Places};
use crate::report::{Bar, Row};
use crate::transfers::at_once;

const MIB: u64 = 1024 * 1024;
const NAME: &str = "waystation";

fn row(places: &Places, id: &str, title: &str, bar: f64, work: impl Fn(&Peer)) -> Row {
    let peer = Peer::waystation(places, "waystation for memory", None, &[]);
    row_of(&peer, id, title, bar, work)
}

fn row_of(peer: &Peer, id: &str, title: &str, bar: f64, work: impl Fn(&Peer)) -> Row {
    let mut row = Row::new(id, title, "MiB");
    work(peer);
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    row.add(NAME, peer.process.peak_memory_bytes() / MIB as f64);
    row.bars = vec![Bar::AtMost {
        of: NAME.to_owned(),
        value: bar,
    }];
    peer.clear();
    row
}

pub(crate) fn measure(places: &Places) -> Vec<Row> {
    vec![
        row(
            places,
            "memory-slow",
            "Peak memory: 1,000 uploads at 2 KiB/s at once",
            48.0,
            slow_uploads,
        ),
        row(
            places,
            "memory-fast",
            "Peak memory: 64 uploads of 64 MiB at once",
            128.0,
            |peer| uploads(peer, 64, 64 * MIB),
        ),
        row(
            places,
            "memory-large",
            "Peak memory: an upload of 4 GiB, and its download",
            32.0,
            |peer| uploads(peer, 1, 4096 * MIB),
        ),
    ]
}

/// The same of a node on a bucket.
pub(crate) fn on_bucket(node: impl Fn() -> Peer) -> Vec<Row> {
    vec![
        row_of(
            &node(),
            "bucket memory-slow",
            "Peak memory: 1,000 uploads at 2 KiB/s at once",
            128.0,
            slow_uploads,
        ),
        row_of(
            &node(),
            "bucket memory-fast",
            "Peak memory: 64 uploads of 256 MiB at once, then as many downloads",
            200.0,
            |peer| both_ways(peer, 64, 256 * MIB),
        ),
    ]
}

fn both_ways(peer: &Peer, clients: usize, bytes: u64) {
    let targets = peer.targets(clients);
    let bodies: Vec<_> = (0..clients)
        .map(|client| Body::new(bytes, client))
        .collect();
    let sums: Vec<_> = bodies.iter().map(Body::sha256).collect();
    at_once(clients, |client| {
        let (target, body) = (&targets[client], &bodies[client]);
        peer.put(&mut peer.connect(), target, body, &sums[client]);
    });
    at_once(clients, |client| {
        peer.connect().get(&targets[client].get, &bodies[client]);
    });
}

fn uploads(peer: &Peer, clients: usize, bytes: u64) {
    let targets = peer.targets(clients);
    let bodies: Vec<_> = (0..clients)
        .map(|client| Body::new(bytes, client))
        .collect();
    let sums: Vec<_> = bodies.iter().map(Body::sha256).collect();
    at_once(clients, |client| {
        let mut connection = peer.connect();
        peer.put(
            &mut connection,
            &targets[client],
            &bodies[client],
            &sums[client],
        );
    });
    let mut connection = peer.connect();
    for (target, body) in targets.iter().zip(&bodies) {
        connection.get(&target.get, body);
    }
}

fn slow_uploads(peer: &Peer) {
    const CLIENTS: usize = 1_000;
    const SECONDS: u64 = 12;
    const STEP: u64 = 2 * 1024;
    let targets = peer.targets(CLIENTS);
    let bodies: Vec<_> = (0..CLIENTS)
        .map(|client| Body::new(SECONDS * STEP, client))
        .collect();
    let mut connections: Vec<_> = targets.iter().map(|_| peer.connect()).collect();
    for (connection, target) in connections.iter_mut().zip(&targets) {
        connection.begin_put(&target.put, SECONDS * STEP);
    }
    for second in 0..SECONDS {
        for (connection, body) in connections.iter_mut().zip(&bodies) {
            connection.send(body, second * STEP, STEP);
        }
        sleep(Duration::from_secs(1));
    }
    for (connection, body) in connections.iter_mut().zip(&bodies) {
        let (answer, report) = connection.small_answer();
        let report = String::from_utf8_lossy(&report);
        assert_eq!(answer.status, 200, "{report}");
        assert!(report.contains(&body.sha256()), "{report}");
    }
}
