//! Three servers under steady traffic while one is killed, all are started again with other keys, and
//! the engine goes away for a while.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::balance::Balance;
use crate::fleet::{Node, SharedStore, new_key};
use crate::traffic::{Failure, Traffic};
use waystation_testing::connection::{Connection, head};
use waystation_testing::engine::Engine;
use waystation_testing::{archive, eventually, eventually_within};

/// Rates have no place here: all clients are one user.
const FLAGS: [&str; 4] = ["--lifetime", "20s", "--rate-limit", "0"];
const CLIENTS: usize = 3;
/// How many hand-offs show that things go their way.
const ENOUGH: usize = 12;
/// How many requests have to be refused before the engine comes back.
const ENOUGH_REFUSED: usize = 8;
/// What is promised of a bucket: gone a minute after the expiry.
const DELETION: Duration = Duration::from_mins(1);

/// The nodes, and what they stand on.
struct Scene {
    engine: Engine,
    store: SharedStore,
    balance: Balance,
    bearer: String,
}

impl Scene {
    fn open() -> Self {
        let engine = Engine::start();
        let store = SharedStore::on(&engine);
        let nodes = (0..3).map(|_| Node::start(&store, &FLAGS));
        Self {
            balance: Balance::of(nodes.collect::<Vec<_>>()),
            bearer: store.create_bearer(),
            engine,
            store,
        }
    }

    /// Exchanges the API token for a JWT.
    fn exchange(&self) -> String {
        let (_, api_token) = self.bearer.rsplit_once(' ').unwrap();
        let basic = STANDARD.encode(format!(":{api_token}"));
        let basic = format!("Authorization: Basic {basic}");
        let node = self.balance.next();
        let reply = node.call("POST", "/v1/tokens/exchange", &[&basic]);
        let json = reply.json();
        format!("Authorization: Bearer {}", json["token"].as_str().unwrap())
    }
}

/// Waits until `traffic` has gone on for a while.
fn let_flow(traffic: &Traffic<'_>) {
    let before = traffic.hand_offs();
    eventually("archives are handed off", || {
        traffic.hand_offs() >= before + ENOUGH
    });
}

/// When something was not as usual.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: Instant,
    to: Instant,
}

/// The node that was killed, and since when it could not answer.
#[derive(Debug)]
struct Killed {
    node: SocketAddr,
    at: Instant,
}

/// Kills a node while it takes an upload in, and starts another.
fn kill_in_the_middle_of_uploads(scene: &Scene) -> Killed {
    let Scene { store, balance, .. } = scene;
    let archive = archive(5_000_000, 1);
    let source = balance.next().create_source(&scene.bearer);
    let node = balance.first();
    let length = format!("Content-Length: {}", archive.len());
    let mut connection = Connection::open(node.address);
    connection.send(head("PUT", &source.upload_path(), &[&length]));
    connection.send(&archive[..4_500_000]);
    eventually("some of it is in the bucket", || {
        !scene.engine.keys(&store.key_of(Some(&source))).is_empty()
    });

    let killed = Killed {
        node: node.address,
        at: Instant::now(),
    };
    balance.kill(&node);
    assert_eq!(connection.into_rest(), b"");
    assert_eq!(balance.next().download(&source).status, 404);
    assert_eq!(balance.next().upload(&source, &archive).status, 200);
    balance.add(Node::start(store, &FLAGS));
    assert!(balance.next().download(&source).body == archive);
    killed
}

/// Gives all nodes a new key, node by node: one that signs with it comes only when all know it.
fn rotate_keys(scene: &Scene, traffic: &Traffic<'_>) {
    let old = scene.store.keys();
    let new = new_key();
    for keys in [[old.as_str(), &new], [&new, old.as_str()]] {
        scene.store.write_keys(&keys);
        for node in scene.balance.addresses() {
            scene.balance.restart(node, &scene.store, &FLAGS);
            let_flow(traffic);
        }
    }
    scene.store.write_keys(&[&new]);
    assert_signed_with_the_only_key(scene);
}

