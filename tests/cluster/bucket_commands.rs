//! The commands, on a store in a bucket: tokens, sweeps, audits.

use jiff::{SignedDuration, Timestamp};

use crate::fleet::{Node, SharedStore};
use waystation_testing::connection::{Connection, head};
use waystation_testing::engine::Engine;
use waystation_testing::{PATIENCE, Source, archive, eventually, eventually_within};

const MIB: usize = 1024 * 1024;

fn new_store() -> SharedStore {
    SharedStore::on(Engine::shared())
}

fn keys_of(store: &SharedStore, source: &Source) -> Vec<String> {
    Engine::shared().keys(&store.key_of(Some(source)))
}

/// Begins an upload that will never end, and waits until some of it is in the bucket.
fn begin_upload(store: &SharedStore, node: &Node, source: &Source) -> Connection {
    let length = format!("Content-Length: {}", 8 * MIB);
    let mut connection = Connection::open(node.address);
    connection.send(head("PUT", &source.upload_path(), &[&length]));
    connection.send(archive(6 * MIB, 1));
    eventually("parts are in the bucket", || {
        !keys_of(store, source).is_empty()
    });
    connection
}

#[test]
fn a_token_made_or_revoked_by_the_command_is_known_to_every_server_at_once() {
    let store = new_store();
    let nodes = [Node::start(&store, &[]), Node::start(&store, &[])];
    let bearer = store.create_bearer();
    for node in &nodes {
        assert_eq!(node.call("GET", "/v1/users/self", &[&bearer]).status, 200);
    }
    let listed = store.run(&["token", "list"]).stdout;
    let line = listed.lines().find(|line| line.contains("a test")).unwrap();
    let id = line.split_whitespace().next().unwrap();
    assert_eq!(store.run(&["token", "revoke", id]).code, Some(0));
    for node in &nodes {
        assert_eq!(node.call("GET", "/v1/users/self", &[&bearer]).status, 401);
    }
}

#[test]
fn a_sweep_by_the_command_deletes_what_killed_servers_left_and_says_so() {
    let store = new_store();
    let mut node = Node::start(&store, &["--lifetime", "10s"]);
    let bearer = store.create_bearer();
    let whole = node.create_and_upload(&bearer, &archive(3 * MIB, 1));
    let broken = node.create_source(&bearer);
    let _upload = begin_upload(&store, &node, &broken);
    node.program.kill();

    let early = store.run(&["sweep"]).stdout;
    assert!(early.contains("deleted 0 expired sources"), "{early}");
    let left_alone = SignedDuration::from_secs(21);
    eventually_within(
        PATIENCE * 2,
        "they have been left alone for a while",
        || broken.expires_at() + left_alone < Timestamp::now(),
    );
    let swept = store.run(&["sweep"]);
    assert_eq!(swept.code, Some(0), "{swept:?}");
    let told = "deleted 1 expired sources and 1 broken uploads, 0 deletions failed";
    assert!(swept.stdout.contains(told), "{swept:?}");
    assert_eq!(keys_of(&store, &whole), [] as [&str; 0]);
    assert_eq!(keys_of(&store, &broken), [] as [&str; 0]);
}

#[test]
fn foreign_keys_that_are_no_paths_keep_nothing_from_being_deleted_and_are_told() {
    let store = new_store();
    let sources = store.key_of(None);
    let source = |number| format!("{sources}01900000-000{number}-8000-8000-000000000000");
    for number in 1..=2 {
        Engine::shared().put(&format!("{}/record", source(number)), "{}");
    }
    // As they stand in a URL: DEL is the last of the control characters.
    let foreign = [source(0), source(1), format!("{sources}zz")].map(|folder| folder + "%7F");
    for key in &foreign {
        Engine::shared().put(key, "");
    }
    let swept = store.run(&["sweep"]);
    let told = "deleted 2 expired sources and 0 broken uploads, 0 deletions failed";
    assert!(swept.stdout.contains(told), "{swept:?}");
    assert_eq!(Engine::shared().keys(&sources).len(), 3);
    let audit = store.run(&["audit"]);
    for key in foreign {
        let told = format!("{:?} is nothing", key.replace("%7F", "\u{7f}"));
        assert!(audit.stdout.contains(&told), "{audit:?}");
    }
}

#[test]
fn an_audit_by_the_command_tells_a_sound_store_from_one_with_a_hole() {
    let store = new_store();
    let node = Node::start(&store, &[]);
    let bearer = store.create_bearer();
    let first = node.create_and_upload(&bearer, &archive(5 * MIB, 1));
    let second = node.create_and_upload(&bearer, &archive(10, 2));
    let sound = store.run(&["audit"]);
    assert_eq!(sound.code, Some(0), "{sound:?}");
    assert!(sound.stdout.contains("2 archives are whole"), "{sound:?}");

    let keys = keys_of(&store, &first);
    let part = keys.iter().find(|key| !key.ends_with("/record")).unwrap();
    Engine::shared().delete(part);
    let holed = store.run(&["audit"]);
    assert_eq!(holed.code, Some(1), "{holed:?}");
    assert!(holed.stdout.contains("1 archives are whole"), "{holed:?}");
    assert!(holed.stdout.contains(&first.id()), "{holed:?}");
    assert!(!holed.stdout.contains(&second.id()), "{holed:?}");
}

#[test]
fn an_archive_with_a_hole_is_never_served_as_if_it_were_whole() {
    let store = new_store();
    let node = Node::start(&store, &[]);
    let bearer = store.create_bearer();
    let source = node.create_and_upload(&bearer, &archive(5 * MIB, 1));
    let keys = keys_of(&store, &source);
    let mut parts = keys.iter().filter(|key| !key.ends_with("/record"));
    Engine::shared().delete(parts.next_back().unwrap());
    let reply = node.try_call("GET", &source.download_path(), &[], b"");
    assert!(reply.is_none_or(|reply| reply.status >= 500));
}
