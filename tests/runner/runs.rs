//! Deployments from end to end: a real server, a real runner, and a command of the operator's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;
use waystation_testing::program::{Program, run, waystation};
use waystation_testing::runners::{Gate, app, children_of, is_running, kill};
use waystation_testing::tarball::{Header, Tarball};
use waystation_testing::{Waystation, eventually};

use crate::foreign_links::{found, serve};
use crate::site::{Deployment, FLAGS, Site};

#[test]
fn a_deployment_is_the_unpacked_archive_and_its_environment_what_is_promised_and_no_more() {
    let site = Site::start();
    let script = r#"pwd; cat index.html; ls -R; echo "exit soon" >&2; env | cut -d= -f1 | sort | tr '\n' ' '
        stat -c '%a' "$WAYSTATION_VARIABLES" "$HOME"; sha256sum "$WAYSTATION_ARCHIVE"
        echo "sum $WAYSTATION_ARCHIVE_SHA256 of $WAYSTATION_APP at $SOURCE_VERSION $WAYSTATION_GIT_REF"
        cat; umask"#;
    let mut command = site.runner_command(&[], &["sh", "-c", script]);
    command.env("BASH_ENV", "/evil").env("AWS_SECRET", "secret");
    let _runner = Program::start(command);
    let output = site.deploy(&app()).await_end_as("success");
    for part in [
        "waystation: unpacked 4 entries, 7 B, from an archive of",
        "hello\n",
        "exit soon\n",
        "HOME PATH PWD SOURCE_VERSION WAYSTATION_APP WAYSTATION_APP_ID WAYSTATION_ARCHIVE WAYSTATION_ARCHIVE_SHA256 \
         WAYSTATION_DEPLOYMENT WAYSTATION_GIT_REF WAYSTATION_REPORT_URL WAYSTATION_SOURCE_URL WAYSTATION_USER \
         WAYSTATION_VARIABLES",
        "600\n700\n",
        "of my-shop at v1 v1\n",
    ] {
        assert!(output.contains(part), "{part}: {output}");
    }
    let mut sums = output
        .lines()
        .filter_map(|line| line.strip_prefix("sum ")?.split(' ').next());
    let sum = sums.next_back().unwrap();
    assert!(output.contains(&format!("{sum}  ")), "{output}");
}

#[test]
fn the_end_is_that_of_the_command_and_of_the_state_it_was_in() {
    let site = Site::start();
    let script = r#"report() { curl -sS -X PUT -H 'Content-Type: application/json' -d "{\"status\":\"$1\"}" "$WAYSTATION_REPORT_URL/status" >&2; }
        case $(cat how) in
            fails) exit 3 ;;
            crashes) report starting; exit 4 ;;
            pushes) report pushing; exit 5 ;;
            hook) report hook-error ;;
            killed) kill -9 $$ ;;
        esac"#;
    let _runner = site.runner(script);
    for (how, status, said) in [
        (
            "fails",
            "build-error",
            "waystation: the command ended with exit code 3\n",
        ),
        ("crashes", "crashed-error", "exit code 4"),
        ("pushes", "build-error", "exit code 5"),
        ("hook", "hook-error", ""),
        ("killed", "build-error", "ended by signal 9"),
        ("is fine", "success", ""),
    ] {
        let archive = Tarball::new().file("app/how", how.as_bytes()).end();
        let ended = site.deploy(&archive).await_end();
        assert_eq!(ended.0, status, "{how}: {}", ended.1);
        assert!(ended.1.contains(said), "{how}: {}", ended.1);
    }
}

