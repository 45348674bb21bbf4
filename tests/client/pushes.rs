//! Pushing to a real server, and pulling from it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use waystation_testing::Waystation;
use waystation_testing::program::run;

use crate::scripted_host::{host, reply};
use crate::user::User;

fn entries(user: &User, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(user.home().join(folder)).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_folder_that_is_pushed_comes_back_as_it_was() {
    let server = Waystation::start(&[]);
    let user = User::of(&server);
    user.write("app/a", "one");
    user.write("app/b/c", "two");
    user.write("app/.gitignore", "ignored\n");
    user.write("app/ignored", "three");
    let pushed = user.run(&["push", "app"]);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    let link = pushed.stdout.trim_end();
    assert!(link.starts_with(&server.url("/v1/sources/")), "{pushed:?}");
    assert!(pushed.stderr.contains("pushed 3 files"), "{pushed:?}");
    assert!(!pushed.stderr.contains("token="), "{pushed:?}");

    assert_eq!(user.done(&["pull", link, "--unpack", "copy"]), "copy");
    assert_eq!(entries(&user, "copy"), [".gitignore", "a", "b"]);
    assert_eq!(fs::read(user.home().join("copy/b/c")).unwrap(), b"two");
    let again = user.failed(&["pull", link, "--unpack", "copy"], 1);
    assert!(again.contains("copy"), "{again}");

    let saved = user.done(&["pull", link]);
    assert!(saved.ends_with(".tar.gz"), "{saved}");
    assert_eq!(user.done(&["pull", link, "-o", "app.tgz"]), "app.tgz");
    let saved = fs::read(user.home().join(saved)).unwrap();
    assert_eq!(fs::read(user.home().join("app.tgz")).unwrap(), saved);
    let listed = Command::new("tar")
        .arg("-tzf")
        .arg(user.home().join("app.tgz"))
        .output();
    assert_eq!(
        listed.unwrap().stdout,
        b"app/\napp/.gitignore\napp/a\napp/b/\napp/b/c\n"
    );
    assert_eq!(
        entries(&user, "")
            .iter()
            .filter(|name| name.starts_with(".way"))
            .count(),
        0
    );
}

/// Nothing can take the place of the folder that somebody is in, nor of a mount point.
#[test]
fn an_archive_is_unpacked_to_a_folder_that_is_there() {
    let server = Waystation::start(&[]);
    let user = User::of(&server);
    user.write("app/a", "one");
    user.write("app/b/c", "two");
    let link = user.done(&["push", "app"]);
    let here = user.home().join("here");
    fs::create_dir(&here).unwrap();
    let before = fs::metadata(&here).unwrap().ino();
    let mut pull = user.command(&["pull", &link, "--unpack", "."]);
    pull.current_dir(&here);
    let ended = run(pull);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(fs::metadata(&here).unwrap().ino(), before);
    assert_eq!(entries(&user, "here"), ["a", "b"]);
    assert_eq!(fs::read(here.join("b/c")).unwrap(), b"two");
}

#[test]
fn what_cannot_be_unpacked_to_is_refused_before_anything_is_fetched() {
    let (store, asked) = host(|_| reply(200, ""));
    let user = User::new();
    user.write("full/a", "one");
    for folder in ["full", "full/a", "full/a/b", "not/there"] {
        let said = user.failed(&["pull", &format!("{store}/x"), "--unpack", folder], 1);
        assert!(said.contains(folder), "{said}");
    }
    assert_eq!(asked.lock().unwrap().len(), 0);
    assert_eq!(entries(&user, ""), ["full"]);
    assert_eq!(entries(&user, "full"), ["a"]);
}

/// A part of a link is another one.
#[test]
fn a_long_link_is_asked_for_whole() {
    let (store, asked) = host(|_| reply(404, ""));
    let path = format!("/x?token={}", "a".repeat(10_000));
    User::new().failed(&["pull", &format!("{store}{path}"), "-o", "x"], 1);
    assert_eq!(
        asked.lock().unwrap()[0].line,
        format!("GET {path} HTTP/1.1")
    );
}

#[test]
fn json_says_what_was_pushed_and_pulled() {
    let server = Waystation::start(&[]);
    let user = User::of(&server);
    user.write("app/a", "one");
    let one = user.json(&["push", "app", "--compress", "zstd"]);
    let other = user.json(&["push", "app", "--compress", "zstd"]);
    assert_eq!(one["upload"]["sha256"], other["upload"]["sha256"]);
    assert_eq!(one["upload"]["files"], 1);
    assert!(one["upload"]["expires_at"].is_string(), "{one}");
    let link = one["source"]["download_url"].as_str().unwrap();
    let pulled = user.json(&["pull", link, "-o", "a.tar.zst"]);
    assert_eq!(pulled["download"]["path"], "a.tar.zst");
    assert_eq!(pulled["download"]["sha256"], one["upload"]["sha256"]);
    assert_eq!(pulled["download"]["is_checked"], true);
}

#[test]
fn an_archive_is_sent_as_it_is_from_a_file_or_from_standard_input() {
    let server = Waystation::start(&[]);
    let user = User::of(&server);
    let archive = waystation_testing::archive(100_000, 7);
    user.write("a.tar.gz", &archive);
    let link = user.done(&["push", "a.tar.gz"]);
    let mut push = user.command(&["push", "-"]);
    let mut push = push
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    push.stdin.take().unwrap().write_all(&archive).unwrap();
    let piped = String::from_utf8(push.wait_with_output().unwrap().stdout).unwrap();
    for link in [link.as_str(), piped.trim_end()] {
        let mut pull = user.command(&["pull", "-", "-o", "-"]);
        let pull = pull
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut pull = pull.spawn().unwrap();
        pull.stdin
            .take()
            .unwrap()
            .write_all(link.as_bytes())
            .unwrap();
        assert_eq!(pull.wait_with_output().unwrap().stdout, archive);
    }
    let said = user.failed(&["push", "a.tar.gz", "--root", "x"], 2);
    assert!(said.contains("is an archive already"), "{said}");
}

#[test]
fn what_is_too_large_is_refused_with_limit_and_culprits() {
    let server = Waystation::start(&["--upload-limit", "10KiB"]);
    let user = User::of(&server);
    user.write("app/large", waystation_testing::archive(20_000, 3));
    let said = user.failed(&["push", "app"], 1);
    assert!(said.contains("'large' (19.5 KiB)"), "{said}");
    assert!(said.contains("larger than 10.0 KiB"), "{said}");
}

#[test]
fn a_link_that_opens_nothing_leaves_nothing() {
    let server = Waystation::start(&[]);
    let user = User::new();
    let source = server.create_source();
    for (link, part) in [
        (source.download_url.clone(), "nothing has been uploaded"),
        (source.download_url.replace("token=", "token=0"), "403"),
        ("ftp://x".to_owned(), "not an http or https URL"),
    ] {
        let said = user.failed(&["pull", &link, "-o", "x"], 1);
        assert!(said.contains(part) && !said.contains("token="), "{said}");
    }
    assert_eq!(entries(&user, ""), [] as [&str; 0]);
}

#[test]
fn warnings_are_errors_where_they_are_to_be() {
    let server = Waystation::start(&[]);
    let user = User::of(&server);
    user.write("app/a", "one");
    std::os::unix::fs::symlink("nothing", user.home().join("app/link")).unwrap();
    let pushed = user.run(&["push", "app", "--quiet"]);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    assert_eq!(
        pushed.stderr,
        "warning: 'link' is a link to 'nothing', which does not exist\n"
    );
    let said = user.failed(&["push", "app", "--strict"], 1);
    assert!(said.contains("--strict"), "{said}");
}

/// The archive that is written is never part of itself.
#[test]
fn temporary_files_in_the_folder_are_not_packed() {
    let server = Waystation::start(&[]);
    let user = User::of(&server);
    user.write("app/a", "one");
    let outside = user.json(&["push", "app"]);
    let app = user.home().join("app");
    let user = user.set("TMPDIR", app.to_str().unwrap());
    let inside = user.json(&["push", "app"]);
    assert_eq!(outside["upload"]["sha256"], inside["upload"]["sha256"]);
}
