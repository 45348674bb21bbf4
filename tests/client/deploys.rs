//! Deploying, and what belongs to it, by the client's commands.

use std::os::unix::fs::PermissionsExt as _;

use waystation_testing::Waystation;
use waystation_testing::store_folder::Store;

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
