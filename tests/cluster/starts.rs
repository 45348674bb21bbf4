//! What stops a start: a bucket, a key, or an endpoint that is wrong, and keys that are not given.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use jiff::SignedDuration;

use waystation_testing::program::{Program, run};
use waystation_testing::seaweedfs::{BUCKET, SECRET_KEY, SeaweedFs};
use waystation_testing::store_folder::api_token_in;
use waystation_testing::wall_clock::WallClock;
use waystation_testing::{Server, Waystation};

use crate::shared_store::SharedStore;

fn new_store() -> SharedStore {
    SharedStore::on(SeaweedFs::shared())
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
    assert!(!SeaweedFs::shared().has_bucket(&store.bucket));
    assert!(SeaweedFs::shared().has_bucket(BUCKET));
}

#[test]
fn a_command_does_not_make_a_bucket_that_was_given_by_mistake() {
    let mut store = new_store();
    store.bucket = "nor-this-one".to_owned();
    let url = store.url();
    for arguments in [
        &["token", "create", "a token"][..],
        &["token", "list"],
        &["token", "revoke", "0123456789abcdef01234567"],
        &["user", "add", "somebody"],
        &["user", "list"],
        &["sweep"],
        &["audit"],
    ] {
        let told = [url.as_str(), "no such bucket", "--store"];
        assert_stops(store.command(arguments), &told);
    }
    assert!(!SeaweedFs::shared().has_bucket(&store.bucket));
}

#[test]
fn an_endpoint_that_is_no_object_store_is_named() {
    let mut store = new_store();
    let other = Waystation::start(&[]);
    store.endpoint = other.url("");
    let told = [store.endpoint.as_str(), "--s3-endpoint"].map(str::to_owned);
    let told = told.each_ref().map(String::as_str);
    assert_stops(store.serve(&[]), &told);
    assert_stops(store.command(&["token", "create", "a token"]), &told);
}

#[test]
fn the_endpoint_that_is_given_is_the_one_that_is_asked() {
    let store = new_store();
    for variable in ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        let mut command = store.command(&["token", "list"]);
        command.env(variable, "http://127.0.0.1:1");
        let ended = run(command);
        assert_eq!(ended.code, Some(0), "{variable}: {ended:?}");
    }
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
fn a_clock_that_is_wrong_is_not_taken_for_wrong_credentials() {
    let store = new_store();
    let clock = WallClock::new();
    for off in [1, -1].map(SignedDuration::from_hours) {
        clock.run_off_by(off);
        let told = [&store.url(), "the clock of this machine is wrong"];
        assert_stops(clock.rule(store.serve(&[])), &told);
        assert_stops(clock.rule(store.command(&["sweep"])), &told);
    }
}

#[test]
fn an_endpoint_where_nobody_answers_stops_the_start() {
    let mut store = new_store();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    store.endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let told = ["the object store cannot be reached", "--s3-endpoint"];
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

#[test]
fn a_first_start_on_a_bucket_leaves_its_token_in_the_folder_it_is_started_in() {
    let store = new_store();
    let node = Server::start(store.serve(&[]));
    let file = store.file("waystation-first-token");
    node.program.await_line(file.to_str().unwrap());
    let token = api_token_in(&fs::read_to_string(file).unwrap());
    node.create_source(&format!("Authorization: Bearer {token}"));
}
