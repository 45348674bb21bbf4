//! A node on a bucket beside the object store itself, on links of its own that are signed beforehand: the same bytes by the
//! same client, with one and the same object store behind both.

use crate::body::Body;
use crate::hand_off;
use crate::memory;
use crate::peer::{Peer, Places};
use crate::report::{Bar, Row};
use crate::transfers::Load;
use crate::{BEFORE, KIB, MIB, NOT_SLOWER, at_least, load};

const ITSELF: &str = "SeaweedFS";
const NODE: &str = "waystation";
/// What is in front of it as a node is, and does nothing but pass on: no bar, but what one can be held against.
const PROXY: &str = "nginx, bare proxy";

/// Sizes, how many clients move them, how often each does in a round, and what of the object store's is asked.
type Loads = &'static [(&'static str, Load, f64)];

const UPLOADS: Loads = &[
    ("64 KiB", load(64 * KIB, 1, 64), 0.8),
    ("1 MiB", load(MIB, 1, 24), 0.8),
    ("16 MiB", load(16 * MIB, 1, 3), 1.0),
    ("64 MiB", load(64 * MIB, 1, 1), 1.0),
    ("256 MiB", load(256 * MIB, 1, 1), 1.0),
    ("16 MiB, 16 clients", load(16 * MIB, 16, 1), 1.0),
];

const DOWNLOADS: Loads = &[
    ("64 KiB", load(64 * KIB, 1, 512), 0.8),
    ("1 MiB", load(MIB, 1, 128), 0.9),
    ("16 MiB", load(16 * MIB, 1, 16), 0.9),
    ("64 MiB", load(64 * MIB, 1, 4), 0.9),
    ("256 MiB", load(256 * MIB, 1, 2), 0.9),
    ("16 MiB, 16 clients", load(16 * MIB, 16, 2), 0.9),
];

/// The same with so much added to each round trip between node and object store, or client and object store.
const ADDED_MS: &str = "30";

const FAR: Loads = &[
    ("64 KiB", load(64 * KIB, 1, 8), 0.8),
    ("1 MiB", load(MIB, 1, 8), 0.8),
    ("16 MiB", load(16 * MIB, 1, 4), 0.9),
    ("64 MiB", load(64 * MIB, 1, 1), 0.9),
    ("256 MiB", load(256 * MIB, 1, 1), 0.9),
];

/// Archives whose requests are counted, and how many there may be of each kind.
const COUNTED: [(&str, u64, f64); 4] = [
    ("64 KiB", 64 * KIB, 1.0),
    ("1 MiB", MIB, 1.0),
    ("10 MiB", 10 * MIB, 15.0),
    ("100 MiB", 100 * MIB, 15.0),
];

/// A node, another build of ours if there is one, and the object store, reached on the same way.
struct Side {
    node: Peer,
    before: Option<Peer>,
    proxy: Peer,
    itself: Peer,
}

impl Side {
    fn on(places: &Places, itself: Peer) -> Self {
        let node = Peer::node(places, NODE, &itself);
        let before = places.before.clone().map(|waystation| {
            let places = Places {
                waystation,
                ..places.clone()
            };
            Peer::node(&places, BEFORE, &itself)
        });
        Self {
            node,
            before,
            proxy: Peer::bare_proxy(places, PROXY, &itself),
            itself,
        }
    }

    fn peers(&self) -> Vec<&Peer> {
        let before = self.before.iter();
        [&self.node]
            .into_iter()
            .chain(before)
            .chain([&self.proxy, &self.itself])
            .collect()
    }

    fn rows(
        &self,
        places: &Places,
        rounds: usize,
        way: &str,
        loads: [Loads; 2],
        wants: &dyn Fn(&str) -> bool,
        done: &mut dyn FnMut(Row),
    ) {
        for (method, loads) in ["PUT", "GET"].into_iter().zip(loads) {
            for (size, load, times) in loads {
                let id = format!("bucket {} {size}{way}", method.to_lowercase());
                if !wants(&id) {
                    continue;
                }
                let mut row = Row::new(&id, &format!("{method} {size}{way}"), "MB/s");
                row.bars = vec![at_least(NODE, *times, ITSELF), NOT_SLOWER];
                let measure = if method == "PUT" {
                    Load::put
                } else {
                    Load::get
                };
                measure(*load, rounds, &places.room, &self.peers(), &mut row);
                done(row);
            }
        }
    }
}

pub(crate) fn measure(
    places: &Places,
    rounds: usize,
    wants: &dyn Fn(&str) -> bool,
    done: &mut dyn FnMut(Row),
) {
    let near = Side::on(places, Peer::seaweedfs(places));
    near.rows(places, rounds, "", [UPLOADS, DOWNLOADS], wants, done);
    if wants("bucket hand-off") {
        let title = "Hand-off of 64 KiB (create, PUT, GET), 16 clients";
        let mut row = Row::new("bucket hand-off", title, "hand-offs/s");
        row.bars = vec![at_least(NODE, 0.8, ITSELF), NOT_SLOWER];
        hand_off::measure(rounds, &places.room, &near.peers(), &mut row);
        done(row);
    }
    for (size, bytes, most) in COUNTED {
        if wants(&format!("bucket requests {size}")) {
            count(&near.node, size, bytes, most)
                .into_iter()
                .for_each(&mut *done);
        }
    }
    if wants("bucket far") {
        let far = Side::on(places, Peer::delayed(places, &near.itself, ADDED_MS));
        let way = format!(", {ADDED_MS} ms away");
        far.rows(places, rounds, &way, [FAR, FAR], &|_| true, done);
    }
    if wants("bucket memory") {
        let node = || Peer::node(places, "waystation for memory", &near.itself);
        memory::on_bucket(node).into_iter().for_each(done);
    }
}

/// How many requests the node makes for an upload and for a download, by what it counts itself.
fn count(node: &Peer, size: &str, bytes: u64, most: f64) -> Vec<Row> {
    let body = Body::new(bytes, 0);
    let target = node.targets(1).remove(0);
    let mut connection = node.connect();
    let row = |method: &str, work: &mut dyn FnMut()| {
        let before = requests(node);
        work();
        let after = requests(node);
        let id = format!("bucket requests {method} {size}");
        let title = format!("Requests to the object store for one {method} of {size}");
        let mut row = Row::new(&id, &title, "requests");
        for (kind, count) in ["put", "get"].into_iter().zip(0..) {
            row.add(kind, after[count] - before[count]);
            row.bars.push(Bar::AtMost {
                of: kind.to_owned(),
                value: most,
            });
        }
        row
    };
    let put = row("PUT", &mut || {
        node.put(&mut connection, &target, &body, &body.sha256());
    });
    let mut connection = node.connect();
    let get = row("GET", &mut || connection.get(&target.get, &body));
    vec![put, get]
}

/// The requests of each kind that were answered so far: to put, and to get.
fn requests(node: &Peer) -> [f64; 2] {
    let metrics = node.metrics();
    ["put", "get"].map(|kind| {
        let start = format!("waystation_object_store_requests_total{{kind=\"{kind}\"");
        let lines = metrics.lines().filter(|line| line.starts_with(&start));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    })
}
