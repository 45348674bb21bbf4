//! An address that stays while the servers behind it come and go, as that of a load balancer does.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Passes connections on to servers by turns. One that comes while there is none is closed.
pub struct Relay {
    address: SocketAddr,
    behind: Arc<Mutex<Behind>>,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

struct Behind {
    servers: Vec<SocketAddr>,
    /// Clients that were passed on.
    clients: Vec<TcpStream>,
}

impl Relay {
    pub fn to(servers: &[SocketAddr]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let behind = Arc::new(Mutex::new(Behind {
            servers: servers.to_vec(),
            clients: Vec::new(),
        }));
        let is_over = Arc::new(AtomicBool::new(false));
        let (all, over) = (Arc::clone(&behind), Arc::clone(&is_over));
        let accepting = thread::spawn(move || {
            for client in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let client = client.unwrap();
                if let Some(server) = all.lock().unwrap().next(&client) {
                    // A client whose server is gone finds its connection closed.
                    thread::spawn(move || pass(&client, server));
                }
            }
        });
        Self {
            address,
            behind,
            is_over,
            accepting: Some(accepting),
        }
    }

    /// From now on connections lead there. Those that are open are broken off.
    pub fn move_to(&self, servers: &[SocketAddr]) {
        let mut behind = self.behind.lock().unwrap();
        behind.servers = servers.to_vec();
        for client in behind.clients.drain(..) {
            // It may have ended before.
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Behind {
    fn next(&mut self, client: &TcpStream) -> Option<SocketAddr> {
        let server = *self.servers.first()?;
        self.servers.rotate_left(1);
        self.clients.push(client.try_clone().unwrap());
        Some(server)
    }
}

fn pass(client: &TcpStream, server: SocketAddr) -> io::Result<()> {
    let server = &TcpStream::connect(server)?;
    for stream in [client, server] {
        stream.set_nodelay(true)?;
    }
    thread::scope(|scope| {
        scope.spawn(|| copy(client, server));
        copy(server, client)
    })
}

/// What one side ends, or breaks off, ends at the other.
fn copy(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    let how = if copied.is_ok() {
        Shutdown::Write
    } else {
        Shutdown::Both
    };
    to.shutdown(how)?;
    copied.map(|_| ())
}
