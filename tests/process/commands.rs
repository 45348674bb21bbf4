//! The commands beside the server: tokens, users, sweep and audit, while it runs.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Stdio;

use rustix::process::geteuid;
use serde_json::{Value, json};
use waystation::clock::Timestamp;
use waystation::source::SourceId;
use waystation_testing::curl::curl;
use waystation_testing::program::{Ended, run};
use waystation_testing::store_folder::{Store, archive_path, entries_of};
use waystation_testing::{Waystation, archive};

use crate::scripted_runner::Deploying;

fn assert_done(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stderr, "");
}

/// A command that failed, and said why.
fn assert_failed(ended: &Ended, why: &str) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.starts_with("waystation: "), "{ended:?}");
    assert!(ended.stderr.contains(why), "{ended:?}");
}

/// The status that a bearer gets now.
fn status_with(server: &Waystation, token: &str) -> u16 {
    let bearer = format!("Authorization: Bearer {token}");
    let sources = server.url("/v1/sources");
    curl(&["-X", "POST", "-H", &bearer, &sources]).status
}

/// The line of a list that has `name` in one of its columns.
fn columns_of(store: &Store, list: [&str; 2], name: &str) -> Option<Vec<String>> {
    let listed = store.run(&list);
    assert_done(&listed);
    let mut lines = listed.stdout.lines().map(|line| line.split('\t'));
    let columns = lines.find(|columns| columns.clone().any(|column| column == name))?;
    Some(columns.map(str::to_owned).collect())
}

#[test]
fn a_token_is_printed_alone_and_works_at_once() {
    let server = Waystation::start(&[]);
    let made = server.store.run(&["token", "create", "a deployer"]);
    assert_done(&made);
    let token = made.stdout.strip_suffix('\n').unwrap();
    assert!(token.starts_with("tk-us-"));
    assert_eq!(token.len(), "tk-us-".len() + 48);
    assert_eq!(status_with(&server, token), 201);
}

#[test]
fn a_revoked_token_fails_at_once_and_the_others_go_on() {
    let server = Waystation::start(&[]);
    let (revoked, other) = (
        server.store.create_token("one"),
        server.store.create_token("two"),
    );
    assert_eq!(status_with(&server, &revoked), 201);
    let list = ["token", "list"];
    let id = columns_of(&server.store, list, "one").unwrap().remove(0);
    assert_done(&server.store.run(&["token", "revoke", &id]));

    assert_eq!(status_with(&server, &revoked), 401);
    assert_eq!(status_with(&server, &other), 201);
    assert_eq!(columns_of(&server.store, list, "one"), None);
    assert!(columns_of(&server.store, list, "two").is_some());
    assert_failed(&server.store.run(&["token", "revoke", &id]), &id);
}

#[test]
fn a_token_belongs_to_a_user_that_is_there() {
    let server = Waystation::start(&[]);
    let store = &server.store;
    let added = store.run(&["user", "add", "anna", "--email", "anna@example.org"]);
    assert_done(&added);
    assert!(added.stdout.starts_with("us-"), "{added:?}");
    let user = columns_of(store, ["user", "list"], "anna").unwrap();
    assert_eq!(user[0], added.stdout.trim_end());
    assert_eq!(user[2], "anna@example.org");

    assert_done(&store.run(&["token", "create", "hers", "--user", "anna"]));
    let token = columns_of(store, ["token", "list"], "hers").unwrap();
    assert_eq!(token[2], "anna");
    let unknown = store.run(&["token", "create", "his", "--user", "bert"]);
    assert_failed(&unknown, "there is no user called bert");
    assert_failed(&store.run(&["user", "add", "anna"]), "anna already");
}

