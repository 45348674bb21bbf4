//! `kill -9` at any instant, under load, again and again on one store in a bucket: what was promised is
//! there and whole, whichever server is asked, and nothing is served in part.

use std::thread;
use std::time::Duration;

use waystation_testing::clients::{Book, Load};
use waystation_testing::dice::{Dice, Rounds};
use waystation_testing::seaweedfs::SeaweedFs;
use waystation_testing::{Server, eventually};

use crate::shared_store::SharedStore;

const KILLS: usize = 4;
const CLIENTS: usize = 3;
/// Several parts.
const MAX_ARCHIVE_BYTES: usize = 3 * 1024 * 1024;
const MAX_PAUSE_US: usize = 20_000;
const FLAGS: [&str; 6] = [
    "--rate-limit",
    "0",
    "--auth-failure-limit",
    "0",
    "--lifetime",
    "5m",
];

/// Kills a server while its clients are at work.
fn kill_under_load(mut node: Server, bearer: &str, book: &Book, dice: &mut Dice) {
    let load = Load::new(node.address, bearer, book, MAX_ARCHIVE_BYTES);
    let enough = 5 + dice.below(60);
    let us = u64::try_from(dice.below(MAX_PAUSE_US)).unwrap();
    load.run_during(CLIENTS, dice, || {
        eventually("the clients have come so far", || load.steps() >= enough);
        thread::park_timeout(Duration::from_micros(us));
        load.end();
        node.program.kill();
    });
}

/// All that has to hold on the server that takes over.
fn check(node: &Server, bearer: &str, book: &Book, from: usize) -> usize {
    let load = Load::new(node.address, bearer, book, 0);
    let whole = (from..book.entries().len()).filter(|index| load.look_at(*index));
    let whole = whole.count();
    for token in book.tokens() {
        load.check_token(&token);
    }
    whole
}

#[test]
fn a_server_on_a_bucket_killed_at_any_instant_keeps_every_promise() {
    let mut dice = Dice::new("kills on a bucket");
    let store = SharedStore::on(SeaweedFs::shared());
    let bearer = store.create_bearer();
    let book = Book::default();
    let mut kills = 0;
    for _ in Rounds::new(KILLS) {
        let node = Server::start(store.serve(&FLAGS));
        check(
            &node,
            &bearer,
            &book,
            book.entries().len().saturating_sub(60),
        );
        kill_under_load(node, &bearer, &book, &mut dice);
        kills += 1;
    }
    let node = Server::start(store.serve(&FLAGS));
    let whole = check(&node, &bearer, &book, 0);
    let audit = store.run(&["audit"]);
    assert_eq!(audit.code, Some(0), "{audit:?}");
    println!(
        "soak: {kills} kills on a bucket; {} sources, {} promised, {whole} served at the end, {} tokens",
        book.entries().len(),
        book.promised(),
        book.tokens().len()
    );
    node.stop();
}
