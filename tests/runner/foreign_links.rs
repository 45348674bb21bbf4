//! Links of users to archives elsewhere: what they may lead to, by name, address and redirect.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use waystation::error_chain::chain;
use waystation::runner::{ForeignRules, Resolver};

/// A resolver that gives one answer after the other, whatever it is asked, and notes what that was.
#[derive(Clone, Default)]
struct Names {
    answers: Arc<Mutex<VecDeque<Vec<IpAddr>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Names {
    fn answering(answers: &[&[&str]]) -> Self {
        let parse =
            |addresses: &&[&str]| addresses.iter().map(|text| text.parse().unwrap()).collect();
        let answers = answers.iter().map(parse).collect();
        Self {
            answers: Arc::new(Mutex::new(answers)),
            asked: Arc::default(),
        }
    }

    fn resolver(&self) -> Resolver {
        let names = self.clone();
        Arc::new(move |name| {
            names.asked.lock().unwrap().push(name);
            let answer = names.answers.lock().unwrap().pop_front();
            Box::pin(async move { Ok(answer.unwrap_or_default()) })
        })
    }
}

fn rules(names: &Names, allowed: &[&str], plain_http: bool) -> ForeignRules {
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    ForeignRules {
        allowed: allowed.iter().map(|text| text.parse().unwrap()).collect(),
        plain_http,
        authorities: Vec::new(),
        resolver: names.resolver(),
    }
}

/// Answers each connection with the next of these.
pub(crate) fn serve(answers: Vec<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for answer in answers {
            let (mut connection, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            assert!(
                !head.contains("authorization") && !head.contains("cookie"),
                "{head}"
            );
            assert!(!head.contains("referer"), "{head}");
            connection.write_all(&answer).unwrap();
        }
    });
    address
}

pub(crate) fn found(body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn moved(status: u16, to: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} Moved\r\nLocation: {to}\r\n");
    [
        head.as_bytes(),
        b"Content-Length: 0\r\nConnection: close\r\n\r\n",
    ]
    .concat()
}

async fn open(rules: &ForeignRules, link: &str) -> Result<String, String> {
    let opened = rules.open(link).await.map_err(|error| chain(&error))?;
    Ok(opened.text().await.unwrap())
}

async fn assert_refused(rules: &ForeignRules, link: &str, said: &str) {
    let refused = open(rules, link).await.unwrap_err();
    assert!(refused.contains(said), "{link}: {refused}");
    // The link may be a secret; its host is not.
    assert!(!refused.contains("s3cr3t"), "{refused}");
}

#[tokio::test]
async fn a_link_leads_to_https_on_its_port_in_the_public_internet_or_nowhere() {
    let no_names = Names::default();
    let strict = rules(&no_names, &[], false);
    for (link, said) in [
        ("file:///etc/passwd", "the scheme file"),
        ("ftp://8.8.8.8/s3cr3t", "the scheme ftp"),
        ("http://8.8.8.8/s3cr3t", "--fetch-plain-http"),
        ("s3cr3t", "not a URL"),
        ("https://user:s3cr3t@8.8.8.8/", "a user or a password"),
        ("https://user@8.8.8.8/", "a user or a password"),
        ("https://8.8.8.8:8443/s3cr3t", "the port 8443"),
        ("https://8.8.8.8:22/", "--fetch-allow 8.8.8.8"),
        (
            "https://127.0.0.1/s3cr3t",
            "is at 127.0.0.1, which is not a public internet address",
        ),
        (
            "https://169.254.169.254/latest/meta-data",
            "is at 169.254.169.254",
        ),
        ("https://[::1]/", "is at ::1"),
        ("https://[::ffff:10.0.0.1]/", "is at ::ffff:10.0.0.1"),
        ("https://[::ffff:a00:1]/", "is at ::ffff:10.0.0.1"),
        (
            "https://[64:ff9b::a9fe:a9fe]/",
            "not a public internet address",
        ),
        ("https://[2002:7f00:1::]/", "not a public internet address"),
        // One address in many spellings.
        ("https://2130706433/", "is at 127.0.0.1"),
        ("https://0x7f.1/", "is at 127.0.0.1"),
        ("https://0177.0.0.1/", "is at 127.0.0.1"),
        ("https://0/", "is at 0.0.0.0"),
        ("https://１２７.0.0.1/", "is at 127.0.0.1"),
        ("https://nowhere.example/", "has no address"),
    ] {
        assert_refused(&strict, link, said).await;
    }
    let plain = rules(&no_names, &[], true);
    for (host, said) in [
        ("10.0.0.1", "is at 10.0.0.1"),
        ("127.0.0.1", "is at 127.0.0.1"),
        ("169.254.169.254", "is at 169.254.169.254"),
        ("[::ffff:10.0.0.1]", "is at ::ffff:10.0.0.1"),
    ] {
        assert_refused(&plain, &format!("http://{host}/s3cr3t"), said).await;
        assert_refused(&plain, &format!("http://{host}:8080/"), said).await;
    }
}