#[test]
fn a_token_for_runners_opens_nothing_of_a_user_and_the_list_says_what_it_is() {
    let server = Waystation::start(&[]);
    let made = server.store.run(&["token", "create", "builds", "--runner"]);
    assert_done(&made);
    assert_eq!(status_with(&server, made.stdout.trim_end()), 403);
    server.store.create_token("hers");
    for (name, kind) in [("builds", "runner"), ("hers", "user")] {
        let token = columns_of(&server.store, ["token", "list"], name).unwrap();
        assert_eq!(token[4], kind);
    }
    let both = ["token", "create", "both", "--runner", "--user", "admin"];
    let refused = server.store.run(&both);
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

#[test]
fn an_operator_sees_the_apps_of_all_users_and_their_variables() {
    let server = Waystation::start(&[]);
    let store = &server.store;
    assert_done(&store.run(&["user", "add", "anna"]));
    let token = store
        .run(&["token", "create", "hers", "--user", "anna"])
        .stdout;
    let bearer = format!("Authorization: Bearer {}", token.trim_end());
    let (apps, app) = (server.url("/v1/apps"), r#"{"app":{"name":"my-shop"}}"#);
    assert_eq!(curl(&["-H", &bearer, "-d", app, &apps]).status, 201);
    let variables = format!("{apps}/my-shop/variables");
    let set = r#"{"variables":[{"name":"KEY","value":"two\nlines"}]}"#;
    assert_eq!(
        curl(&["-X", "PUT", "-H", &bearer, "-d", set, &variables]).status,
        200
    );

    let listed = columns_of(store, ["app", "list"], "my-shop").unwrap();
    assert_eq!((listed[2].as_str(), listed[3].as_str()), ("anna", "new"));
    for asked in ["my-shop", &listed[0]] {
        let shown = store.run(&["app", "show", asked]);
        assert_done(&shown);
        for line in [
            "name\tmy-shop\n",
            "owner\tanna\n",
            "last deployment\tnone\n",
        ] {
            assert!(shown.stdout.contains(line), "{shown:?}");
        }
    }
    let shown = store.run(&["env", "list", "my-shop"]);
    assert_done(&shown);
    assert_eq!(shown.stdout, "KEY=two\\nlines\n");
    let names = store.run(&["env", "list", "my-shop", "--names"]);
    assert_eq!(names.stdout, "KEY\n");
    for command in [["app", "show", "my-store"], ["env", "list", "my-store"]] {
        assert_failed(&store.run(&command), "there is no app called my-store");
    }
}

#[test]
fn an_operator_sees_deployments_and_their_logs_and_cancels_them() {
    let it = Deploying::start(&[]);
    let store = &it.server.store;
    let (running, reports) = it.run();
    it.append(&reports, 0, "one\n\u{1b}[31mtwo\n");
    let waiting = it.deploy();
    let listed = store.run(&["deployment", "list", "my-shop"]);
    assert_done(&listed);
    let lines = listed.stdout.lines();
    let lines: Vec<Vec<_>> = lines
        .map(|line| line.split('\t').take(3).collect())
        .collect();
    assert_eq!(
        lines,
        [
            [waiting.as_str(), "queued", "-"],
            [&running, "building", "-"]
        ]
    );

    let log = store.run(&["deployment", "log", "my-shop", &running]);
    assert_done(&log);
    assert_eq!(log.stdout, "one\n\u{1b}[31mtwo\n");
    let cancel = |id: &str| store.run(&["deployment", "cancel", "my-shop", id]);
    let cancelled = cancel(&waiting);
    assert_done(&cancelled);
    assert_eq!(cancelled.stdout, format!("{waiting} is aborted\n"));
    let cancelled = cancel(&running);
    assert_done(&cancelled);
    assert!(
        cancelled
            .stdout
            .contains("is building; its runner is asked to stop")
    );
    let path = format!("{reports}/log?offset=13");
    let heard = it.server.try_call("PUT", &path, &[], b"").unwrap();
    assert_eq!(heard.json()["cancel"], true, "{heard:?}");
    it.report(&reports, "aborted");

    let shown = store.run(&["deployment", "show", "my-shop", &waiting]);
    assert_done(&shown);
    for part in [
        "status\taborted\n",
        "pusher\tadmin\n",
        "reason\tit was cancelled",
    ] {
        assert!(shown.stdout.contains(part), "{shown:?}");
    }
    let missing = store.run(&["deployment", "show", "my-shop", "1"]);
    assert_failed(&missing, "the app my-shop has no deployment 1; ");
}

#[test]
fn an_audit_names_what_has_changed_and_what_is_foreign() {
    let server = Waystation::start(&[]);
    let source = server.create_and_upload(&archive(100_000, 1));
    server.create_and_upload(&archive(100_000, 2));
    let archives = server.store.archives();
    let file = archives.iter().find(|path| path.ends_with(source.id()));
    let file = file.unwrap();
    let mut bytes = fs::read(file).unwrap();
    bytes[50_000] ^= 1;
    fs::write(file, bytes).unwrap();
    fs::write(server.store.path().join("sources/lost"), "").unwrap();

    let audit = server.store.run(&["audit"]);
    assert_failed(&audit, "2 faults");
    assert!(audit.stdout.contains(&source.id()), "{audit:?}");
    assert!(audit.stdout.contains("sources/lost"), "{audit:?}");
    assert!(audit.stdout.contains("1 archives are intact"), "{audit:?}");
}

/// The one JSON object that a command printed.
fn json_of(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn an_operator_gets_one_json_object_of_each_command() {
    let server = Waystation::start(&[]);
    let run = |words: &[&str]| server.store.run(&[words, &["--json"]].concat());
    let done = |words: &[&str]| {
        let ended = run(words);
        assert_done(&ended);
        json_of(&ended)
    };
    let added = done(&["user", "add", "anna", "--email", "anna@example.org"]);
    assert_eq!(added["user"]["email"], "anna@example.org");
    let users = done(&["user", "list"]);
    assert!(users["users"].as_array().unwrap().contains(&added["user"]));
    let taken = run(&["user", "add", "anna"]);
    assert_failed(&taken, "anna already");
    assert!(json_of(&taken)["error"].is_string(), "{taken:?}");

    let mut made = done(&["token", "create", "hers", "--user", "anna"])["token"].take();
    let secret = made.as_object_mut().unwrap().remove("token").unwrap();
    assert_eq!(status_with(&server, secret.as_str().unwrap()), 201);
    assert_eq!(
        (&made["user"], &made["kind"]),
        (&json!("anna"), &json!("user"))
    );
    let tokens = done(&["token", "list"]);
    assert!(tokens["tokens"].as_array().unwrap().contains(&made));
    let id = made["id"].as_str().unwrap();
    assert_eq!(done(&["token", "revoke", id]), json!({"revoked": id}));

    let swept = json!({"sources": 0, "broken": 0, "failures": 0, "max_lag_ms": 0});
    assert_eq!(done(&["sweep"]), json!({"sweep": swept}));
    fs::write(server.store.path().join("sources/lost"), "").unwrap();
    let audit = run(&["audit"]);
    assert_failed(&audit, "1 faults");
    let mut audit = json_of(&audit)["audit"].take();
    let faults = audit.as_object_mut().unwrap().remove("faults").unwrap();
    assert!(
        faults[0].as_str().unwrap().contains("sources/lost"),
        "{faults}"
    );
    assert_eq!(audit, json!({"whole": 0, "staged": 0, "attempts": 0}));
}

/// Whoever can put a file there could else write what they like to the operator's terminal.
#[test]
fn an_audit_shows_what_a_terminal_would_obey_as_escapes() {
    let store = Waystation::start(&[]).stop();
    fs::write(store.path().join("sources/a\u{1b}[31mb"), "").unwrap();
    let audit = store.run(&["audit"]);
    assert_failed(&audit, "1 faults");
    assert!(
        audit.stdout.contains(r"sources/a\u{1b}[31mb is nothing"),
        "{audit:?}"
    );
}

/// A name could else make a list show another one, or an id that is none.
#[test]
fn a_list_shows_what_turns_the_direction_of_text_as_escapes() {
    let store = Waystation::start(&[]).stop();
    assert_done(&store.run(&["token", "create", "a\u{202e}b"]));
    assert_done(&store.run(&["user", "add", "c\u{2067}d", "--email", "e\u{200f}f"]));
    let tokens = store.run(&["token", "list"]).stdout;
    assert!(
        tokens.contains(r"\ta\u{202e}b\t".replace(r"\t", "\t").as_str()),
        "{tokens}"
    );
    let users = store.run(&["user", "list"]).stdout;
    let columns = r"c\u{2067}d".to_owned() + "\t" + r"e\u{200f}f";
    assert!(users.contains(&columns), "{users}");
}

/// A disk that is full, and a pipe that nobody reads.
#[test]
fn a_token_that_nobody_saw_is_taken_back() {
    let server = Waystation::start(&[]);
    let before = server.store.run(&["token", "list"]).stdout;
    let plain: &[&str] = &["token", "create", "unseen"];
    let json = [plain, &["--json"]].concat();
    for (stdout, words) in [
        (full_device(), plain),
        (closed_pipe(), plain),
        (closed_pipe(), &json),
    ] {
        let mut create = server.store.command(words);
        let ended = create.stdout(stdout).output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let told = String::from_utf8(ended.stderr).unwrap();
        assert!(told.contains("cannot print the result"), "{told}");
        assert_eq!(server.store.run(&["token", "list"]).stdout, before);
    }
}

#[test]
fn a_first_token_that_cannot_be_shown_is_taken_back() {
    let store = Store::new();
    fs::create_dir(store.path()).unwrap();
    fs::write(store.path().join("first-token"), "of another").unwrap();
    let server = Waystation::start_on(store, &[]);
    let line = server.program.await_line("could not be shown");
    assert!(line.contains("token create NAME"), "{line}");
    assert_eq!(server.store.run(&["token", "list"]).stdout, "");
    assert_eq!(status_with(&server, server.api_token()), 201);
}

fn full_device() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

fn closed_pipe() -> Stdio {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A folder cannot be deleted as a file is.
#[test]
fn a_sweep_that_cannot_delete_fails_and_the_next_one_makes_up_for_it() {
    let store = Waystation::start(&[]).kill();
    let source = SourceId::mint(Timestamp::from_ms(1_700_000_000_000), [1; 10]);
    let in_the_way = archive_path(&store.path(), &source.to_string());
    fs::create_dir_all(&in_the_way).unwrap();
    let failed = store.run(&["sweep"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stdout.contains("1 deletions failed"), "{failed:?}");
    assert!(failed.stderr.contains("os error"), "{failed:?}");
    fs::remove_dir(in_the_way).unwrap();
    assert_done(&store.run(&["sweep"]));
}

#[test]
fn a_command_makes_no_store() {
    let store = Store::new();
    let commands: [&[&str]; 11] = [
        &["deployment", "list", "my-shop"],
        &["deployment", "cancel", "my-shop", "1"],
        &["app", "list"],
        &["app", "show", "my-shop"],
        &["env", "list", "my-shop"],
        &["audit"],
        &["sweep"],
        &["token", "list"],
        &["token", "create", "a deployer"],
        &["user", "list"],
        &["user", "add", "somebody"],
    ];
    for command in commands {
        assert_failed(
            &store.run(command),
            "is no store: check --store, or start 'waystation serve'",
        );
        assert!(!store.path().exists(), "{command:?}");
    }
    fs::write(store.path(), "a file").unwrap();
    assert_failed(&store.run(&["audit"]), "is no store");
}

/// Only root can give files away, so only root can see this; `src/ownership.rs` has the rule itself.
#[test]
fn what_another_user_owns_is_not_served_and_no_document_is_put_into_it() {
    if !geteuid().is_root() {
        return;
    }
    let server = Waystation::start(&[]);
    let token = server.store.run(&["token", "list"]).stdout;
    let id = token.split('\t').next().unwrap().to_owned();
    let store = server.stop();
    let key_file = store.write_file("keys", b"");
    fs::set_permissions(&key_file, Permissions::from_mode(0o600)).unwrap();
    for path in entries_of(store.room()) {
        chown(path, Some(65_534), Some(65_534)).unwrap();
    }
    let commands: [&[&str]; 3] = [
        &["token", "create", "a deployer"],
        &["token", "revoke", &id],
        &["user", "add", "ada"],
    ];
    for command in commands {
        let refused = store.run(command);
        assert_failed(
            &refused,
            "setpriv --reuid=65534 --regid=65534 --clear-groups",
        );
        assert_eq!(refused.stdout, "");
    }
    assert_eq!(store.run(&["token", "list"]).stdout, token);
    let refused = run(store.serve(&[]));
    assert_failed(&refused, "a store belongs to user 65534");
    assert!(refused.stderr.contains("chown 0 "), "{refused:?}");
    let own = Store::new();
    let refused = run(own.serve(&["--key-file", &key_file]));
    assert_failed(&refused, "keys belongs to user 65534");
    let refused = run(own.serve(&["--tls-cert", &key_file, "--tls-key", &key_file]));
    assert_failed(&refused, "keys belongs to user 65534");
}

#[test]
fn a_store_that_every_user_can_write_to_is_not_served() {
    let store = Store::new();
    fs::create_dir(store.path()).unwrap();
    fs::set_permissions(store.path(), Permissions::from_mode(0o777)).unwrap();
    let refused = run(store.serve(&[]));
    assert_failed(&refused, "chmod o-w");
    assert_failed(&refused, "give a folder below it");
}
