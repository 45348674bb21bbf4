//! The platform itself, as its documentation says it: tokens are exchanged at another host than that of its API, and archives
//! go to a store that takes a plain PUT and says nothing of it.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use waystation_testing::archive;

use crate::user::User;

/// One request: method and path, the headers by lower-case names, and the body.
#[derive(Clone, Debug)]
struct Asked {
    line: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Asked {
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let headers: HashMap<_, _> = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers.get("content-length");
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).ok()?;
        Some(Self {
            line: lines[0].clone(),
            headers,
            body,
        })
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// A host that answers by status and body, one request a connection, until the test ends.
fn host(
    answer: impl Fn(&Asked) -> (u16, String) + Send + 'static,
) -> (String, Arc<Mutex<Vec<Asked>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if let Some(asked) = Asked::read(&stream) {
                let (status, body) = answer(&asked);
                all.lock().unwrap().push(asked);
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                // Whoever has gone wants no answer.
                let _ = stream.write_all((head + &body).as_bytes());
            }
        }
    });
    (url, seen)
}

#[test]
fn an_archive_is_pushed_to_the_platform_by_an_exchanged_token_and_a_plain_put() {
    let (store, stored) = host(|asked| match asked.line.split(' ').next().unwrap() {
        "PUT" => (200, String::new()),
        _ => (403, "<Error><Code>AccessDenied</Code></Error>".to_owned()),
    });
    let (auth, exchanged) = host(|_| (200, r#"{"token":"a.jwt.x"}"#.to_owned()));
    let links = format!(
        r#"{{"source":{{"upload_url":"{store}/up?token=1","download_url":"{store}/down?token=2","x":1}}}}"#
    );
    let (api, asked) = host(move |_| (201, links.clone()));
    let user = User::new()
        .set("WAYSTATION_URL", &api)
        .set("WAYSTATION_AUTH_URL", &auth)
        .set("WAYSTATION_TOKEN", "tk-us-secret");
    let archive = archive(6_000_000, 51);
    user.write("a.tar.gz", &archive);
    let link = user.done(&["push", "a.tar.gz"]);
    assert_eq!(link, format!("{store}/down?token=2"));

    let exchange = &exchanged.lock().unwrap()[0];
    assert_eq!(exchange.line, "POST /v1/tokens/exchange HTTP/1.1");
    // No user, and the token as password.
    assert_eq!(
        exchange.header("authorization"),
        "Basic OnRrLXVzLXNlY3JldA=="
    );
    for asked in asked.lock().unwrap().iter() {
        assert_eq!(asked.line, "POST /v1/sources HTTP/1.1");
        assert_eq!(asked.header("authorization"), "Bearer a.jwt.x");
    }
    let stored = stored.lock().unwrap();
    let put = stored
        .iter()
        .find(|asked| asked.line.starts_with("PUT"))
        .unwrap();
    assert_eq!(put.line, "PUT /up?token=1 HTTP/1.1");
    assert_eq!(put.header("content-type"), "application/x-gzip");
    assert_eq!(put.header("authorization"), "");
    assert!(put.body == archive);
}
