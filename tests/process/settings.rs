//! Flags, environment and files that the server is given: the good ones work, and a bad one is
//! refused with a sentence that says what is allowed, or what to do.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use waystation_testing::program::{Ended, Program, run, waystation};
use waystation_testing::store_folder::Store;
use waystation_testing::{Waystation, assert_refused};

/// Wrong usage: exit code 2, and each of `said` in what is printed.
fn assert_misused(arguments: &[&str], said: &[&str]) {
    let ended = run(waystation(arguments));
    assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
    for said in said {
        assert!(ended.stderr.contains(said), "{arguments:?}: {ended:?}");
    }
}

/// A start that fails: exit code 1, and each of `said` in one sentence.
fn assert_not_started(store: &Store, flags: &[&str], said: &[&str]) {
    let ended = run(store.serve(flags));
    assert_eq!(ended.code, Some(1), "{flags:?}: {ended:?}");
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.starts_with("waystation: "), "{ended:?}");
    for said in said {
        assert!(last.contains(said), "{flags:?}: {last}");
    }
    assert_eq!(ended.stdout, "", "it began as if it could start");
}

#[test]
fn the_error_of_wrong_usage_says_what_is_allowed() {
    assert_misused(&["serve", "--color"], &["--color", "--help"]);
    assert_misused(&["server"], &["server", "serve"]);
    assert_misused(&[], &["Usage", "serve", "audit"]);
    assert_misused(&["token", "create"], &["NAME"]);
    assert_misused(&["token", "revoke", "x"], &["24 hex digits"]);
    assert_misused(&["serve", "--drain", "soon"], &["soon", "10m"]);
    assert_misused(
        &["serve", "--upload-limit", "much"],
        &["much", "--upload-limit"],
    );
    assert_misused(&["serve", "--log", "xml"], &["human, json"]);
    assert_misused(&["serve", "--sync", "maybe"], &["on, off"]);
    assert_misused(&["serve", "--listen", "here"], &["here", "--listen"]);
    assert_misused(&["serve", "--sweep-every", "6s"], &["5s"]);
    assert_misused(&["serve", "--header-limit", "1KiB"], &["8KiB to 1MiB"]);
    assert_misused(&["serve", "--upload-memory", "1MiB"], &["2MiB to 64GiB"]);
    assert_misused(&["serve", "--max-transfers", "0"], &["1..=1000000"]);
    assert_misused(&["serve", "--public-url", "x"], &["https://"]);
    assert_misused(
        &["serve", "--store", "ftp://bucket"],
        &["s3://bucket/prefix"],
    );
}

