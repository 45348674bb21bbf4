//! What stops a start: a bucket, a key, or an endpoint that is wrong, and keys that are not given.

use std::net::TcpListener;
use std::process::Command;

use crate::engine::{BUCKET, Engine, SECRET_KEY};
use crate::fleet::SharedStore;
use crate::harness::program::{Program, run};

fn new_store() -> SharedStore {
    SharedStore::on(Engine::shared())
}

/// The program ends, and says why in words that a human can act on.
fn assert_stops(command: Command, told: &[&str]) {
    let ended = run(command);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "");
    for part in told {
        assert!(ended.stderr.contains(part), "{part}: {ended:?}");
    }
    assert!(!ended.stderr.contains(SECRET_KEY), "{ended:?}");
}

#[test]
fn a_bucket_that_is_not_there_stops_the_start_and_is_not_made() {
    let mut store = new_store();
    store.bucket = "not-the-bucket".to_owned();
    let told = [store.url().as_str(), "no such bucket", "--store"].map(str::to_owned);
    assert_stops(store.serve(&[]), &told.each_ref().map(String::as_str));
    assert!(!Engine::shared().has_bucket(&store.bucket));
    assert!(Engine::shared().has_bucket(BUCKET));
}

#[test]
fn credentials_that_are_wrong_stop_the_start() {
    let store = new_store();
    for variable in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        let mut command = store.serve(&[]);
        command.env(variable, "wrong");
        assert_stops(command, &[&store.url(), "the credentials are refused"]);
    }
}

#[test]
fn an_endpoint_where_nobody_answers_stops_the_start() {
    let mut store = new_store();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    store.endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let told = ["the engine cannot be reached", "--s3-endpoint"];
    assert_stops(store.serve(&[]), &told);
}

#[test]
fn without_keys_that_others_can_have_too_no_server_starts() {
    let store = new_store();
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    assert_stops(store.command(&serve), &["--key-file", "WAYSTATION_KEYS"]);

    let mut command = store.command(&serve);
    command.env("WAYSTATION_KEYS", store.keys());
    Program::start(command).await_line("listening on http://");
}
