//! A line to a server that breaks as a test says: connections are cut, reset, left standing, or answered by a proxy that
//! has lost its server.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

const PIECE_BYTES: usize = 16 * 1024;
const BAD_GATEWAY: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\
                             Content-Length: 4\r\nConnection: close\r\n\r\nsad\n";

/// What happens to a connection once so many bytes have passed, in both directions together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Both sides see an end.
    Cut(u64),
    /// As a cut, and the client sees a reset.
    Reset(u64),
    /// Nothing passes any more, until the client gives up.
    Stall(u64),
    /// The client is told that the server is gone.
    BadGateway(u64),
}

impl Fault {
    const fn after(self) -> u64 {
        match self {
            Self::Cut(bytes)
            | Self::Reset(bytes)
            | Self::Stall(bytes)
            | Self::BadGateway(bytes) => bytes,
        }
    }
}

/// Connections take faults by turns; once there are no more, all is well.
pub struct FaultyLine {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    server: Mutex<SocketAddr>,
    faults: Mutex<VecDeque<Fault>>,
    /// Each connection has the first of the faults, again and again.
    is_forever: bool,
    sent_bytes: AtomicU64,
    is_over: AtomicBool,
}

impl FaultyLine {
    pub fn to(server: SocketAddr, faults: &[Fault]) -> Self {
        Self::start(server, faults, false)
    }

    /// One whose every connection has this fault.
    pub fn always(server: SocketAddr, fault: Fault) -> Self {
        Self::start(server, &[fault], true)
    }

    fn start(server: SocketAddr, faults: &[Fault], is_forever: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server: Mutex::new(server),
            faults: Mutex::new(faults.iter().copied().collect()),
            is_forever,
            sent_bytes: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let all = Arc::clone(&shared);
        let accepting = thread::spawn(move || {
            for client in listener.incoming() {
                if all.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&all);
                thread::spawn(move || shared.pass(&client.unwrap()));
            }
        });
        Self {
            address,
            shared,
            accepting: Some(accepting),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on new connections lead there.
    pub fn move_to(&self, server: SocketAddr) {
        *self.shared.server.lock().unwrap() = server;
    }

    /// What clients have sent in all.
    pub fn sent_bytes(&self) -> u64 {
        self.shared.sent_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for FaultyLine {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // It waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// One connection, and when it breaks.
struct Passing<'a> {
    shared: &'a Shared,
    client: &'a TcpStream,
    server: &'a TcpStream,
    fault: Option<Fault>,
    passed_bytes: AtomicU64,
    is_broken: AtomicBool,
}

impl Shared {
    fn next_fault(&self) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        if self.is_forever {
            faults.front().copied()
        } else {
            faults.pop_front()
        }
    }

    fn pass(&self, client: &TcpStream) {
        let address = *self.server.lock().unwrap();
        let Ok(server) = TcpStream::connect(address) else {
            return;
        };
        for stream in [client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        let passing = Passing {
            shared: self,
            client,
            server: &server,
            fault: self.next_fault(),
            passed_bytes: AtomicU64::new(0),
            is_broken: AtomicBool::new(false),
        };
        thread::scope(|scope| {
            scope.spawn(|| passing.copy(client, &server, &self.sent_bytes));
            passing.copy(&server, client, &AtomicU64::new(0));
        });
    }
}

impl Passing<'_> {
    fn copy(&self, mut from: &TcpStream, mut to: &TcpStream, count: &AtomicU64) {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = from.read(&mut piece).unwrap_or(0);
            if self.is_broken.load(Ordering::Relaxed) {
                return;
            }
            if read == 0 {
                // Whoever has gone already needs no end.
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            count.fetch_add(read as u64, Ordering::Relaxed);
            let passed = self.passed_bytes.fetch_add(read as u64, Ordering::Relaxed);
            if let Some(fault) = self.fault
                && passed + read as u64 > fault.after()
            {
                self.is_broken.store(true, Ordering::Relaxed);
                self.break_off(fault);
                return;
            }
            if to.write_all(&piece[..read]).is_err() {
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
        }
    }

    /// Each end may have gone by itself.
    fn break_off(&self, fault: Fault) {
        let mut client = self.client;
        match fault {
            Fault::Cut(_) => {}
            Fault::Reset(_) => {
                let _ = SockRef::from(client).set_linger(Some(Duration::ZERO));
            }
            Fault::BadGateway(_) => {
                let _ = client.write_all(BAD_GATEWAY);
                let _ = client.shutdown(Shutdown::Write);
                // The client may still be sending: it is to read the answer first.
                let _ = client.set_read_timeout(Some(Duration::from_secs(5)));
                let mut rest = vec![0; PIECE_BYTES];
                while client.read(&mut rest).is_ok_and(|read| read > 0) {}
            }
            // Neither side is told; both find out by themselves.
            Fault::Stall(_) => {
                while !self.shared.is_over.load(Ordering::Relaxed) {
                    thread::park_timeout(Duration::from_millis(20));
                }
            }
        }
        let _ = self.server.shutdown(Shutdown::Both);
        let _ = self.client.shutdown(Shutdown::Both);
    }
}
