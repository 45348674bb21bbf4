//! The commands, on a store in a bucket: tokens, sweeps, audits.

use waystation_testing::seaweedfs::SeaweedFs;
use waystation_testing::{Server, archive};

use crate::shared_store::SharedStore;

const MIB: usize = 1024 * 1024;

fn new_store() -> SharedStore {
    SharedStore::on(SeaweedFs::shared())
}

#[test]
fn a_token_made_or_revoked_by_the_command_is_known_to_every_server_at_once() {
    let store = new_store();
    let nodes = [
        Server::start(store.serve(&[])),
        Server::start(store.serve(&[])),
    ];
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
fn a_foreign_key_stops_a_sweep_and_an_audit_which_name_it() {
    let store = new_store();
    let folder = store.key_of(None) + "01900000-0000-8000-8000-000000000000";
    // As it stands in a URL: DEL is the last of the control characters.
    let key = format!("{folder}%7F");
    SeaweedFs::shared().put(&key, "");
    for command in ["sweep", "audit"] {
        let ended = store.run(&[command]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let named = format!("the key {:?}", format!("{folder}\u{7f}"));
        assert!(ended.stderr.contains(&named), "{ended:?}");
    }
    SeaweedFs::shared().delete(&key);
    for command in ["sweep", "audit"] {
        assert_eq!(store.run(&[command]).code, Some(0));
    }
}

#[test]
fn an_archive_with_a_hole_is_never_served_as_if_it_were_whole() {
    let store = new_store();
    let node = Server::start(store.serve(&[]));
    let bearer = store.create_bearer();
    let source = node.create_and_upload(&bearer, &archive(12 * MIB, 1));
    let keys = SeaweedFs::shared().keys(&store.key_of(Some(&source)));
    let mut parts = keys.iter().filter(|key| !key.ends_with("/record"));
    SeaweedFs::shared().delete(parts.next_back().unwrap());
    let reply = node.try_call("GET", &source.download_path(), &[], b"");
    assert!(reply.is_none_or(|reply| reply.status >= 500));
}
