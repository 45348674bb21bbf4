//! A newcomer's first minutes: what the server shows, pasted as it stands.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use waystation_testing::curl::curl;
use waystation_testing::program::{Ended, Program, built, run, waystation, without_settings};
use waystation_testing::store_folder::{Store, api_token_in};
use waystation_testing::terminal::Terminal;
use waystation_testing::{Waystation, archive, eventually, repository};

/// Runs a line as it would run if it were pasted to a shell in `folder`.
fn paste(line: &str, folder: &Path) -> Ended {
    let mut shell = without_settings("sh");
    shell.args(["-c", line]).current_dir(folder);
    let ended = run(shell);
    assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
    ended
}

fn curl_lines(server: &Waystation) -> Vec<String> {
    let text = server.store.first_start_text();
    let lines = text.lines().filter(|line| line.starts_with("curl "));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_lines_of_a_first_start_work_pasted_one_after_the_other() {
    let server = Waystation::start(&[]);
    let lines = curl_lines(&server);
    assert_eq!(lines.len(), 3, "{lines:?}");
    let folder = server.store.room();
    let sent = archive(100_000, 1);
    server.store.write_file("archive.tar.gz", &sent);

    let created = paste(&lines[0], folder).stdout;
    assert!(created.contains("upload_url") && created.contains("download_url"));
    let report = paste(&lines[1], folder).stdout;
    assert!(report.contains(r#""size":100000"#), "{report}");
    // The last line writes to where the second one read from: without this, a download that did
    // nothing would look like a success.
    fs::remove_file(folder.join("archive.tar.gz")).unwrap();
    paste(&lines[2], folder);
    assert!(fs::read(folder.join("archive.tar.gz")).unwrap() == sent);
}

/// One token, however often, and all lines.
fn assert_shows_a_token(shown: &str) {
    assert!(shown.contains("shown only now"), "{shown}");
    let token = api_token_in(shown);
    assert_eq!(token.len(), "tk-us-".len() + 48);
    for mention in shown.match_indices("tk-us-") {
        assert!(shown[mention.0..].starts_with(&token), "{shown}");
    }
}

#[test]
fn a_first_start_shows_its_token_on_a_terminal_and_writes_it_nowhere() {
    let terminal = Terminal::new();
    let store = Store::new();
    let program = Program::start_on(&terminal, store.serve(&[]));
    let server = Waystation::of(store, program);
    let mut shown = String::new();
    for line in BufReader::new(terminal.screen).lines() {
        shown.push_str(&line.unwrap());
        shown.push('\n');
        if shown.contains("curl -L -X GET") {
            break;
        }
    }
    assert_shows_a_token(&shown);
    assert!(!server.store.path().join("first-token").exists());
    assert!(!server.program.stderr().contains("tk-us-"));
}

#[test]
fn without_a_terminal_a_first_start_writes_its_token_to_a_file_and_names_it() {
    let server = Waystation::start(&[]);
    let line = server.program.await_line("the first API token is in");
    assert!(line.ends_with("/a store/first-token"), "{line}");
    assert_shows_a_token(&server.store.first_start_text());
    assert_eq!(server.program.stdout(), "");
    assert!(!server.program.stderr().contains("tk-us-"));
}

#[test]
fn a_file_of_that_name_is_left_alone_and_another_token_can_be_made() {
    let store = Store::new();
    let file = store.path().join("first-token");
    fs::create_dir(store.path()).unwrap();
    fs::write(&file, "mine").unwrap();
    let server = Waystation::start_on(store, &[]);
    let line = server
        .program
        .await_line("the first API token could not be shown");
    assert_eq!(fs::read(file).unwrap(), b"mine");
    let (_, command) = line.split_once("to make another: ").unwrap();
    assert!(
        paste(command, server.store.room())
            .stdout
            .starts_with("tk-us-")
    );
}

/// For a bucket, the working folder may be no place for it.
#[test]
fn the_first_token_goes_to_the_file_that_was_asked_for() {
    let store = Store::new();
    let file = store.room().join("my token");
    let flags = ["--first-token-file", file.to_str().unwrap()];
    let server = Waystation::start_on(store, &flags);
    let line = server.program.await_line("the first API token is in");
    assert!(line.ends_with("/my token"), "{line}");
    assert_shows_a_token(&fs::read_to_string(&file).unwrap());
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!server.store.path().join("first-token").exists());
}

#[test]
fn a_later_start_makes_no_token_but_says_how_to() {
    let store = Waystation::start(&[]).kill();
    fs::remove_file(store.path().join("first-token")).unwrap();
    let server = Waystation::start_on(store, &[]);
    let made = make_token(&server.program, server.store.room());
    assert!(!server.store.path().join("first-token").exists());
    assert_eq!(server.program.stdout(), "");

    let bearer = format!("Authorization: Bearer {made}");
    let sources = server.url("/v1/sources");
    let reply = curl(&["-X", "POST", "-H", &bearer, &sources]);
    assert_eq!(reply.status, 201, "{reply:?}");
}

/// Pastes the line that a later start logs.
fn make_token(program: &Program, folder: &Path) -> String {
    let line = program.await_line("token create NAME");
    let (_, line) = line.split_once("to make an API token: ").unwrap();
    api_token_in(&paste(line, folder).stdout)
}

/// A server in a folder with no flag at all.
fn serve_in(folder: &Path) -> Command {
    let mut command = waystation(&["serve"]);
    command.current_dir(folder);
    // Only the port is set: the one that is taken without it belongs to whoever is first.
    command.env("WAYSTATION_LISTEN", "127.0.0.1:0");
    command
}

/// The lines of the README's tour, for this server on a free port and this build of the program.
fn tour(server: &Waystation) -> String {
    let readme = include_str!("../../README.md");
    let (_, tour) = readme.split_once("## A minute's tour").unwrap();
    let (_, lines) = tour.split_once("```sh\n").unwrap();
    let (lines, _) = lines.split_once("```").unwrap();
    lines
        .replace("cargo run --quiet --release --", built().to_str().unwrap())
        .replace("127.0.0.1:8080", &server.address.to_string())
}

#[test]
fn the_tour_of_the_readme_works_as_it_stands() {
    let store = Store::new();
    let folder = store.room().to_owned();
    let as_somebody = "git -c user.name=somebody -c user.email=somebody@example.org";
    let commit =
        format!("git init -q && echo hello >file && git add file && {as_somebody} commit -qm x");
    paste(&commit, &folder);
    let mut serve = serve_in(&folder);
    let recipe = repository().join("recipes/static/deploy");
    // It stands in the tour's sentence, since the server is running by then.
    let deploy = format!("{} {}", recipe.display(), folder.join("www").display());
    serve.env("WAYSTATION_DEPLOY", deploy);
    let server = Waystation::of(store, Program::start(serve));

    let toured = paste(&format!("set -e\n{}", tour(&server)), &folder).stdout;
    assert!(
        toured.contains(r#""media_type":"application/gzip""#),
        "{toured}"
    );
    assert!(toured.contains("identical"), "{toured}");
    assert!(toured.contains(r#""code":"already_uploaded""#), "{toured}");
    assert!(toured.contains("1 archives are intact"), "{toured}");
    let deployed = folder.join("www/my-tour/current/file");
    eventually("the release", || deployed.exists());
}

#[test]
fn the_store_is_for_its_owner_alone_whatever_the_umask() {
    let store = Store::new();
    let open_to_all = store.serve_after("umask 000", &[]);
    let server = Waystation::of(store, Program::start(open_to_all));
    server.create_and_upload(b"an archive");

    let mode_of = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode_of(&server.store.path()), 0o700);
    assert_eq!(mode_of(&server.store.path().join("keys")), 0o600);
    for entry in server.store.entries_below("") {
        let expected = if entry.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode_of(&entry), expected, "{}", entry.display());
    }
}
