//! The page in a real browser: Chromium, which the scripts in `tests/page` drive, against the real program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use waystation_testing::program::{Ended, Program, run, tools, without_settings};
use waystation_testing::{Waystation, archive, eventually, repository};

use crate::proxy::Proxied;
use crate::scripted_runner::Deploying;

/// The script of that file, to be told what follows.
fn script(file: &str, scenario: &str, told: &Value) -> Command {
    let mut node = without_settings(tools().join("bin/node").to_str().unwrap());
    node.arg(repository().join("tests/page/run.mjs"))
        .arg(tools())
        .args([file, scenario, &told.to_string()])
        .env("DEBUG", "pw:api");
    node
}

/// What a scenario that has ended well has told.
fn told_by(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Plays a scenario for a user of a server.
fn play(server: &Waystation, file: &str, scenario: &str, more: &Value) -> Value {
    let mut told = json!({ "url": server.url("/"), "token": server.api_token() });
    let (all, more) = (told.as_object_mut().unwrap(), more.as_object().unwrap());
    all.extend(more.clone());
    told_by(&run(script(file, scenario, &told)))
}

fn text<'a>(told: &'a Value, key: &str) -> &'a str {
    let text = told[key].as_str();
    text.unwrap_or_else(|| panic!("no {key} in {told}"))
}

/// Runs a line in a shell, in a folder.
fn shell(folder: &Path, line: &str) {
    let mut sh = without_settings("sh");
    sh.args(["-ec", line]).current_dir(folder);
    let ended = run(sh);
    assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
}

#[test]
fn a_file_is_given_and_its_link_curl_line_and_digest_are_right() {
    let server = Waystation::start(&[]);
    let given = archive(100_000, 1);
    let path = server.store.write_file("given.tar.gz", &given);
    let told = play(&server, "giving.mjs", "file", &json!({ "archive": path }));
    assert!(text(&told, "refused").starts_with("the bearer is unknown"));
    let taken = server.store.room().join("taken");
    fs::create_dir(&taken).unwrap();
    shell(&taken, text(&told, "With curl"));
    let digest = format!(
        "echo \"{}  $(echo *)\" | sha256sum -c",
        text(&told, "SHA-256")
    );
    shell(&taken, &digest);
    shell(&taken, &format!("cmp * '{path}'"));
    let (page, link) = (text(&told, "Page to open"), text(&told, "Download link"));
    assert_eq!(page, format!("{}#{link}", server.url("/get")));
    let countdown = text(&told, "countdown");
    assert!(countdown.starts_with("The link expires in ") && countdown.ends_with(" s."));
    server.stop();
}

