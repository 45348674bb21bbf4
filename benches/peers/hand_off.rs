//! Whole hand-offs of small archives: create, upload, download, by 16 clients at once.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::body::Body;
use crate::limit::synced_files;
use crate::peer::Peer;
use crate::process::{empty, settle};
use crate::report::Row;
use crate::transfers::{Round, as_f64, at_once, in_turn, names};

const CLIENTS: usize = 16;
const BYTES: u64 = 64 * 1024;
const TIME: Duration = Duration::from_secs(1);
pub(crate) const DEVICE: &str = "device, synced files";

pub(crate) fn measure(rounds: usize, room: &Path, peers: &[&Peer], row: &mut Row) {
    let bodies: Vec<_> = (0..CLIENTS)
        .map(|client| Body::new(BYTES, client))
        .collect();
    let sums: Vec<_> = bodies.iter().map(Body::sha256).collect();
    let device = room.join("device");
    let mut all = names(peers);
    all.push(DEVICE);
    in_turn(rounds, &all, row, |index| {
        settle(room);
        let Some(peer) = peers.get(index) else {
            empty(&device);
            let body = bodies[0].piece(0);
            return Round::of(synced_files(&device, CLIENTS, body, TIME.as_secs_f64()));
        };
        let done = AtomicU64::new(0);
        let seconds = at_once(CLIENTS, |client| {
            let mut connection = peer.connect();
            let started = Instant::now();
            while started.elapsed() < TIME {
                // A creation is a call to a server of ours; the others' links are made on the spot.
                let target = if peer.is_waystation() {
                    peer.create_source(&mut connection)
                } else {
                    peer.targets(1).remove(0)
                };
                peer.put(&mut connection, &target, &bodies[client], &sums[client]);
                connection.get(&target.get, &bodies[client]);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        // What was sent stays until the end: where many files have just been deleted, some file systems
        // are slow to make new ones.
        Round::of(as_f64(done.into_inner()) / seconds)
    });
}
