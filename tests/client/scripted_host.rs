//! Hosts that answer as a test says.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// One request: method and path, the headers by lower-case names, and the body.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
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

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// A host that answers as `answer` says, one request a connection, until the test ends.
pub(crate) fn host(
    answer: impl Fn(&Asked) -> Vec<u8> + Send + 'static,
) -> (String, Arc<Mutex<Vec<Asked>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if let Some(asked) = Asked::read(&stream) {
                let answer = answer(&asked);
                all.lock().unwrap().push(asked);
                // Whoever has gone wants no answer.
                let _ = stream.write_all(&answer);
            }
        }
    });
    (url, seen)
}

/// An answer as it is sent.
pub(crate) fn reply(status: u16, body: impl AsRef<[u8]>) -> Vec<u8> {
    let length = body.as_ref().len();
    reply_with(status, &[&format!("Content-Length: {length}")], body)
}

/// One whose length is among its headers, or is where it ends.
pub(crate) fn reply_with(status: u16, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let headers = headers.join("\r\n");
    let head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\n{headers}\r\n\r\n");
    [head.as_bytes(), body.as_ref()].concat()
}

/// A server that takes any token, and whose sources are all at these links.
pub(crate) fn server_with_links(
    upload_url: &str,
    download_url: &str,
) -> (String, Arc<Mutex<Vec<Asked>>>) {
    let links = format!(r#"{{"upload_url":"{upload_url}","download_url":"{download_url}"}}"#);
    host(move |asked| {
        if asked.line.contains("exchange") {
            reply(200, r#"{"token":"a.jwt.x"}"#)
        } else {
            reply(201, format!(r#"{{"source":{links}}}"#))
        }
    })
}
