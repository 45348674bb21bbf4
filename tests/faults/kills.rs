//! `kill -9` at any instant, under load, again and again on one store: what was promised is there and
//! whole, the rest is whole or absent, and nothing else is in the store.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use waystation_testing::clients::{Book, Load};
use waystation_testing::connection::{Connection, head};
use waystation_testing::dice::{Dice, Rounds};
use waystation_testing::program::Program;
use waystation_testing::store_folder::Store;
use waystation_testing::{Waystation, archive, eventually};

const KILLS: usize = 20;
const CLIENTS: usize = 4;
const MAX_ARCHIVE_BYTES: usize = 3 * 1024 * 1024;
/// Some expire while the servers are killed, so that sweeps are cut short as well.
const LIFETIMES: [&str; 3] = ["2s", "20s", "60s"];
/// The longest pause between a client's step and the kill, and of a start before it is killed.
const MAX_PAUSE_US: usize = 5_000;
const MAX_START_US: usize = 60_000;
/// How long after its expiry nothing may be left of an archive.
const DELETION_MS: i64 = 5_000;

fn flags(dice: &mut Dice) -> Vec<&'static str> {
    let lifetime = dice.pick(&LIFETIMES);
    // What a signal ends loses nothing with either.
    let sync = if dice.chance(25) { "off" } else { "on" };
    let rates = ["--rate-limit", "0", "--auth-failure-limit", "0"];
    [&["--lifetime", lifetime, "--sync", sync][..], &rates].concat()
}

fn pause(dice: &mut Dice, max_us: usize) {
    let us = u64::try_from(dice.below(max_us)).unwrap();
    thread::park_timeout(Duration::from_micros(us));
}

/// Kills a server while it starts.
fn kill_in_start(store: &Store, dice: &mut Dice) {
    let mut program = Program::start(store.serve(&flags(dice)));
    pause(dice, MAX_START_US);
    program.kill();
}

/// Kills a server while its clients are at work.
fn kill_under_load(server: Waystation, bearer: &str, book: &Book, dice: &mut Dice) -> Store {
    let load = Load::new(server.address, bearer, book, MAX_ARCHIVE_BYTES);
    let Waystation {
        store, mut server, ..
    } = server;
    let enough = 5 + dice.below(200);
    let mut pause_dice = dice.split();
    load.run_during(CLIENTS, dice, || {
        eventually("the clients have come so far", || load.steps() >= enough);
        pause(&mut pause_dice, MAX_PAUSE_US);
        load.end();
        server.program.kill();
    });
    store
}

/// All that has to hold on a server that was started after a kill.
fn check(server: &Waystation, bearer: &str, book: &Book, is_last: bool) {
    assert_eq!(server.store.staged_bytes(), None);
    let load = Load::new(server.address, bearer, book, 0);
    let entries = book.entries();
    // Those of long ago were looked at many times, and will be at the end.
    let from = if is_last {
        0
    } else {
        entries.len().saturating_sub(120)
    };
    let whole: usize = (from..entries.len())
        .map(|index| usize::from(load.look_at(index)))
        .sum();
    for token in book.tokens() {
        load.check_token(&token);
    }
    if is_last {
        println!("{whole} archives are served at the end");
    }
}

fn audit(store: &Store) {
    let audit = store.run(&["audit"]);
    assert_eq!(audit.code, Some(0), "{audit:?}");
}

/// No archive is in the store but those that clients sent, and none that expired a while ago.
fn assert_nothing_else_stored(store: &Store, book: &Book) {
    let entries = book.entries();
    let known: HashSet<_> = entries.iter().map(|entry| entry.source.id()).collect();
    for path in store.archives() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(known.contains(name), "{}", path.display());
    }
    let now = jiff::Timestamp::now().as_millisecond();
    eventually("what expired is deleted", || {
        let archives = store.archives();
        !entries.iter().any(|entry| {
            let is_over = entry.source.expires_at().as_millisecond() + DELETION_MS < now;
            is_over
                && archives
                    .iter()
                    .any(|path| path.ends_with(entry.source.id()))
        })
    });
}

#[test]
fn a_server_killed_at_any_instant_keeps_every_promise_and_nothing_else() {
    let mut dice = Dice::new("kills");
    let mut store = Waystation::start(&[]).kill();
    let bearer = format!("Authorization: Bearer {}", store.create_token("a test"));
    let book = Book::default();
    let rounds = Rounds::new(KILLS);
    let (mut kills, mut in_starts) = (0, 0);
    for round in rounds {
        if dice.chance(20) {
            kill_in_start(&store, &mut dice);
            in_starts += 1;
        } else {
            let server = Waystation::start_on(store, &flags(&mut dice));
            check(&server, &bearer, &book, false);
            store = kill_under_load(server, &bearer, &book, &mut dice);
        }
        kills += 1;
        if round % 5 == 0 {
            audit(&store);
        }
    }
    let server = Waystation::start_on(store, &flags(&mut dice));
    check(&server, &bearer, &book, true);
    assert_nothing_else_stored(&server.store, &book);
    audit(&server.store);
    println!(
        "soak: {kills} kills, {in_starts} of them in starts; {} sources, {} promised, {} tokens",
        book.entries().len(),
        book.promised(),
        book.tokens().len()
    );
}

#[test]
fn an_upload_that_a_crash_cut_short_leaves_nothing_and_can_be_sent_again() {
    let server = Waystation::start(&[]);
    let source = server.create_source();
    let archive = archive(1_000_000, 1);
    let mut connection = Connection::open(server.address);
    let length = format!("Content-Length: {}", archive.len());
    connection.send(head("PUT", &source.upload_path(), &[&length]));
    connection.send(&archive[..900_000]);
    eventually("bytes are in the stage", || {
        server.store.staged_bytes() > Some(0)
    });

    let store = server.kill();
    assert!(store.staged_bytes() > Some(0), "the crash came too late");
    let server = Waystation::start_on(store, &[]);
    server.store.assert_nothing_stored();
    server.program.await_line("leftovers=1");
    assert_eq!(server.download(&source).status, 404);
    assert_eq!(server.upload(&source, &archive).status, 200);
    assert!(server.download(&source).body == archive);
}
