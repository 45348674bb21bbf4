//! Logging in and out, and which server and token count.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::process::Stdio;

use waystation_testing::Waystation;
use waystation_testing::program::Ended;

use crate::scripted_host::{host, reply, server_with_links};
use crate::user::User;

fn log_in(user: &User, url: &str, token: &str) -> Ended {
    let mut command = user.command(&["login", url]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), token.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_login_is_kept_for_its_user_alone_until_they_log_out() {
    let server = Waystation::start(&[]);
    let user = User::new();
    let nobody = user.failed(&["whoami"], 1);
    assert!(nobody.contains("'waystation login URL'"), "{nobody}");
    let url = server.url("");
    let ended = log_in(&user, &url, &format!("{}\n", server.api_token()));
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );
    assert!(
        ended
            .stderr
            .contains(&format!("logged in to {url} as admin")),
        "{ended:?}"
    );
    assert!(!ended.stderr.contains(server.api_token()));

    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(user.logins_file()), 0o600);
    assert_eq!(mode(user.logins_file().parent().unwrap().to_owned()), 0o700);
    assert_eq!(user.done(&["whoami"]), format!("admin\t{url}"));
    let json = user.json(&["whoami"]);
    assert_eq!(
        (&json["url"], &json["user"]["username"]),
        (&url.as_str().into(), &"admin".into())
    );

    assert_eq!(user.json(&["logout"])["was_logged_in"], true);
    assert!(
        !fs::read_to_string(user.logins_file())
            .unwrap()
            .contains("tk-us-")
    );
    user.failed(&["whoami"], 1);
}

#[test]
fn a_token_that_is_refused_is_not_kept() {
    let server = Waystation::start(&[]);
    let user = User::new();
    for token in ["tk-us-wrong", "", "two tokens"] {
        let ended = log_in(&user, &server.url(""), token);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(!user.logins_file().exists());
    }
}

/// Asking again would only look like guessing.
#[test]
fn a_token_that_is_refused_is_exchanged_once() {
    let (api, asked) = host(|_| reply(401, "{}"));
    User::at(&api).failed(&["whoami"], 1);
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[test]
fn a_bearer_that_has_become_too_old_is_exchanged_anew() {
    let is_too_old = Cell::new(true);
    let (api, asked) = host(move |asked| {
        if asked.line.contains("exchange") {
            return reply(200, r#"{"token":"a.jwt.x"}"#);
        }
        let is_first = asked.line.contains("?page=1&");
        if !is_first && is_too_old.take() {
            return reply(401, "{}");
        }
        let next = if is_first { "2" } else { "null" };
        let pages = format!(
            r#"{{"current_page":1,"next_page":{next},"prev_page":null,"total_pages":2,"total_count":0,"per_page":50}}"#
        );
        reply(
            200,
            format!(r#"{{"deployments":[],"meta":{{"pagination":{pages}}}}}"#),
        )
    });
    User::at(&api).done(&["deployment", "list", "my-shop"]);
    let asked = asked.lock().unwrap();
    let exchanges = asked.iter().filter(|asked| asked.line.contains("exchange"));
    assert_eq!((exchanges.count(), asked.len()), (2, 5));
}

/// A token must not go to a server that nobody has named.
#[test]
fn after_a_logout_no_other_server_is_meant() {
    let (server, other) = (Waystation::start(&[]), Waystation::start(&[]));
    let user = User::new();
    for server in [&other, &server] {
        let ended = log_in(&user, &server.url(""), server.api_token());
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    user.done(&["logout"]);
    let said = user.failed(&["whoami"], 1);
    assert!(said.contains("no server is known"), "{said}");
    let url = other.url("");
    let named = user.done(&["whoami", "--url", &url]);
    assert_eq!(named, format!("admin\t{url}"));
}

#[test]
fn a_token_may_come_from_a_file_and_the_environment_wins() {
    let (server, other) = (Waystation::start(&[]), Waystation::start(&[]));
    let user = User::new();
    let file = user.home().join("token");
    let mut options = fs::OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(&file);
    std::io::Write::write_all(&mut made.unwrap(), server.api_token().as_bytes()).unwrap();
    let file = file.to_str().unwrap();
    user.done(&["login", &server.url(""), "--token-file", file]);
    let user = user
        .set("WAYSTATION_URL", &other.url(""))
        .set("WAYSTATION_TOKEN", other.api_token());
    assert_eq!(user.done(&["whoami"]), format!("admin\t{}", other.url("")));
}

/// Whoever can read the file has read the tokens.
#[test]
fn a_file_of_logins_that_others_can_read_is_refused() {
    let user = User::new();
    let file = user.write(".config/waystation/logins.json", "{}");
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    let said = user.failed(&["whoami"], 1);
    assert!(said.contains("chmod 600"), "{said}");
}

#[test]
fn plain_http_to_another_machine_is_refused_unless_it_is_meant() {
    let user = User::new().set("WAYSTATION_TOKEN", "tk-us-x");
    for url in ["http://192.0.2.1", "HTTP://192.0.2.1"] {
        let said = user.failed(&["whoami", "--url", url], 1);
        assert!(said.contains("--plain-http"), "{said}");
    }
    for link in [
        "http://192.0.2.1/v1/sources/x?token=secret",
        "HTTP://192.0.2.1/v1/sources/x?token=secret",
        "http://u@192.0.2.1/v1/sources/x?token=secret",
        " http://192.0.2.1/v1/sources/x?token=secret",
        "http://192.0.2.1/v1/sources/x#a?token=secret",
        "http:\\\\192.0.2.1/v1/sources/x?token=secret",
    ] {
        let said = user.failed(&["pull", link], 1);
        assert!(
            said.contains("--plain-http") && !said.contains("secret"),
            "{link}: {said}"
        );
    }
}

/// The server may be near, and what it names far away.
#[test]
fn a_link_that_a_server_names_is_held_to_the_same_rule() {
    let link = "http://192.0.2.1/x?token=secret";
    let (api, asked) = server_with_links(link, link);
    let user = User::at(&api);
    user.write("app/a", "one");
    let said = user.failed(&["push", "app"], 1);
    assert!(
        said.contains("--plain-http") && !said.contains("secret"),
        "{said}"
    );
    assert_eq!(asked.lock().unwrap().len(), 2);
}
