//! What must hold whatever bytes a client sends on a connection.

use std::cell::LazyCell;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use http::Method;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use waystation::pace::Pace;
use waystation::server::{ConnectionLimits, Server};

/// A request as the handler saw it.
struct Seen {
    method: Method,
    body_bytes: usize,
}

type Log = Arc<Mutex<Vec<Seen>>>;

async fn note(State(log): State<Log>, request: Request) -> &'static str {
    let method = request.method().clone();
    let body = request.into_body().collect().await;
    let body_bytes = body.map_or(0, |body| body.to_bytes().len());
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.push(Seen { method, body_bytes });
    "seen"
}

/// A server on loopback, which serves for as long as something runs on its runtime.
struct Wire {
    runtime: Runtime,
    address: SocketAddr,
    log: Log,
}

thread_local! {
    static WIRE: LazyCell<Wire> = LazyCell::new(|| Wire::start().expect("loopback is there"));
}

impl Wire {
    fn start() -> io::Result<Self> {
        let log = Log::default();
        let router = Router::new().fallback(note).with_state(Arc::clone(&log));
        let limits = ConnectionLimits {
            connections: 8,
            head_timeout: Duration::from_mins(1),
            head_bytes: 8 * 1024,
            download_pace: Pace {
                idle_timeout: Duration::from_mins(1),
                min_bytes_per_second: 0,
            },
        };
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move { Server::new(router, limits, None).accept(&listener).await });
        Ok(Self {
            runtime,
            address,
            log,
        })
    }

    /// What was answered to a client that sends this and no more, and what the handler saw.
    fn converse(&self, sent: &[u8]) -> io::Result<(Vec<u8>, Vec<Seen>)> {
        let answered = self.runtime.block_on(async {
            let (mut reader, mut writer) = TcpStream::connect(self.address).await?.into_split();
            let sent = sent.to_vec();
            // One that is refused early may not take all of it.
            let sending = tokio::spawn(async move {
                let _ = writer.write_all(&sent).await;
                let _ = writer.shutdown().await;
            });
            let mut answered = Vec::new();
            match reader.read_to_end(&mut answered).await {
                Err(error) if error.kind() != io::ErrorKind::ConnectionReset => return Err(error),
                _ => {}
            }
            let _ = sending.await;
            Ok(answered)
        })?;
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((answered, mem::take(&mut log)))
    }
}

/// Each request is answered once, in order and whole; then there may be one refusal; no byte is taken
/// for the body of two requests.
pub fn connections(bytes: &[u8]) {
    let conversation = WIRE.with(|wire| wire.converse(bytes));
    let (answered, log) = conversation.expect("loopback does not fail");
    let body_bytes: usize = log.iter().map(|seen| seen.body_bytes).sum();
    assert!(body_bytes <= bytes.len());

    let mut rest = answered.as_slice();
    for seen in &log {
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
    // 505 is for HTTP/2 that was not agreed on.
    let is_refusal = (400..500).contains(&refusal.status) || refusal.status == 505;
    assert!(is_refusal, "{}", refusal.status);
    assert!(rest.is_empty(), "more than one refusal");
}

struct Answer<'a> {
    status: u16,
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
            body,
        }
    }
}
