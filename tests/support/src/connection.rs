//! A bare connection, for what no honest client sends.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::PATIENCE;
use crate::description::check_reply;
use crate::reply::Reply;

/// A connection on which any bytes can be sent.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap()
    }

    /// Opens one to a server that may be killed meanwhile.
    pub fn try_open(address: SocketAddr) -> io::Result<Self> {
        Self::of(TcpStream::connect(address)?)
    }

    fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            received: Vec::new(),
        })
    }

    /// Opens one from another address of this machine's own, 127.0.0.`host`: to the server it is another
    /// client.
    pub fn open_from(host: u8, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let from = SocketAddr::from(([127, 0, 0, host], 0));
        socket.bind(&from.into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::of(socket.into()).unwrap()
    }

    /// Does anybody accept connections on that port of this machine?
    pub fn can_open(port: u16) -> bool {
        TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_ok()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what can be sent to a server that may be killed meanwhile.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Says that no more will come, and still listens.
    pub fn end_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Waits for the next whole answer.
    pub fn next_reply(&mut self) -> Reply {
        self.next(Reply::parse)
    }

    /// Waits for the next answer to HEAD, which has no body; none to an error of it, either.
    pub fn next_head(&mut self) -> Reply {
        self.next(Reply::parse_head)
    }

    fn next(&mut self, parse: impl Fn(&[u8]) -> Option<(Reply, &[u8])>) -> Reply {
        loop {
            if let Some((reply, rest)) = parse(&self.received) {
                self.received = rest.to_vec();
                return reply;
            }
            let read = self.read_some();
            assert!(read > 0, "closed without an answer: {:?}", self.received);
        }
    }

    /// Waits until the server closes the connection, and returns what it sent before.
    pub fn into_rest(mut self) -> Vec<u8> {
        while self.read_some() > 0 {}
        self.received
    }

    /// Waits for some bytes; none come when the other side has closed, or was killed.
    pub fn read_some(&mut self) -> usize {
        let mut piece = vec![0; 64 * 1024];
        match self.stream.read(&mut piece) {
            Ok(length) => {
                self.received.extend(&piece[..length]);
                length
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("nothing came, and no end: {error}"),
        }
    }
}

/// The head of a request, with its last empty line. Each header stands on a line of its own.
pub fn head(method: &str, path: &str, headers: &[&str]) -> String {
    head_for("waystation.test", method, path, headers)
}

/// The same, asking the server by another name: links begin with that.
pub fn head_for(host: &str, method: &str, path: &str, headers: &[&str]) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

/// What is at a path of a server that is asked by its address.
pub fn ask(address: SocketAddr, path: &str) -> Reply {
    let mut connection = Connection::open(address);
    connection.send(head_for(
        &address.to_string(),
        "GET",
        path,
        &["Connection: close"],
    ));
    connection.next_reply()
}

pub const CHUNKED: &str = "Transfer-Encoding: chunked";
/// How much of a body stands in one chunk at most.
const CHUNK_BYTES: usize = 256 * 1024;

/// A body in chunks.
pub fn chunked(body: &[u8]) -> Vec<u8> {
    let chunks = body.chunks(CHUNK_BYTES).map(|chunk| {
        let length = format!("{:x}\r\n", chunk.len());
        [length.as_bytes(), chunk, b"\r\n"].concat()
    });
    chunks.chain([b"0\r\n\r\n".to_vec()]).flatten().collect()
}

/// One whole request and its answer.
pub fn exchange(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> Reply {
    let length = format!("Content-Length: {}", body.len());
    let mut connection = Connection::open(address);
    connection.send(head(method, path, &[&length]));
    connection.send(body);
    let reply = connection.next_reply();
    check_reply(method, path, &reply);
    reply
}
