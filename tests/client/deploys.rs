//! Deploying, and what belongs to it, by the client's commands.

use std::cell::Cell;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use waystation_testing::store_folder::Store;
use waystation_testing::{Waystation, eventually};

use crate::scripted_host::{Asked, host, reply};
use crate::user::User;

/// A server that runs a script on each deployment.
fn serving(script: &str) -> (Waystation, User) {
    let store = Store::new();
    let path = store.write_file("deploy", format!("#!/bin/sh\n{script}\n").as_bytes());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let work_dir = store.room().join("work");
    let flags = [
        "--deploy",
        &path,
        "--work-dir",
        work_dir.to_str().unwrap(),
        "--rate-limit",
        "0",
    ];
    let server = Waystation::start_on(store, &flags);
    let user = User::of(&server);
    user.write("app/index.html", "hello");
    (server, user)
}

#[test]
fn a_deployment_is_followed_to_its_end_and_its_id_is_the_result() {
    let (_server, user) = serving("echo building $SOURCE_VERSION; cat index.html");
    let missing = user.failed(&["deploy", "my-shop", "app"], 1);
    assert!(missing.contains("404"), "{missing}");
    let deployed = user.run(&["deploy", "my-shop", "app", "--create", "--ref", "v7"]);
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    let id = deployed.stdout.trim_end();
    for part in [
        "created the app my-shop",
        "building v7\n",
        "the deployment is success",
    ] {
        assert!(deployed.stderr.contains(part), "{deployed:?}");
    }
    assert!(!deployed.stderr.contains("token="), "{deployed:?}");
    let listed = user.done(&["deployment", "list", "my-shop"]);
    assert!(
        listed.starts_with(&format!("{id}\tsuccess\tv7\t")),
        "{listed}"
    );
    let shown = user.done(&["deployment", "show", "my-shop", id]);
    assert!(shown.contains("status\tsuccess\n"), "{shown}");
    let log = user.done(&["deployment", "log", "my-shop", id]);
    assert!(log.contains("building v7\nhello"), "{log}");
    let followed = user.done(&["deployment", "follow", "my-shop", id]);
    assert_eq!(followed, log);
    let cancelled = user.done(&["deployment", "cancel", "my-shop", id]);
    assert_eq!(cancelled, format!("{id} is success"));
}

#[test]
fn a_deployment_that_fails_has_an_exit_code_of_its_own() {
    let (_server, user) = serving("echo no way; exit 9");
    let failed = user.run(&["deploy", "my-shop", "app", "--create", "--json"]);
    assert_eq!(failed.code, Some(3), "{failed:?}");
    let lines: Vec<_> = failed.stdout.lines().collect();
    let json: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(lines.len(), 1, "{failed:?}");
    assert_eq!(json["deployment"]["status"], "build-error");
    assert!(failed.stderr.contains("no way"), "{failed:?}");
    let id = json["deployment"]["id"].as_str().unwrap();
    assert_eq!(
        user.run(&["deployment", "follow", "my-shop", id]).code,
        Some(3)
    );
}

#[test]
fn a_deployment_may_go_on_alone_and_may_be_of_a_link() {
    let (_server, user) = serving("true");
    let link = user.done(&["push", "app"]);
    let id = user.done(&["deploy", "my-shop", &link, "--create", "--detach"]);
    let followed = user.run(&["deployment", "follow", "my-shop", &id]);
    assert_eq!(followed.code, Some(0), "{followed:?}");
}

#[test]
fn apps_and_variables_are_made_changed_and_removed() {
    let server = Waystation::start(&[]);
    let user = User::of(&server);
    assert_eq!(user.done(&["app", "create", "my-shop"]), "my-shop");
    let taken = user.failed(&["app", "create", "my-shop"], 1);
    assert!(taken.contains("422"), "{taken}");
    assert!(
        user.done(&["app", "list"])
            .contains("\tmy-shop\tadmin\tnew\t")
    );
    assert_eq!(
        user.json(&["app", "show", "my-shop"])["app"]["name"],
        "my-shop"
    );

    user.write("vars", "# of the shop\nB=two\nC=a=b\n");
    user.done(&["env", "set", "my-shop", "A=one", "--from-file", "vars"]);
    assert_eq!(
        user.done(&["env", "list", "my-shop"]),
        "A=one\nB=two\nC=a=b"
    );
    user.done(&["env", "unset", "my-shop", "A", "C"]);
    assert_eq!(user.done(&["env", "list", "my-shop", "--names"]), "B");
    let unknown = user.failed(&["env", "unset", "my-shop", "X"], 1);
    assert!(unknown.contains('X'), "{unknown}");
    let none = user.failed(&["env", "set", "my-shop", "A"], 2);
    assert!(none.contains("NAME=value"), "{none}");

    let other = user.failed(&["app", "show", "../users"], 1);
    assert!(other.contains("404"), "{other}");
    user.done(&["app", "delete", "my-shop"]);
    assert_eq!(user.done(&["app", "list"]), "");
}