#[test]
fn what_is_wrong_with_an_archive_is_said_in_the_log_and_nothing_is_run() {
    let site = Site::start();
    let _runner =
        Program::start(site.runner_command(&["--unpack-limit", "1KiB"], &["echo", "it ran"]));
    for (archive, said) in [
        (
            Tarball::new()
                .file("app/a", b"")
                .file("app/../../b", b"")
                .end(),
            "waystation: the archive is refused: the entry 'app/../../b' has '..' in its name\n",
        ),
        (
            Tarball::new().file("app/a", &[0; 1025]).end(),
            "the archive is refused: it unpacks to more than 1024 bytes",
        ),
        (b"no archive".to_vec(), "it is neither a tar nor"),
    ] {
        let output = site.deploy(&archive).await_end_as("build-error");
        assert!(
            output.contains(said) && !output.contains("it ran"),
            "{output}"
        );
    }
    let output = site
        .deploy(&Tarball::new().file("a", b"").end())
        .await_end_as("success");
    assert!(
        output.contains("warning: the archive has no single folder at its root"),
        "{output}"
    );
}

#[test]
fn no_program_of_an_archive_takes_the_place_of_the_operators() {
    let site = Site::start();
    let script = site.room.path().join("deploy");
    fs::write(&script, "#!/bin/sh\necho the operator\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = site.runner_command(&[], &["./deploy"]);
    command.env("PATH", ".::/usr/bin:/bin");
    let _runner = Program::start(command);
    let evil = b"#!/bin/sh\necho the user\n";
    let executable = |name: &str| {
        let header = Header::new(name.as_bytes(), b'0', evil.len());
        header.executable()
    };
    let archive = Tarball::new()
        .entry(executable("app/deploy"), evil)
        .entry(executable("app/echo"), evil)
        .end();
    let output = site.deploy(&archive).await_end_as("success");
    assert!(
        output.contains("the operator\n") && !output.contains("the user"),
        "{output}"
    );
}

fn number_after(output: &str, word: &str) -> i32 {
    let (_, rest) = output.split_once(word).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn what_left_its_group_ends_with_the_command() {
    let site = Site::start();
    let _runner = site.runner("setsid sh -c 'echo left $$; exec sleep 1000' & sleep 1000 & echo stayed $!; wait_for() { :; }; until test -d /proc/$!; do :; done; sleep 0.2");
    let output = site.deploy(&app()).await_end_as("success");
    for word in ["left ", "stayed "] {
        let id = number_after(&output, word);
        assert!(!is_running(id), "{word}{id}");
    }
}

#[test]
fn a_cancelled_command_may_end_by_itself_and_is_aborted() {
    let site = Site::start();
    let _runner =
        site.runner("trap 'echo stopping; exit 0' TERM; echo begun; while :; do sleep 0.05; done");
    let deployment = site.deploy(&app());
    deployment.await_output("begun");
    let next = site.deploy(&app());
    deployment.cancel();
    deployment.assert_ends("aborted", "stopping\nwaystation: cancelled\n");
    next.await_output("begun");
    next.cancel();
    assert_eq!(next.await_end().0, "aborted");
}

#[test]
fn a_command_that_does_not_stop_is_killed_ten_seconds_later() {
    let site = Site::start();
    let _runner = site.runner("trap 'echo no' TERM; echo begun; while :; do sleep 0.05; done");
    let deployment = site.deploy(&app());
    deployment.await_output("begun");
    deployment.cancel();
    deployment.await_output("no\n");
    let (status, _) = deployment.await_end();
    assert_eq!(status, "aborted");
}

/// As container engines read them. `BASH_ENV` in the environment would be run by a script for bash.
#[test]
fn variables_of_users_are_lines_of_a_file_and_set_nothing() {
    let site = Site::start();
    let script = "cat \"$WAYSTATION_VARIABLES\"; cat \"$WAYSTATION_VARIABLES.json\"; echo; stat -c %a \"$WAYSTATION_VARIABLES.json\"; bash -c 'echo \"[$BASH_ENV$GREETING]\"'";
    let _runner = site.runner(script);
    let variables = json!({"variables": [
        {"name": "BASH_ENV", "value": "/evil"},
        {"name": "GREETING", "value": "hello = $(you) 'there'"},
        {"name": "LINES", "value": "one\nEVIL=two"},
    ]});
    site.call("PUT", "/v1/apps/my-shop/variables", &variables, 200);
    let output = site.deploy(&app()).await_end_as("success");
    for said in [
        "BASH_ENV=/evil\nGREETING=hello = $(you) 'there'\n{",
        r#""LINES":"one\nEVIL=two"}"#,
        "\n600\n[]\n",
        "warning: the variable LINES has several lines, so it is not in the file of lines",
    ] {
        assert!(output.contains(said), "{said}: {output}");
    }
    assert!(!output.contains("\nEVIL"), "{output}");
}

#[test]
fn no_secret_of_the_runner_is_in_a_log() {
    let site = Site::start();
    let runner = site.runner("echo $WAYSTATION_SOURCE_URL $WAYSTATION_REPORT_URL; printf %s \"${WAYSTATION_REPORT_URL##*/}\"");
    let token = fs::read_to_string(site.token_file()).unwrap();
    let output = site.deploy(&app()).await_end_as("success");
    assert!(output.ends_with("*** ***\n***"), "{output}");
    for text in [output, runner.stderr(), site.server.program.stderr()] {
        // The server's log has `{grant}` there.
        let mut links = text.split("/v1/runner/reports/").skip(1);
        assert!(links.all(|rest| rest.starts_with('{')), "{text}");
        assert!(!text.contains(token.trim()), "{text}");
    }
}

#[test]
fn a_runner_that_is_told_to_end_stops_what_it_runs() {
    let site = Site::start();
    let mut runner = site.runner("echo begun; sleep 1000");
    let deployment = site.deploy(&app());
    deployment.await_output("begun");
    runner.signal(Signal::TERM);
    assert_eq!(runner.await_end(), Some(0));
    deployment.assert_ends("aborted", "waystation: the runner was shut down\n");
}

#[test]
fn a_runner_ends_although_the_server_that_is_to_hear_of_an_end_is_away() {
    let mut site = Site::start();
    let gate = Gate::new(site.room.path());
    let mut runner = site.runner(&format!("echo begun; {}", gate.wait()));
    site.deploy(&app()).await_output("begun");
    site.server.program.kill();
    gate.open();
    runner.await_line("trying again");
    runner.signal(Signal::TERM);
    assert_eq!(runner.await_end(), Some(0));
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_work_folder_is_private_of_one_runner_and_left_empty() {
    let site = Site::start();
    // What an earlier runner left, as deep as no path reaches.
    let mut deep = site.work_dir().join("jobs/7");
    fs::create_dir_all(&deep).unwrap();
    fs::set_permissions(site.work_dir(), fs::Permissions::from_mode(0o700)).unwrap();
    for _ in 0..30 {
        deep = deep.join("x".repeat(100));
        fs::create_dir(&deep).unwrap();
    }
    fs::write(deep.join("file"), "").unwrap();
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o000)).unwrap();
    let script = "d=$(printf 'y%.0s' $(seq 200)); for i in $(seq 100); do mkdir $d; cd $d; done; touch f; ln -s /etc /tmp/x.$$ 2>/dev/null; rm -f /tmp/x.$$; ln -s / all; mkfifo pipe";
    let _runner = site.runner(script);
    site.deploy(&app()).await_end_as("success");
    assert_eq!(mode_of(&site.work_dir()), 0o700);
    let jobs = site.work_dir().join("jobs");
    eventually("an empty folder", || {
        fs::read_dir(&jobs).unwrap().next().is_none()
    });

    let second = run(site.runner_command(&[], &["true"]));
    assert_eq!(second.code, Some(1));
    assert!(
        second.stderr.contains("another runner works in"),
        "{second:?}"
    );
}

#[test]
fn a_runner_does_not_start_where_others_could_read_what_it_is_trusted_with() {
    let site = Site::start();
    let refused = |command: Command, said: &str| {
        let ended = run(command);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(said), "{said}: {ended:?}");
    };
    fs::create_dir(site.work_dir()).unwrap();
    fs::set_permissions(site.work_dir(), fs::Permissions::from_mode(0o755)).unwrap();
    refused(site.runner_command(&[], &["true"]), "chmod 700");
    let far = |url: &str| {
        let mut command = waystation(&["runner", "--server", url, "--token-file"]);
        command.arg(site.token_file()).args(["--", "true"]);
        command
    };
    refused(far("http://192.0.2.1"), "refusing to speak plain HTTP");
    fs::write(site.token_file(), "two words").unwrap();
    refused(far("https://192.0.2.1"), "it has to hold one token");
}

