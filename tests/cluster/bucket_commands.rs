//! The commands, on a store in a bucket: tokens, sweeps, audits.

use crate::fleet::{Node, SharedStore};
use waystation_testing::archive;
use waystation_testing::engine::Engine;

const MIB: usize = 1024 * 1024;

fn new_store() -> SharedStore {
    SharedStore::on(Engine::shared())
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
fn an_archive_with_a_hole_is_never_served_as_if_it_were_whole() {
    let store = new_store();
    let node = Node::start(&store, &[]);
    let bearer = store.create_bearer();
    let source = node.create_and_upload(&bearer, &archive(5 * MIB, 1));
    let keys = Engine::shared().keys(&store.key_of(Some(&source)));
    let mut parts = keys.iter().filter(|key| !key.ends_with("/record"));
    Engine::shared().delete(parts.next_back().unwrap());
    let reply = node.try_call("GET", &source.download_path(), &[], b"");
    assert!(reply.is_none_or(|reply| reply.status >= 500));
}