#[test]
fn a_failure_is_one_json_object_too() {
    let server = Waystation::start(&[]);
    let user = User::of(&server);
    let failed = user.run(&["app", "show", "my-shop", "--json"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let json: serde_json::Value = serde_json::from_str(&failed.stdout).unwrap();
    assert!(json["error"].as_str().unwrap().contains("404"), "{json}");
}

/// The JSON of a deployment.
fn deployment(status: &str) -> String {
    let deployment = json!({
        "id": "de-1", "app_id": "ap-1", "created_at": "2026-01-01T00:00:00.000Z", "started_at": null,
        "finished_at": null, "status": status, "reason": null, "git_ref": null, "type": "archive", "duration": 0,
        "image_size": 0, "pusher": {"id": "us-1", "username": "admin", "email": ""},
        "source": {"sha256": null, "size": null, "host": null},
        "links": {"output": "http://x/output", "deployments_stream": "ws://x/stream"},
    });
    json!({"deployment": deployment}).to_string()
}

/// What is asked for of a log, from a byte on.
fn reply_range(asked: &Asked, log: &[u8]) -> Vec<u8> {
    match asked.header("range").strip_prefix("bytes=") {
        Some(from) => reply(
            206,
            &log[from.trim_end_matches('-').parse::<usize>().unwrap()..],
        ),
        None => reply(200, log),
    }
}

/// What a proxy that knows no WebSocket lets through.
#[test]
fn a_log_is_seen_as_it_grows_without_a_stream() {
    // What is there at first, and all of it.
    let (begun, whole) = ("one\ntw", "one\ntwo\nthree");
    let (looks, has_been_read) = (Cell::new(0), Cell::new(false));
    let (api, asked) = host(move |asked| {
        let line = &asked.line;
        if line.contains("exchange") {
            return reply(200, r#"{"token":"a.jwt.x"}"#);
        }
        if line.contains("/stream") {
            return reply(400, "{}");
        }
        if line.contains("/output") {
            let log = if has_been_read.replace(true) {
                whole
            } else {
                begun
            };
            return reply_range(asked, log.as_bytes());
        }
        looks.set(looks.get() + 1);
        // It ends in any case, so that the test does.
        let is_over = has_been_read.get() || looks.get() > 5;
        reply(
            200,
            deployment(if is_over { "success" } else { "building" }),
        )
    });
    let log = User::at(&api).done(&["deployment", "follow", "my-shop", "de-1"]);
    assert_eq!(log, whole);
    let asked = asked.lock().unwrap();
    let ranges = asked.iter().filter(|asked| asked.line.contains("/output"));
    let ranges: Vec<_> = ranges.map(|asked| asked.header("range")).collect();
    assert_eq!(ranges, ["", "bytes=4-"]);
}

/// A stream that brings this of a log, and breaks.
fn stream_with(content: &str) -> Vec<u8> {
    let frame = json!({"type": "log", "id": "de-1", "data": {"content": content}}).to_string();
    // Of text, and short: RFC 6455, section 5.2.
    let length = u8::try_from(frame.len())
        .ok()
        .filter(|length| *length < 126);
    let head = "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    [head.as_bytes(), &[0x81, length.unwrap()], frame.as_bytes()].concat()
}

#[test]
fn a_log_that_is_not_utf_8_goes_on_where_its_stream_broke() {
    let log = b"caf\xe9\nthe \xff\xff end\n";
    for knows_ranges in [true, false] {
        let streams = Cell::new(0);
        let (api, _) = host(move |asked| {
            let line = &asked.line;
            if line.contains("exchange") {
                return reply(200, r#"{"token":"a.jwt.x"}"#);
            }
            if line.contains("/stream") {
                streams.set(streams.get() + 1);
                // The second one tells it from the beginning, and a little more.
                return stream_with(match streams.get() {
                    1 => "caf\u{fffd}\n",
                    _ => "caf\u{fffd}\nthe \u{fffd}",
                });
            }
            if line.contains("/output") && knows_ranges {
                return reply_range(asked, log);
            }
            if line.contains("/output") {
                return reply(200, log);
            }
            let is_over = streams.get() == 2;
            reply(
                200,
                deployment(if is_over { "success" } else { "building" }),
            )
        });
        let followed = User::at(&api).done(&["deployment", "follow", "my-shop", "de-1"]);
        assert_eq!(followed, "caf\u{fffd}\nthe \u{fffd}\u{fffd} end");
    }
}

/// Has `whole` all that `part` has?
#[track_caller]
fn assert_within(part: &Value, whole: &Value) {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            for (name, part) in part {
                assert_within(part, whole.get(name).unwrap_or_else(|| panic!("{name}")));
            }
        }
        (Value::Array(part), Value::Array(whole)) => {
            assert_eq!(part.len(), whole.len());
            for (part, whole) in part.iter().zip(whole) {
                assert_within(part, whole);
            }
        }
        _ => assert_eq!(part, whole),
    }
}

fn names_in(object: &Value) -> String {
    let names: Vec<_> = object.as_object().unwrap().keys().cloned().collect();
    names.join(" ")
}

#[test]
fn json_of_a_store_has_what_the_server_says_under_the_same_names() {
    let (server, user) = serving("echo building $SOURCE_VERSION");
    let store = server.store.path();
    let at_store = ["--store", store.to_str().unwrap()];
    let of_store = |words: &[&str]| user.json(&[words, &at_store].concat());
    let id = user.done(&["deploy", "my-shop", "app", "--create", "--ref", "v7"]);
    user.done(&["env", "set", "my-shop", "KEY=a secret"]);
    // The application says so a moment after the deployment does.
    eventually("the app is running", || {
        user.json(&["app", "show", "my-shop"])["app"]["status"] == "running"
    });
    for words in [
        &["app", "list"][..],
        &["app", "show", "my-shop"],
        &["env", "list", "my-shop"],
        &["deployment", "list", "my-shop"],
        &["deployment", "log", "my-shop", &id],
        &["deployment", "cancel", "my-shop", &id],
    ] {
        assert_within(&of_store(words), &user.json(words));
    }
    let show = ["deployment", "show", "my-shop", &id];
    let mut shown = of_store(&show);
    let log_bytes = shown["deployment"]
        .as_object_mut()
        .unwrap()
        .remove("log_bytes");
    let log = of_store(&["deployment", "log", "my-shop", &id])["log"].clone();
    let log = log.as_str().unwrap();
    assert!(log.ends_with("building v7\n"), "{log}");
    assert_eq!(log_bytes, Some(json!(log.len())));
    assert_within(&shown, &user.json(&show));
    let names = ["env", "list", "my-shop", "--names"];
    for names in [of_store(&names), user.json(&names)] {
        assert_eq!(names, json!({"variables": [{"name": "KEY"}]}));
    }

    let app = &of_store(&["app", "list"])["apps"][0];
    assert_eq!(
        names_in(app),
        "created_at id last_deployed_at last_deployed_by last_deployment_id name owner status"
    );
    let at = app["last_deployed_at"].as_str().unwrap();
    let last = format!("last deployment\t{id}\tadmin\t{at}");
    for place in [&at_store[..], &[]] {
        let lines = user.done(&[&["app", "show", "my-shop"], place].concat());
        assert!(lines.ends_with(&last), "{lines}");
    }
    assert_eq!(
        names_in(&shown["deployment"]),
        "app_id created_at finished_at git_ref id pusher reason started_at status"
    );
}

#[test]
fn what_is_not_in_a_store_is_said_as_json() {
    let server = Waystation::start(&[]);
    let store = server.store.path();
    let store = store.to_str().unwrap();
    let missing = ["app", "show", "my-shop", "--store", store, "--json"];
    let failed = User::of(&server).run(&missing);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let json: Value = serde_json::from_str(&failed.stdout).unwrap();
    let error = json["error"].as_str().unwrap();
    assert!(error.contains("there is no app called my-shop"), "{error}");
}
