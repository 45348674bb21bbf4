//! The one client of all servers: HTTP/1.1 on a blocking socket, kept open, plain or in TLS 1.3. It does
//! as little as it can for each byte, and compares every byte that comes back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::body::Body;

/// What is read at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// A body up to this size is sent together with its head.
const SMALL_BYTES: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_mins(2);

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

pub(crate) struct Connection {
    stream: Stream,
    host: String,
    buffer: Vec<u8>,
    /// What of the buffer has been read and not been used.
    begin: usize,
    end: usize,
}

/// An answer without its body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Connection {
    pub(crate) fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Self {
        Self::try_open(address, tls).unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    pub(crate) fn try_open(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
    ) -> std::io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let stream = match tls {
            None => Stream::Plain(socket),
            Some(config) => {
                let name = ServerName::try_from("localhost").unwrap();
                let session = ClientConnection::new(Arc::clone(config), name).unwrap();
                Stream::Tls(Box::new(StreamOwned::new(session, socket)))
            }
        };
        Ok(Self {
            stream,
            host: address.to_string(),
            buffer: vec![0; BUFFER_BYTES],
            begin: 0,
            end: 0,
        })
    }

    /// What the two sides agreed on, once something has been sent.
    pub(crate) fn cipher(&self) -> Option<String> {
        let Stream::Tls(stream) = &self.stream else {
            return None;
        };
        let version = stream.conn.protocol_version()?;
        let suite = stream.conn.negotiated_cipher_suite()?.suite();
        Some(format!("{version:?} {suite:?}"))
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream,
        }
    }

    fn head(&self, method: &str, target: &str, headers: &str, length: Option<u64>) -> Vec<u8> {
        let length = length.map_or_else(String::new, |length| {
            format!("Content-Length: {length}\r\n")
        });
        let host = &self.host;
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}{length}\r\n").into_bytes()
    }

    /// Uploads, and returns the answer and the small body that it has.
    pub(crate) fn put(&mut self, target: &str, body: &Body) -> (Answer, Vec<u8>) {
        let mut head = self.head("PUT", target, "", Some(body.length));
        let mut at = 0;
        if body.length <= SMALL_BYTES as u64 {
            while at < body.length {
                let piece = body.piece(at);
                head.extend(piece);
                at += piece.len() as u64;
            }
        }
        let mut send = |bytes: &[u8]| {
            let sent = self.writer().write_all(bytes);
            sent.unwrap_or_else(|error| panic!("PUT {target}: {error}"));
        };
        send(&head);
        while at < body.length {
            let piece = body.piece(at);
            send(piece);
            at += piece.len() as u64;
        }
        self.writer().flush().unwrap();
        self.small_answer()
    }

    /// Uploads what is in memory.
    pub(crate) fn put_bytes(&mut self, target: &str, body: &[u8]) -> (Answer, Vec<u8>) {
        let mut request = self.head("PUT", target, "", Some(body.len() as u64));
        request.extend(body);
        self.writer().write_all(&request).unwrap();
        self.writer().flush().unwrap();
        self.small_answer()
    }

    /// Begins an upload whose bytes [`Self::send`] gives.
    pub(crate) fn begin_put(&mut self, target: &str, length: u64) {
        let head = self.head("PUT", target, "", Some(length));
        self.writer().write_all(&head).unwrap();
    }

    /// Sends `length` bytes of a body from `at`.
    pub(crate) fn send(&mut self, body: &Body, mut at: u64, length: u64) {
        let end = at + length;
        while at < end {
            let piece = body.piece(at);
            let length = piece.len().min(usize::try_from(end - at).unwrap());
            self.writer().write_all(&piece[..length]).unwrap();
            at += length as u64;
        }
    }

    /// Asks with a small body, and returns the answer with its small body.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
        body: &str,
    ) -> (Answer, Vec<u8>) {
        let length = (method != "GET").then_some(body.len() as u64);
        let mut request = self.head(method, target, headers, length);
        request.extend(body.as_bytes());
        self.writer().write_all(&request).unwrap();
        self.writer().flush().unwrap();
        self.small_answer()
    }

    pub(crate) fn small_answer(&mut self) -> (Answer, Vec<u8>) {
        let mut body = Vec::new();
        let answer = self.answer(&mut |bytes| body.extend(bytes));
        (answer, body)
    }

    /// Downloads what should be `body`, whole and unchanged.
    pub(crate) fn get(&mut self, target: &str, body: &Body) {
        let request = self.head("GET", target, "", None);
        self.writer().write_all(&request).unwrap();
        self.writer().flush().unwrap();
        let mut at = 0;
        let mut is_same = true;
        let answer = self.answer(&mut |bytes| {
            is_same &= body.has(at, bytes);
            at += bytes.len() as u64;
        });
        assert_eq!(answer.status, 200, "GET {target}: {}", answer.head);
        assert!(
            is_same && at == body.length,
            "GET {target}: what came is not what was uploaded ({at} bytes)"
        );
    }

    fn answer(&mut self, sink: &mut dyn FnMut(&[u8])) -> Answer {
        let head = self.take_through(b"\r\n\r\n");
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer of HTTP: {head}"));
        let answer = Answer { status, head };
        if let Some(length) = answer.header("content-length") {
            self.take(length.parse().unwrap(), sink);
        } else if answer
            .header("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            self.take_chunks(sink);
        } else {
            assert_eq!(status, 204, "neither a length nor chunks: {}", answer.head);
        }
        answer
    }

    fn take_chunks(&mut self, sink: &mut dyn FnMut(&[u8])) {
        loop {
            let line = self.take_through(b"\r\n");
            let digits = String::from_utf8_lossy(&line);
            let digits = digits.trim().split(';').next().unwrap();
            let length = u64::from_str_radix(digits, 16).unwrap();
            self.take(length, sink);
            self.take_through(b"\r\n");
            if length == 0 {
                return;
            }
        }
    }

    fn take(&mut self, mut left: u64, sink: &mut dyn FnMut(&[u8])) {
        while left > 0 {
            if self.begin == self.end {
                self.fill();
            }
            let length = left.min((self.end - self.begin) as u64);
            let next = self.begin + usize::try_from(length).unwrap();
            sink(&self.buffer[self.begin..next]);
            self.begin = next;
            left -= length;
        }
    }

    /// Takes what comes up to `end`, which is short, and `end` itself.
    fn take_through(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            let there = &self.buffer[self.begin..self.end];
            if let Some(at) = there.windows(end.len()).position(|bytes| bytes == end) {
                let taken = there[..at + end.len()].to_vec();
                self.begin += taken.len();
                return taken;
            }
            self.fill();
        }
    }

    fn fill(&mut self) {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
            assert!(self.end < self.buffer.len(), "an endless head");
        }
        let room = &mut self.buffer[self.end..];
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read(room),
            Stream::Tls(stream) => stream.read(room),
        };
        let read = read.unwrap_or_else(|error| panic!("waiting for an answer: {error}"));
        assert!(read > 0, "the server closed the connection");
        self.end += read;
    }
}
