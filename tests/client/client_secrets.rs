//! Links and tokens are where they have to be, and nowhere else.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use waystation_testing::faulty_line::{Fault, FaultyLine};
use waystation_testing::program::Program;
use waystation_testing::{Waystation, archive, eventually};

use crate::user::User;

fn command_line(id: u32) -> String {
    let words = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ")
}

/// A link in the arguments is there for an instant, and then no more.
#[test]
fn the_list_of_processes_shows_no_link() {
    let server = Waystation::start(&[]);
    let source = server.create_and_upload(&archive(3_000_000, 31));
    let proxy = FaultyLine::always(server.address, Fault::Stall(1_000_000));
    let link = source.download_url.replace(&server.url(""), &proxy.url());
    let user = User::new();
    let pull = Program::start(user.command(&["pull", &link, "-o", "x"]));
    eventually("it has begun", || proxy.sent_bytes() > 0);
    let shown = command_line(pull.id());
    assert!(shown.contains("pull - -o x"), "{shown}");
    pull.signal(Signal::INT);
}

/// Every file below a folder that has one of `secrets` in it.
fn holders(folder: &Path, secrets: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in waystation_testing::store_folder::entries_of(folder) {
        let Ok(bytes) = fs::read(&entry) else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        if secrets.iter().any(|secret| text.contains(secret)) {
            found.push(
                entry
                    .strip_prefix(folder)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
    found
}

#[test]
fn a_token_is_in_its_file_and_in_no_other_and_in_no_output() {
    let server = Waystation::start(&[]);
    let user = User::new();
    let token = user.write("token", server.api_token());
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&token, mode).unwrap();
    user.done(&["login", &server.url(""), "--token-file", "token"]);
    fs::remove_file(token).unwrap();
    user.write("app/a", "one");
    let secret = server.api_token();
    let mut said = String::new();
    for words in [
        &["push", "app"][..],
        &["push", "nowhere"],
        &["app", "show", "none"],
        &["whoami", "--json"],
        &["push", "app", "--url", "http://127.0.0.1:1"],
        &["pull", "http://127.0.0.1:1/v1/sources/x?token=5ec2e7"],
    ] {
        let ended = user.run(words);
        said += &ended.stderr;
        assert!(!ended.stdout.contains(secret));
    }
    assert!(
        !said.contains(secret) && !said.contains("token=") && !said.contains("5ec2e7"),
        "{said}"
    );
    assert_eq!(
        holders(user.home(), &[secret, "5ec2e7"]),
        [".config/waystation/logins.json"]
    );
}