#[test]
fn an_endpoint_that_is_no_url_is_wrong_usage_wherever_it_is_set() {
    let help = ["ndpoint", "http://127.0.0.1:8333"];
    for endpoint in [
        "127.0.0.1:8333",
        "ftp://objects",
        "http://",
        "http://a:b@objects",
    ] {
        let serve = [
            "serve",
            "--store",
            "s3://bucket/p",
            "--s3-endpoint",
            endpoint,
        ];
        assert_misused(&serve, &help);
    }
    for (store, variable) in [
        ("s3://bucket/p", "WAYSTATION_S3_ENDPOINT"),
        ("s3://bucket/p", "AWS_ENDPOINT"),
        ("s3://bucket/p", "AWS_ENDPOINT_URL"),
        ("s3://bucket/p", "AWS_ENDPOINT_URL_S3"),
        ("az://bucket/p", "AZURE_STORAGE_ENDPOINT"),
        ("gs://bucket/p", "GOOGLE_BASE_URL"),
    ] {
        let mut command = waystation(&["token", "list", "--store", store]);
        command.envs([("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]);
        let ended = run_with(command, variable, "127.0.0.1:8333");
        assert_eq!(ended.code, Some(2), "{variable}: {ended:?}");
        let is_told = help.iter().all(|part| ended.stderr.contains(part));
        assert!(is_told, "{variable}: {ended:?}");
    }
}

/// Files of secrets end in a newline, and an empty variable is not set.
#[test]
fn what_object_stores_are_told_by_the_environment_is_read_as_people_write_it() {
    let commands: [&[&str]; 3] = [
        &["serve", "--key-file", "/nowhere"],
        &["token", "list"],
        &["audit"],
    ];
    for command in commands {
        let with = |variable: &str, value: &str| {
            let mut command = waystation(command);
            command.args([
                "--store",
                "s3://bucket/p",
                "--s3-endpoint",
                "http://127.0.0.1:1",
            ]);
            command.envs([("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]);
            run_with(command, variable, value)
        };
        for (variable, value) in [
            ("AWS_ACCESS_KEY_ID", "AKIA\n"),
            ("AWS_SECRET_ACCESS_KEY", "secret\r\n"),
            ("AWS_SESSION_TOKEN", "token\n"),
            ("AWS_REGION", " eu-west-3\n"),
            ("AWS_ENDPOINT_URL", ""),
            ("AWS_SESSION_TOKEN", ""),
        ] {
            let ended = with(variable, value);
            // It got as far as what is missing: the keys, or the object store.
            assert_eq!(ended.code, Some(1), "{variable}: {ended:?}");
            assert!(!ended.stderr.contains("panic"), "{variable}: {ended:?}");
        }
        for variable in ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_REGION"] {
            let ended = with(variable, "one\ntwo");
            assert_eq!(ended.code, Some(2), "{variable}: {ended:?}");
            assert!(ended.stderr.contains(variable), "{ended:?}");
            assert!(!ended.stderr.contains("two"), "{ended:?}");
        }
    }
}

fn run_with(mut command: Command, variable: &str, value: &str) -> Ended {
    command.env(variable, value);
    run(command)
}

#[test]
fn sources_live_from_a_second_to_seven_days() {
    for refused in ["999ms", "7d1s"] {
        assert_misused(&["serve", "--lifetime", refused], &["1s to 7d"]);
    }
    for refused in ["0s", "-1s", "10", ""] {
        let lifetime = format!("--lifetime={refused}");
        assert_misused(&["serve", &lifetime], &["--lifetime"]);
    }
    for allowed in ["1s", "7d"] {
        Waystation::start(&["--lifetime", allowed]).create_source();
    }
}

#[test]
fn sizes_are_read_as_they_are_written() {
    for (limit, bytes) in [("512", 512), ("1KiB", 1024), ("2KB", 2000)] {
        let server = Waystation::start(&["--upload-limit", limit]);
        let most = vec![0; bytes];
        server.create_and_upload(&most);
        let more = vec![0; bytes + 1];
        assert_refused(&server.upload(&server.create_source(), &more), 413);
    }
}

#[test]
fn the_environment_sets_what_flags_do_not() {
    let store = Store::new();
    let mut command = waystation(&["serve", "--upload-limit", "1KiB"]);
    command.env("WAYSTATION_STORE", store.path());
    command.env("WAYSTATION_LISTEN", "127.0.0.1:0");
    command.env("WAYSTATION_PUBLIC_URL", "https://x.example/deploy");
    command.env("WAYSTATION_LOG", "json");
    command.env("WAYSTATION_UPLOAD_LIMIT", "1B");
    let server = Waystation::of(store, Program::start(command));

    let line = server.program.await_line("listening on");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "INFO");
    let mut source = server.create_source();
    assert!(
        source
            .upload_url
            .starts_with("https://x.example/deploy/v1/sources/")
    );
    source.upload_url = source.upload_url.replace("/deploy", "");
    assert_eq!(
        server.upload(&source, b"two").status,
        200,
        "the flag counts"
    );
}

#[test]
fn a_bad_value_in_the_environment_is_refused_as_a_flag_would_be() {
    let ended = run_with(waystation(&["serve"]), "WAYSTATION_LIFETIME", "8d");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("1s to 7d"), "{ended:?}");
    let named = "--lifetime is set by the environment variable WAYSTATION_LIFETIME";
    assert!(ended.stderr.contains(named), "{ended:?}");
    let flag = waystation(&["serve", "--lifetime=9d"]);
    let ended = run_with(flag, "WAYSTATION_LIFETIME", "8d");
    assert!(!ended.stderr.contains("WAYSTATION_LIFETIME"), "{ended:?}");
    let keys = waystation(&["serve", "--key-file", "keys"]);
    let ended = run_with(keys, "WAYSTATION_KEYS", "secret");
    assert!(ended.stderr.contains("WAYSTATION_KEYS"), "{ended:?}");
    assert!(!ended.stderr.contains("secret"), "{ended:?}");
}

#[test]
fn the_environment_is_read_as_people_write_it() {
    let serve = |variable: &str, value: &str| {
        let store = Store::new();
        let mut command = store.serve(&[]);
        command.env(variable, value);
        Waystation::of(store, Program::start(command)).stop();
    };
    for variable in [
        "PUBLIC_URL",
        "LIFETIME",
        "PLAIN_HTTP",
        "KEYS",
        "TRUSTED_PROXY",
    ] {
        serve(&format!("WAYSTATION_{variable}"), "");
    }
    serve(
        "WAYSTATION_TRUSTED_PROXY",
        "10.0.0.0/8, 192.168.0.0/16 ,::1",
    );
    for (value, code) in [
        ("1", None),
        ("Yes", None),
        ("ON", None),
        ("0", Some(1)),
        ("no", Some(1)),
        ("OFF", Some(1)),
    ] {
        let store = Store::new();
        let mut command = waystation(&["serve", "--listen", ":0"]);
        command.arg("--store").arg(store.path());
        command.env("WAYSTATION_PLAIN_HTTP", value);
        let mut program = Program::start(command);
        if let Some(code) = code {
            assert_eq!(program.await_end(), Some(code), "{value}");
            assert!(program.stderr().contains("--plain-http"));
        } else {
            program.await_line("listening on");
        }
    }
    let ended = run_with(waystation(&["serve"]), "WAYSTATION_PLAIN_HTTP", "maybe");
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("WAYSTATION_PLAIN_HTTP"), "{ended:?}");
}

#[test]
fn an_address_is_taken_as_people_write_it() {
    for (address, told) in [
        ("0", "http://127.0.0.1:"),
        ("localhost:0", "http://127.0.0.1:"),
        ("[::1]:0", "http://[::1]:"),
        (":0", "http://127.0.0.1:"),
    ] {
        let store = Store::new();
        let mut command = waystation(&["serve", "--plain-http", "--listen", address]);
        command.arg("--store").arg(store.path());
        let line = Program::start(command).await_line("listening on");
        assert!(line.contains(told), "{address}: {line}");
    }
    for address in ["here:80", "80 80", "[::1]", ":", "localhost", "70000"] {
        assert_misused(&["serve", "--listen", address], &["localhost:8080, :8080"]);
    }
}

#[test]
fn a_store_is_what_its_spelling_says_or_refused_with_the_right_one() {
    let store = Store::new();
    let url = format!("file://{}", store.path().display());
    let mut command = waystation(&["serve", "--listen", "0", "--store", &url]);
    command.current_dir(store.room());
    let server = Waystation::of(store, Program::start(command));
    assert!(server.store.path().join("keys").exists());

    let keys = "servers that share a bucket need the same keys";
    let ended = run(waystation(&["serve", "--store", "S3://bucket/p"]));
    assert!(ended.stderr.contains(keys), "{ended:?}");
    for (store, said) in [
        ("~/x", "'~' is not expanded"),
        ("file://host/x", "file:///folder"),
        ("file:/x", "file:///folder"),
        ("file:///a%20b", "nothing in it escaped"),
        ("https://bucket.s3.amazonaws.com/p", "s3://bucket/prefix"),
    ] {
        assert_misused(&["serve", "--store", store], &[said]);
    }
}

#[test]
fn zero_is_no_limit_or_refused() {
    let server = Waystation::start(&[
        "--upload-limit",
        "0",
        "--rate-limit",
        "0",
        "--min-rate",
        "0",
    ]);
    server.create_and_upload(b"an archive");
    for flag in [
        "--api-body-limit",
        "--header-limit",
        "--max-connections",
        "--idle-timeout",
        "--header-timeout",
    ] {
        let value = if flag.ends_with("timeout") { "0s" } else { "0" };
        assert_misused(&["serve", flag, value], &[flag]);
    }
}

#[test]
fn a_store_that_is_no_folder_or_whose_name_is_no_text_is_refused() {
    let odd = OsStr::from_bytes(b"./a\xff");
    for (store, code, said) in [
        (OsStr::new("/dev/null"), 1, "/dev/null is not a folder"),
        (odd, 2, "UTF-8"),
    ] {
        let mut command = waystation(&["serve", "--store"]);
        command.arg(store);
        let ended = run(command);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
}

#[test]
fn a_store_with_less_room_than_is_kept_free_is_warned_of() {
    let server = Waystation::start(&["--keep-free", "1000PiB"]);
    server.program.await_line("--keep-free");
}

#[test]
fn a_port_that_is_taken_is_named_in_the_error() {
    let first = Waystation::start(&[]);
    let address = first.address.to_string();
    let said = [address.as_str(), "--listen"];
    let store = Store::new();
    let mut command = waystation(&["serve", "--listen", &address]);
    command.arg("--store").arg(store.path());
    let ended = run(command);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        said.iter().all(|said| ended.stderr.contains(said)),
        "{ended:?}"
    );
}

fn key(byte: u8, length: usize) -> String {
    STANDARD.encode(vec![byte; length]) + "\n"
}

fn write_key_file(store: &Store, content: &str, mode: u32) -> String {
    let path = store.write_file("my keys", content.as_bytes());
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_key_file_that_cannot_be_trusted_stops_the_start_with_what_to_do() {
    let good_line = "head -c 32 /dev/urandom | base64";
    for (content, mode, said) in [
        ("no base64!", 0o600, ["line 1", "not base64", good_line]),
        (&key(1, 31), 0o600, ["line 1", "31 bytes", good_line]),
        (
            &(key(1, 32) + &"\n".repeat(64 * 1024)),
            0o600,
            ["longer than 65536 bytes", "not a key file", "my keys"],
        ),
        (&key(1, 32), 0o644, ["every user", "0644", "chmod 600"]),
        (
            &key(1, 32),
            0o444,
            ["0400 or 0440", "WAYSTATION_KEYS", "chmod 600"],
        ),
        ("\n\n", 0o600, ["0 keys", "1 to 16", "one a line"]),
    ] {
        let store = Store::new();
        let path = write_key_file(&store, content, mode);
        assert_not_started(&store, &["--key-file", &path], &said);
        assert_not_started(&store, &["--key-file", &path], &[&path]);
    }
    let store = Store::new();
    assert_not_started(
        &store,
        &["--key-file", "/nowhere"],
        &["open the key file /nowhere"],
    );
}

/// As orchestrators mount secrets.
#[test]
fn a_key_file_that_its_group_may_read_or_nobody_may_write_is_taken() {
    for mode in [0o400, 0o440, 0o640] {
        let store = Store::new();
        let path = write_key_file(&store, &key(1, 32), mode);
        Waystation::start_on(store, &["--key-file", &path]).stop();
    }
}

/// A container gives each start the same process id.
#[test]
fn a_start_that_was_cut_short_while_it_made_its_keys_is_made_good_by_the_next() {
    let store = Store::new();
    fs::create_dir(store.path()).unwrap();
    fs::write(store.path().join("keys.new"), "half a k").unwrap();
    let server = Waystation::start_on(store, &[]);
    server.create_and_upload(b"an archive");
    assert!(!server.store.path().join("keys.new").exists());
}
