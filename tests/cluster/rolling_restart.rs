//! Three servers under steady traffic, started again one after the other with other keys: no client notices.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use waystation_testing::clients::{Book, Load};
use waystation_testing::dice::Dice;
use waystation_testing::seaweedfs::SeaweedFs;
use waystation_testing::{Server, eventually};

use crate::shared_store::{SharedStore, new_key};

/// Rates have no place here: all clients are one user.
const FLAGS: [&str; 4] = ["--rate-limit", "0", "--auth-failure-limit", "0"];
const NODES: usize = 3;
const CLIENTS: usize = 3;
/// Several parts.
const MAX_ARCHIVE_BYTES: usize = 3 * 1024 * 1024;
/// How many uploads show that things go their way.
const ENOUGH: usize = 6;

/// Exchanges an API token for a JWT.
fn exchange(node: &Server, bearer: &str) -> String {
    let (_, api_token) = bearer.rsplit_once(' ').unwrap();
    let basic = STANDARD.encode(format!(":{api_token}"));
    let basic = format!("Authorization: Basic {basic}");
    let json = node.call("POST", "/v1/tokens/exchange", &[&basic]).json();
    format!("Authorization: Bearer {}", json["token"].as_str().unwrap())
}

#[test]
fn nodes_get_a_new_key_one_by_one_and_no_client_notices() {
    let store = SharedStore::on(SeaweedFs::shared());
    let mut nodes: Vec<_> = (0..NODES)
        .map(|_| Server::start(store.serve(&FLAGS)))
        .collect();
    let bearer = store.create_bearer();
    let old_jwt = exchange(&nodes[0], &bearer);
    let book = Book::default();
    let load = Load::new(nodes[0].address, &bearer, &book, MAX_ARCHIVE_BYTES);
    for node in &nodes[1..] {
        load.add(node.address);
    }
    let (old, new) = (store.keys(), new_key());
    load.run_during(CLIENTS, &mut Dice::new("a rolling restart"), || {
        // One that signs with the new key comes only when all know it.
        for keys in [[old.as_str(), &new], [&new, old.as_str()]] {
            store.write_keys(&keys);
            for _ in 0..NODES {
                // As an operator does: it is stopped once nobody asks it any more.
                load.take_out_first();
                nodes.remove(0).stop();
                nodes.push(Server::start(store.serve(&FLAGS)));
                load.add(nodes[NODES - 1].address);
                let before = book.promised();
                eventually("archives are uploaded", || {
                    book.promised() >= before + ENOUGH
                });
            }
        }
    });
    for index in 0..book.entries().len() {
        load.look_at(index);
    }
    assert_eq!(
        nodes[0].call("GET", "/v1/users/self", &[&old_jwt]).status,
        200
    );

    // What the nodes sign now is good for one that knows no other key.
    store.write_keys(&[&new]);
    let strict = Server::start(store.serve(&FLAGS));
    let jwt = exchange(&nodes[0], &bearer);
    let source = nodes[0].create_source(&jwt);
    assert_eq!(strict.upload(&source, b"an archive").status, 200);
    strict.create_source(&jwt);
    assert_eq!(
        strict.call("GET", "/v1/users/self", &[&old_jwt]).status,
        401
    );
    for node in nodes {
        assert!(!node.program.stderr().contains("a panic"));
        node.stop();
    }
}