/// What the nodes sign now is good for one that knows no other key than the last one written.
fn assert_signed_with_the_only_key(scene: &Scene) {
    let strict = Node::start(&scene.store, &FLAGS);
    let source = scene.balance.next().create_source(&scene.exchange());
    assert_eq!(strict.upload(&source, b"archive").status, 200);
    assert_eq!(strict.create_source(&scene.exchange()).id().len(), 36);
}

/// Takes the engine away until requests have been refused, and brings it back.
fn take_the_engine_away(engine: &Engine, traffic: &Traffic<'_>) -> Span {
    let from = Instant::now();
    engine.stop();
    eventually("requests are refused", || {
        traffic.failures(|failure| is_refused_for_now(failure) && failure.begun_at > from)
            >= ENOUGH_REFUSED
    });
    engine.resume();
    Span {
        from,
        to: Instant::now(),
    }
}

/// 503, and when to try again.
fn is_refused_for_now(failure: &Failure) -> bool {
    let reply = failure.reply.as_ref();
    reply.is_some_and(|reply| reply.status == 503 && reply.header("retry-after").is_some())
}

/// The only failures that may be: what was on its way on the node that was killed, and what was asked
/// while the engine was away.
fn is_accounted_for(failure: &Failure, killed: &Killed, away: Span) -> bool {
    let was_killed = failure.node == killed.node && failure.ended_at >= killed.at;
    let engine_was_away = failure.ended_at >= away.from && failure.begun_at <= away.to;
    // Its status had been sent already.
    let is_cut_download = failure.method == "GET" && failure.begun_at < away.from;
    match &failure.reply {
        None => was_killed || (engine_was_away && is_cut_download),
        Some(_) => engine_was_away && is_refused_for_now(failure),
    }
}

fn await_deletion(scene: &Scene, last_expiry: Timestamp) {
    let until_expiry = last_expiry.duration_since(Timestamp::now());
    let until_expiry = Duration::try_from(until_expiry).unwrap_or_default();
    let sources = scene.store.key_of(None);
    eventually_within(until_expiry + DELETION, "all is gone", || {
        scene.engine.keys(&sources).is_empty()
    });
    let audit = scene.store.run(&["audit"]);
    assert_eq!(audit.code, Some(0), "{audit:?}");
    assert!(audit.stdout.starts_with("0 archives are whole, 0 uploads"));
}

/// Ends the traffic also when a test fails, which otherwise would wait for it.
struct EndOnDrop<'a>(&'a Traffic<'a>);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// All that happens while the clients go on.
fn shake(scene: &Scene, traffic: &Traffic<'_>) -> (Killed, Span) {
    thread::scope(|scope| {
        let _end = EndOnDrop(traffic);
        scope.spawn(|| traffic.look_repeatedly());
        for _ in 0..CLIENTS {
            scope.spawn(|| traffic.hand_off_repeatedly());
        }
        let_flow(traffic);
        let killed = kill_in_the_middle_of_uploads(scene);
        let_flow(traffic);
        rotate_keys(scene, traffic);
        let_flow(traffic);
        let away = take_the_engine_away(&scene.engine, traffic);
        let_flow(traffic);
        (killed, away)
    })
}

#[test]
fn through_a_kill_new_keys_and_an_engine_that_goes_away_every_promise_is_kept() {
    let scene = Scene::open();
    let bearers = vec![scene.bearer.clone(), scene.exchange()];
    let traffic = Traffic::new(&scene.balance, bearers);
    let (killed, away) = shake(&scene, &traffic);
    assert!(traffic.look_for_the_last_time() > ENOUGH);
    await_deletion(&scene, traffic.last_expiry());

    let mut failures = traffic.into_failures();
    failures.retain(|failure| !is_accounted_for(failure, &killed, away));
    assert!(failures.is_empty(), "{killed:?} {away:?} {failures:#?}");
    scene.balance.stop();
}