fn make_file(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// What a folder may have, and a thousand files.
fn make_folder(root: &Path) {
    for number in 0..1000 {
        let path = root.join(format!("src/{}/file-{number}", number % 7));
        make_file(&path, &archive(number, 1));
    }
    make_small_folder(root);
}

/// What a folder may have.
fn make_small_folder(root: &Path) {
    let make = |path: &str, content: &[u8]| make_file(&root.join(path), content);
    make("Überschrift – 表.txt", b"not ASCII");
    make(
        &format!("{}/{}.txt", "deep/".repeat(30), "x".repeat(150)),
        b"a long name",
    );
    make("empty-file", b"");
    make("run.sh", b"#!/bin/sh\necho hello\n");
    let may_run = fs::Permissions::from_mode(0o755);
    fs::set_permissions(root.join("run.sh"), may_run).unwrap();
    fs::create_dir_all(root.join("an/empty folder")).unwrap();
}

/// In parts, as the server offers it; and whole, as a server whose store takes no parts.
#[test]
fn a_folder_is_packed_and_gnu_tar_unpacks_the_same_with_its_empty_folders() {
    let server = Waystation::start(&[]);
    let room = server.store.room().join("room");
    let folder = room.join("my folder");
    make_folder(&folder);
    for (without_parts, out) in [(false, "parts"), (true, "whole")] {
        let more = json!({ "folder": folder, "withoutParts": without_parts });
        let told = play(&server, "giving.mjs", "folder", &more);
        let link = text(&told, "Download link");
        let unpack = format!("mkdir {out}; curl -sf '{link}' | tar -xz -C {out}");
        shell(&room, &unpack);
        shell(&room, &format!("diff -r 'my folder' '{out}/my folder'"));
        let whole = "test -d 'my folder/an/empty folder'; './my folder/run.sh'";
        shell(&room.join(out), whole);
    }
    server.stop();
}

#[test]
fn a_file_of_300_mib_as_it_is_or_packed_takes_less_than_200_mib_of_the_tab() {
    let server = Waystation::start(&["--sync", "off"]);
    let room = server.store.room().join("room");
    let folder = room.join("folder");
    fs::create_dir_all(&folder).unwrap();
    shell(
        &room,
        "truncate -s 300M folder/large; printf '\\037\\213\\010' | cat - folder/large > large.gz",
    );
    let (archive, folder) = (room.join("large.gz"), folder);
    let told = play(
        &server,
        "giving.mjs",
        "large",
        &json!({ "archive": archive, "folder": folder }),
    );
    let peak_kib = told["peakKib"].as_u64().unwrap();
    assert!(peak_kib < 200 * 1024, "{peak_kib} KiB");
    let digest = text(&told["file"], "SHA-256");
    shell(&room, &format!("echo '{digest}  large.gz' | sha256sum -c"));
    let unpacked = format!(
        "curl -sf '{}' | tar -xzO | cmp - folder/large",
        text(&told["packed"], "Download link")
    );
    shell(&room, &unpacked);
    server.stop();
}

#[test]
fn an_upload_goes_on_by_itself_after_a_drop_of_the_line() {
    let server = Waystation::start(&[]);
    let given = archive(24_000_000, 1);
    let path = server.store.write_file("given.tar.gz", &given);
    let more = json!({ "archive": path, "cutAfterBytes": 12_000_000 });
    let told = play(&server, "giving.mjs", "cut_line", &more);
    assert!(text(&told, "said").starts_with("The line is down. It goes on by itself"));
    // What had come was not sent again.
    let passed = told["passed"].as_u64().unwrap();
    assert!(passed < 30_000_000, "{passed} bytes");
    let digest = format!("echo '{}  {path}' | sha256sum -c", text(&told, "SHA-256"));
    shell(server.store.room(), &digest);
    server.stop();
}

#[test]
fn a_slow_disk_is_not_taken_for_a_line_that_is_down() {
    let server = Waystation::start(&[]);
    let path = server.store.write_file("given.tar.gz", &archive(1000, 1));
    let told = play(
        &server,
        "giving.mjs",
        "slow_answer",
        &json!({ "archive": path }),
    );
    assert_eq!(text(&told, "said"), "");
    server.stop();
}

/// Plays a scenario in which an upload is cancelled in its middle.
fn cancel(server: &Waystation, scenario: &str) {
    let path = server
        .store
        .write_file("given.tar.gz", &archive(24_000_000, 1));
    let more = json!({ "archive": path, "cutAfterBytes": 12_000_000 });
    let told = play(server, "giving.mjs", scenario, &more);
    assert_eq!(
        text(&told, "said"),
        "You cancelled it. Nothing of it can be downloaded."
    );
    assert_eq!(told["isBack"], true);
    assert_eq!(server.store.archives(), [] as [std::path::PathBuf; 0]);
}

#[test]
fn an_upload_can_be_cancelled_while_the_line_is_down() {
    let server = Waystation::start(&[]);
    cancel(&server, "cancelled_while_down");
    server.stop();
}

#[test]
fn an_upload_that_is_cancelled_leaves_nothing() {
    let server = Waystation::start(&[]);
    cancel(&server, "cancelled");
    eventually("its attempt is gone", || {
        let left = server.store.entries_below("attempts");
        left.iter().all(|entry| entry.is_dir())
    });
    server.stop();
}

#[test]
fn who_is_asked_drops_a_file_without_an_account_and_who_is_given_it_sees_what_is_inside() {
    let server = Waystation::start(&[]);
    let room = server.store.room().join("room");
    make_folder(&room.join("shop"));
    shell(&room, "tar -czf shop.tar.gz shop");
    let told = play(
        &server,
        "giving.mjs",
        "ask",
        &json!({ "archive": room.join("shop.tar.gz") }),
    );
    assert!(text(&told, "address").starts_with(&server.url("/drop#http://")));
    // Once they are used, links are gone from the addresses of the tabs.
    assert_eq!(text(&told, "addressAfter"), server.url("/drop"));
    let taken = &told["taken"];
    assert_eq!(text(taken, "addressAfter"), server.url("/get"));
    let size = fs::metadata(room.join("shop.tar.gz")).unwrap().len();
    assert_eq!(taken["bytes"], size);
    let mut inside: Vec<_> = taken["inside"].as_array().unwrap().clone();
    inside.sort_by_key(|path| path.as_str().unwrap().to_owned());
    let listed = run(tar_list(&room.join("shop.tar.gz"))).stdout;
    let mut expected: Vec<_> = listed.lines().map(|line| json!(line)).collect();
    expected.sort_by_key(|path| path.as_str().unwrap().to_owned());
    assert_eq!(inside, expected);
    let digest = format!(
        "echo '{}  shop.tar.gz' | sha256sum -c",
        digest_in(text(&told, "arrived"))
    );
    shell(&room, &digest);
    assert!(text(taken, "facts").contains("application/gzip"));
    server.stop();
}

#[test]
fn behind_the_readmes_proxy_and_below_its_path_all_of_it_works_the_stream_too() {
    let proxied = Proxied::start(&[]);
    let it = Deploying::on(proxied.server);
    let room = it.server.store.room().join("room");
    make_folder(&room.join("shop"));
    shell(&room, "tar -czf shop.tar.gz shop");
    let (_, reports) = it.run();
    it.append(&reports, 0, "one\n");
    let more = json!({ "url": format!("{}/", proxied.url), "archive": room.join("shop.tar.gz") });
    let told = play(&it.server, "giving.mjs", "ask", &more);
    assert!(text(&told, "address").starts_with(&format!("{}/drop#{}", proxied.url, proxied.url)));
    let live = play(&it.server, "watching.mjs", "live", &more);
    assert_eq!(live, json!("Live"));
    it.server.stop();
}

fn tar_list(archive: &Path) -> Command {
    let mut tar = without_settings("tar");
    tar.args(["--quoting-style=literal", "-tzf"]).arg(archive);
    tar
}

/// The digest at the end of a text.
fn digest_in(text: &str) -> &str {
    let (_, digest) = text.rsplit_once("SHA-256").unwrap();
    digest.trim()
}

#[test]
fn links_that_are_of_no_use_are_refused_in_the_words_of_the_server_or_the_page() {
    let server = Waystation::start(&["--lifetime", "1s"]);
    let source = server.create_source();
    let path = server.store.write_file("given.tar.gz", &archive(1000, 2));
    let more =
        json!({ "archive": path, "upload": source.upload_url, "download": source.download_url });
    eventually("it expires", || server.download(&source).status == 410);
    let told = play(&server, "giving.mjs", "refused", &more);
    for key in ["taken", "dropped"] {
        assert!(
            text(&told, key).starts_with("this link expired at "),
            "{told}"
        );
    }
    assert!(text(&told, "nonsense").starts_with("This is no link of a waystation server"));
    assert!(text(&told, "elsewhere").ends_with("Open it at x.example."));
    assert!(text(&told, "none").starts_with("The address is not whole"));
    assert_eq!(text(&told, "addressAfter"), server.url("/get"));
    server.stop();
}

#[test]
fn a_link_whose_archive_has_not_come_yet_stays_and_another_one_is_looked_at_in_the_same_tab() {
    let server = Waystation::start(&[]);
    let link = server.create_source().download_url;
    let there = server.create_and_upload(&archive(1000, 1)).download_url;
    let more = json!({ "download": link, "there": there });
    let told = play(&server, "giving.mjs", "not_yet", &more);
    assert_eq!(
        text(&told, "said"),
        "nothing has been uploaded to this source yet"
    );
    assert_eq!(
        text(&told, "address"),
        format!("{}#{link}", server.url("/get"))
    );
    server.stop();
}

/// The log of a build, in colours, with something that only looks like markup.
const FIRST_LINES: &str =
    "\u{1b}[2mone\u{1b}[0m\n<b>two</b> needle\n\u{1b}[31;1merror\u{1b}[0m: needle\nthree\n";

impl Deploying {
    /// Starts a visitor of the page who is signed in.
    fn visit(&self, scenario: &str) -> Program {
        let told = json!({ "url": self.server.url("/"), "token": self.server.api_token() });
        Program::start(script("watching.mjs", scenario, &told))
    }
}

/// What a visitor who has come to the end has told.
fn told_at_the_end(mut visitor: Program) -> Value {
    assert_eq!(visitor.await_end(), Some(0), "{}", visitor.stderr());
    let stdout = visitor.stdout();
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

#[test]
fn a_deployment_is_watched_from_its_start_to_its_end() {
    let it = Deploying::start(&[]);
    let visitor = it.visit("watch");
    visitor.await_line("reached: the board");
    let (id, reports) = it.run();
    visitor.await_line("reached: the build");
    it.append(&reports, 0, FIRST_LINES);
    visitor.await_line("reached: the middle");
    let more = format!("{}needle\nthe last line", "more\n".repeat(499));
    it.append(&reports, FIRST_LINES.len(), &more);
    it.report(&reports, "success");
    let told = told_at_the_end(visitor);

    assert_eq!(
        (&told["live"], &told["rows"]),
        (&json!("building"), &json!(1))
    );
    let colours = json!([["dim", "one"], ["ink-1 bold", "error"]]);
    assert_eq!((&told["colours"], &told["markup"]), (&colours, &json!(0)));
    assert_eq!(told["firstError"], "error: needle");
    assert_eq!(told["isFollowing"], "false");
    assert_eq!(told["matches"], "2 of 2 lines");
    assert_eq!(told["matchesAfter"], "3 of 3 lines");
    let lines = told["lines"].as_array().unwrap();
    assert_eq!((lines.len(), &lines[504]), (505, &json!("the last line")));
    assert_eq!(
        (&told["later"], &told["isAtEnd"]),
        (&told["lines"], &json!(true))
    );
    assert_eq!(told["text"], format!("{FIRST_LINES}{more}"));
    assert_eq!(told["download"]["name"], format!("my-shop-{id}.log"));
    it.server.stop();
}

#[test]
fn a_deployment_is_cancelled_once_that_is_confirmed() {
    let it = Deploying::start(&[]);
    let (_, reports) = it.run();
    it.append(&reports, 0, "one\n");
    let visitor = it.visit("cancel");
    visitor.await_line("reached: the cancel");
    it.report(&reports, "aborted");
    let told = told_at_the_end(visitor);
    assert_eq!(
        (&told["after"], &told["isGone"]),
        (&json!("building"), &json!(true))
    );
    it.server.stop();
}

#[test]
fn a_refusal_and_a_half_line_stand_until_the_stream_has_said_all() {
    let it = Deploying::start(&[]);
    let (_, reports) = it.run();
    it.append(&reports, 0, "one\n");
    let visitor = it.visit("early_end");
    visitor.await_line("reached: the refusal");
    // So long that its first half is sent on by itself.
    let half = "x".repeat(20_000);
    it.append(&reports, 4, &half);
    visitor.await_line("reached: the end");
    it.append(&reports, 20_004, " its end\nthe last line");
    it.report(&reports, "aborted");
    let told = told_at_the_end(visitor);
    assert_eq!(told["refusal"], "not now");
    let lines = json!(["one", format!("{half} its end"), "the last line"]);
    assert_eq!(told["lines"], lines);
    it.server.stop();
}

/// Nothing is found in these views by axe, and nothing is wider than its window.
fn check_views(views: &[&str]) {
    let it = Deploying::start(&[]);
    let (_, reports) = it.run();
    it.append(&reports, 0, FIRST_LINES);
    let room = it.server.store.room().join("room");
    make_small_folder(&room.join("shop"));
    shell(&room, "tar -czf shop.tar.gz shop");
    let archive = fs::read(room.join("shop.tar.gz")).unwrap();
    let more = json!({
        "views": views,
        "archive": room.join("shop.tar.gz"),
        "upload": it.server.create_source().upload_url,
        "download": it.server.create_and_upload(&archive).download_url,
    });
    let found = play(&it.server, "looks.mjs", "views", &more);
    assert_eq!(found, json!([]));
    it.server.stop();
}

#[test]
fn the_views_of_who_signs_in_are_accessible_and_fit_their_window() {
    check_views(&["sign in", "refused"]);
}

#[test]
fn the_views_of_who_gives_are_accessible_and_fit_their_window() {
    check_views(&["give", "given"]);
}

#[test]
fn the_views_of_who_asks_and_is_asked_are_accessible_and_fit_their_window() {
    check_views(&["ask", "drop", "take"]);
}

#[test]
fn the_views_of_who_watches_are_accessible_and_fit_their_window() {
    check_views(&["watch", "confirm"]);
}

#[test]
fn a_keyboard_is_enough() {
    let server = Waystation::start(&[]);
    let told = play(&server, "looks.mjs", "keyboard", &json!({}));
    let stops = json!([
        "content",
        "token",
        "Give",
        "Choose files",
        "Choose a folder",
        "Ask"
    ]);
    assert_eq!(told["stops"], stops);
    assert_eq!(text(&told, "said").trim(), "Waiting for a file");
    assert_eq!(text(&told, "title"), "Ask · waystation");
    server.stop();
}

#[test]
fn without_a_page_nothing_is_served_to_browsers() {
    let server = Waystation::start(&["--no-page"]);
    for path in ["/", "/get", "/drop", "/page/main.js"] {
        let reply = server
            .try_call("GET", path, &["Accept: text/html"], b"")
            .unwrap();
        assert_eq!(reply.status, 404, "{path}: {reply:?}");
    }
    server.stop();
}

/// Codes of all sizes are read by a reader that was not written here, and what is packed by the module is listed by the
/// other one.
#[test]
fn the_modules_of_the_page_do_what_they_say() {
    let mut node = without_settings(tools().join("bin/node").to_str().unwrap());
    node.arg(repository().join("tests/page/modules.mjs"))
        .args([tools(), repository().join("src/page")]);
    let mut program = Program::start(node);
    assert_eq!(program.await_end(), Some(0), "{}", program.stderr());
}