#[tokio::test]
async fn each_address_of_a_name_is_judged() {
    for addresses in [
        &["10.0.0.1"][..],
        &["8.8.8.8", "127.0.0.1"],
        &["2606:4700::1111", "fd00::1"],
    ] {
        let names = Names::answering(&[addresses]);
        let said = "not a public internet address";
        assert_refused(&rules(&names, &[], false), "https://a.example/s3cr3t", said).await;
        assert_eq!(*names.asked.lock().unwrap(), ["a.example"]);
    }
}

#[tokio::test]
async fn a_name_is_looked_up_once_and_the_judged_address_is_connected_to() {
    let server = serve(vec![found(b"an archive")]);
    // What would be the second answer leads elsewhere.
    let names = Names::answering(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let rules = rules(&names, &["127.0.0.1"], true);
    let link = format!("http://a.example:{}/archive", server.port());
    assert_eq!(open(&rules, &link).await.as_deref(), Ok("an archive"));
    assert_eq!(*names.asked.lock().unwrap(), ["a.example"]);
}

#[tokio::test]
async fn a_host_is_allowed_by_its_name_and_no_other_is() {
    let server = serve(vec![found(b"an archive")]);
    let names = Names::answering(&[&["127.0.0.1"], &["127.0.0.1"]]);
    let rules = rules(&names, &["Git.example"], true);
    let link = |host: &str| format!("http://{host}:{}/", server.port());
    assert_eq!(
        open(&rules, &link("git.example")).await.as_deref(),
        Ok("an archive")
    );
    assert_refused(&rules, &link("git.example.org"), "is at 127.0.0.1").await;
}

#[tokio::test]
async fn each_redirect_is_judged_like_the_link_itself() {
    for (to, said) in [
        ("http://169.254.169.254/latest", "is at 169.254.169.254"),
        ("//10.0.0.1/", "is at 10.0.0.1"),
        ("file:///etc/passwd", "the scheme file"),
        ("http://user:s3cr3t@127.0.0.1/", "a user or a password"),
        ("http://b.example/s3cr3t", "b.example is at 192.168.0.1"),
        ("http://:/", "a redirect without a valid location"),
    ] {
        for status in [301, 302, 303, 307, 308] {
            let server = serve(vec![moved(status, to)]);
            let names = Names::answering(&[&["192.168.0.1"]]);
            let rules = rules(&names, &["127.0.0.1"], true);
            assert_refused(&rules, &format!("http://{server}/"), said).await;
        }
    }
}

#[tokio::test]
async fn three_redirects_are_followed_and_not_a_fourth() {
    let names = Names::default();
    let rules = rules(&names, &["127.0.0.1"], true);
    let with = |redirects: usize| {
        let mut answers = vec![moved(302, "/next"); redirects];
        answers.push(found(b"an archive"));
        format!("http://{}/", serve(answers))
    };
    assert_eq!(open(&rules, &with(3)).await.as_deref(), Ok("an archive"));
    assert_refused(&rules, &with(4), "more than 3 redirects").await;
}

#[tokio::test]
async fn what_is_no_success_is_said_with_its_status() {
    let names = Names::default();
    let rules = rules(&names, &["127.0.0.1"], true);
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let server = serve(vec![missing.as_bytes().to_vec()]);
    assert_refused(
        &rules,
        &format!("http://{server}/s3cr3t"),
        "127.0.0.1 answered 404",
    )
    .await;
}