#[test]
fn an_archive_elsewhere_is_fetched_only_from_where_the_operator_allows() {
    let site = Site::start();
    let elsewhere = serve(vec![found(&app())]);
    let link = format!("http://{elsewhere}/app.tar?token=s3cr3t-of-a-user");
    let runner = site.runner("cat index.html");
    let output = site.deploy_url(&link).await_end_as("build-error");
    assert!(
        output.contains("unless the runner is started with --fetch-plain-http"),
        "{output}"
    );
    drop(runner);
    let flags = ["--fetch-plain-http", "--fetch-allow", "127.0.0.0/8"];
    let mut command = site.runner_command(&flags, &["cat", "index.html"]);
    command.arg("/dev/null");
    let _runner = Program::start(command);
    let output = site.deploy_url(&link).await_end_as("success");
    assert!(
        output.contains("hello\n") && !output.contains("s3cr3t"),
        "{output}"
    );
}

/// A server that runs a command itself, in the folder `work` of a room.
fn serve_deploy(command: &str, room: &Path) -> Site {
    let work = room.join("work");
    Site::with(&["--deploy", command, "--work-dir", work.to_str().unwrap()])
}

#[test]
fn serve_deploy_runs_a_command_on_each_archive_and_takes_it_along_when_it_ends() {
    let room = tempfile::tempdir().unwrap();
    let script = room.path().join("deploy");
    fs::write(
        &script,
        "#!/bin/sh\ncat index.html\necho of $1\ntest -e wait && sleep 1000\nexit 0\n",
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let site = serve_deploy(&format!("{} $HOME", script.display()), room.path());
    site.deploy(&app())
        .assert_ends("success", "hello\nof $HOME\n");
    assert_eq!(mode_of(&room.path().join("work/token")), 0o600);

    let archive = Tarball::new()
        .file("app/index.html", b"second\n")
        .file("app/wait", b"")
        .end();
    let deployment = site.deploy(&archive);
    deployment.await_output("second");
    let runner = children_of(site.server.program.id());
    assert_eq!(runner.len(), 1, "{runner:?}");
    let id = deployment.id.clone();
    let site = site.restart(Waystation::stop, |store| {
        assert!(!is_running(runner[0]));
        Waystation::start_on(store, &FLAGS)
    });
    let deployment = Deployment { site: &site, id };
    deployment.assert_ends("aborted", "waystation: the runner was shut down\n");
}

#[test]
fn the_runner_of_serve_deploy_is_started_again_and_never_outlives_its_server() {
    let room = tempfile::tempdir().unwrap();
    let mut site = serve_deploy("cat index.html", room.path());
    let first = children_of(site.server.program.id());
    kill(first[0]);
    site.server.program.await_line("starting it again");
    let (status, _) = site.deploy(&app()).await_end();
    assert_eq!(status, "success");
    let second = children_of(site.server.program.id());
    assert_ne!(first, second);
    site.server.program.kill();
    eventually("its end", || !is_running(second[0]));
}

/// The server may be away when a runner starts, and have no work for long.
#[test]
fn a_runner_waits_for_its_server() {
    let site = Site::start();
    site.relay.move_to(&[]);
    let runner = site.runner("cat index.html");
    runner.await_line("cannot ask for work; trying again");
    site.relay.move_to(&[site.server.address]);
    assert_eq!(site.deploy(&app()).await_end().0, "success");
}
