//! Uploads and downloads of one size, by one client or several at once, by each server in turn.

use std::path::Path;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Instant;

use crate::body::Body;
use crate::connection::Connection;
use crate::peer::{Peer, Target};
use crate::process::settle;
use crate::report::{Measured, Row};

/// How much work a row is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) bytes: u64,
    pub(crate) clients: usize,
    /// Of each client in each round.
    pub(crate) transfers: usize,
}

/// Below this, what a server's CPU time costs cannot be told apart from the grain of the system's clock.
const LEAST_CPU_BYTES: f64 = 0.4e9;

/// What one server did in one round.
pub(crate) struct Round {
    /// In the row's unit.
    pub(crate) figure: f64,
    pub(crate) bytes: f64,
    /// That the server used meanwhile.
    pub(crate) cpu_seconds: f64,
}

impl Round {
    /// A round in which bytes are not what counts.
    pub(crate) fn of(figure: f64) -> Self {
        Self {
            figure,
            bytes: 0.0,
            cpu_seconds: 0.0,
        }
    }
}

/// Runs `once` for each name in each round, after one round that is not counted. Who begins changes
/// from round to round.
pub(crate) fn in_turn(
    rounds: usize,
    names: &[&str],
    row: &mut Row,
    mut once: impl FnMut(usize) -> Round,
) {
    let mut results: Vec<_> = names.iter().map(|name| Measured::new(name)).collect();
    let mut spent = vec![(0.0, 0.0); names.len()];
    for round in 0..=rounds {
        for turn in 0..names.len() {
            let index = (turn + round) % names.len();
            let done = once(index);
            if round > 0 {
                results[index].rounds.push(done.figure);
                spent[index].0 += done.cpu_seconds;
                spent[index].1 += done.bytes;
            }
        }
    }
    for (result, (seconds, bytes)) in results.iter_mut().zip(spent) {
        if bytes >= LEAST_CPU_BYTES {
            result.cpu_seconds_per_gb = Some(seconds * 1e9 / bytes);
        }
    }
    row.results = results;
}

/// The names of some servers.
pub(crate) fn names<'a>(peers: &[&'a Peer]) -> Vec<&'a str> {
    peers.iter().map(|peer| peer.name).collect()
}

/// Does `work` in as many threads as there are clients, and returns the seconds from the start of all
/// to the end of the last.
pub(crate) fn at_once(clients: usize, work: impl Fn(usize) + Sync) -> f64 {
    let start = Barrier::new(clients + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|client| {
                let (start, work) = (&start, &work);
                scope.spawn(move || {
                    start.wait();
                    work(client);
                })
            })
            .collect();
        start.wait();
        let started = Instant::now();
        for thread in threads {
            thread.join().expect("a client failed");
        }
        started.elapsed().as_secs_f64()
    })
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

impl Load {
    fn body(self, client: usize) -> Body {
        Body::new(self.bytes, client)
    }

    fn sums(self) -> Vec<String> {
        let clients = 0..self.clients;
        clients.map(|client| self.body(client).sha256()).collect()
    }

    /// Does `work` with a connection for each client, and takes the time of that alone.
    fn timed(self, peer: &Peer, work: impl Fn(usize, &mut Connection) + Sync) -> Round {
        let connections: Vec<_> = (0..self.clients)
            .map(|_| Mutex::new(peer.connect()))
            .collect();
        let cpu_before = peer.process.cpu_seconds();
        let seconds = at_once(self.clients, |client| {
            work(client, &mut connections[client].lock().unwrap());
        });
        let bytes = as_f64(self.bytes) * as_f64((self.clients * self.transfers) as u64);
        Round {
            figure: bytes / 1e6 / seconds,
            bytes,
            cpu_seconds: peer.process.cpu_seconds() - cpu_before,
        }
    }

    fn put_once(self, room: &Path, peer: &Peer, sums: &[String]) -> Round {
        let targets = peer.targets(self.clients * self.transfers);
        let targets: Vec<&[Target]> = targets.chunks(self.transfers).collect();
        settle(room);
        let done = self.timed(peer, |client, connection| {
            for target in targets[client] {
                peer.put(connection, target, &self.body(client), &sums[client]);
            }
        });
        // All answers were looked at; of what is stored, what each client uploaded last.
        let mut connection = peer.connect();
        for (client, targets) in targets.iter().enumerate() {
            connection.get(&targets[self.transfers - 1].get, &self.body(client));
        }
        peer.clear();
        done
    }

    /// Megabytes a second that each takes in.
    pub(crate) fn put(self, rounds: usize, room: &Path, peers: &[&Peer], row: &mut Row) {
        let sums = self.sums();
        in_turn(rounds, &names(peers), row, |index| {
            self.put_once(room, peers[index], &sums)
        });
    }

    /// Megabytes a second that each gives out.
    pub(crate) fn get(self, rounds: usize, room: &Path, peers: &[&Peer], row: &mut Row) {
        let sums = self.sums();
        let stored = |peer: &&Peer| {
            let targets = peer.targets(self.clients);
            let mut connection = peer.connect();
            for (client, target) in targets.iter().enumerate() {
                peer.put(&mut connection, target, &self.body(client), &sums[client]);
            }
            targets
        };
        let targets: Vec<_> = peers.iter().map(stored).collect();
        settle(room);
        in_turn(rounds, &names(peers), row, |index| {
            self.timed(peers[index], |client, connection| {
                for _ in 0..self.transfers {
                    connection.get(&targets[index][client].get, &self.body(client));
                }
            })
        });
        for peer in peers {
            peer.clear();
        }
    }
}
