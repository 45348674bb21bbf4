//! What must hold whatever bytes a client sends on a connection: see [`crate::fuzzing`].

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use http::Method;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{ConnectionLimits, Peer, Service, Stage};
use crate::pace::Pace;
use crate::public_url::Scheme;
use crate::server::sendfile::Transport;

const HEAD_BYTES: usize = 8 * 1024;

/// What a client sent, all at once, and what it was answered.
struct Wire {
    sent: Vec<u8>,
    read: usize,
    answered: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let end = self.sent.len().min(self.read + buffer.remaining());
        buffer.put_slice(&self.sent[self.read..end]);
        self.read = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut answered = self.answered.lock().expect("no panic while it is held");
        answered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Transport for Wire {
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

/// A request as the handler saw it.
struct Seen {
    method: Method,
    body_bytes: usize,
}

type Log = Arc<Mutex<Vec<Seen>>>;

async fn note(State(log): State<Log>, request: Request) -> &'static str {
    let method = request.method().clone();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
    let body_bytes = body.map_or(0, |body| body.len());
    log.lock()
        .expect("no panic while it is held")
        .push(Seen { method, body_bytes });
    "seen"
}

/// Each request is answered once, in order and whole; then there may be one refusal, in JSON; no byte
/// is taken for the body of two requests.
pub fn connections(bytes: &[u8]) {
    let log = Log::default();
    let answered = converse(bytes, &log);
    let log = log.lock().expect("no panic while it is held");
    let body_bytes: usize = log.iter().map(|seen| seen.body_bytes).sum();
    assert!(body_bytes <= bytes.len());

    let mut rest = answered.as_slice();
    for seen in log.iter() {
        let mut answer = Answer::next(&mut rest, &seen.method);
        if answer.status == 100 {
            answer = Answer::next(&mut rest, &seen.method);
        }
        assert_eq!(answer.status, 200);
        let has_body = seen.method != Method::HEAD && seen.method != Method::CONNECT;
        assert_eq!(answer.body, if has_body { "seen" } else { "" }.as_bytes());
    }
    if rest.is_empty() {
        return;
    }
    let refusal = Answer::next(&mut rest, &Method::GET);
    // 505 is for who speaks HTTP/2 without having agreed on it.
    let is_refusal = (400..500).contains(&refusal.status) || refusal.status == 505;
    assert!(is_refusal, "{}", refusal.status);
    let body: Value = serde_json::from_slice(refusal.body).expect("a refusal is JSON");
    assert!(body["error"].is_string());
    assert!(refusal.head.contains("x-request-id: "));
    assert!(rest.is_empty(), "more than one refusal");
}

fn converse(sent: &[u8], log: &Log) -> Vec<u8> {
    let (_serving, stop) = watch::channel(Stage::Serving);
    let service = Service {
        router: Router::new().fallback(note).with_state(Arc::clone(log)),
        limits: ConnectionLimits {
            connections: 1,
            head_timeout: Duration::from_mins(1),
            head_bytes: HEAD_BYTES,
            download_pace: Pace {
                idle_timeout: Duration::from_mins(1),
                min_bytes_per_second: 0,
            },
        },
        stop,
    };
    let answered = Arc::default();
    let wire = Wire {
        sent: sent.to_vec(),
        read: 0,
        answered: Arc::clone(&answered),
    };
    let peer = Peer {
        address: [192, 0, 2, 1].into(),
        scheme: Scheme::Http,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime
        .expect("a runtime of one thread")
        .block_on(service.serve_http1(wire, peer));
    let answered = answered.lock().expect("no panic while it is held");
    answered.clone()
}

struct Answer<'a> {
    status: u16,
    head: &'a str,
    body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Takes the next one off `rest`; all of them say how long they are.
    fn next(rest: &mut &'a [u8], method: &Method) -> Self {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, after) = rest.split_at(end.expect("a head ends") + 4);
        let head = std::str::from_utf8(head).expect("a head is text");
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .or(head.strip_prefix("HTTP/1.0 "));
        let status = status.expect("an answer begins with its version")[..3].parse();
        let length = head
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().expect("a length is a number"));
        let has_body = *method != Method::HEAD;
        let (body, after) = after.split_at(if has_body { length } else { 0 });
        *rest = after;
        Self {
            status: status.expect("a status is a number"),
            head,
            body,
        }
    }
}
