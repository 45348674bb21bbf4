//! An address that stays while the servers behind it come and go, as that of a load balancer does.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Passes connections on to servers by turns. One that comes while there is none is closed.
pub struct Relay {
    address: SocketAddr,
    servers: Arc<Mutex<Vec<SocketAddr>>>,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Relay {
    pub fn to(servers: &[SocketAddr]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let servers = Arc::new(Mutex::new(servers.to_vec()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (behind, over) = (Arc::clone(&servers), Arc::clone(&is_over));
        let accepting = thread::spawn(move || {
            for client in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let server = next(&behind);
                if let (Ok(client), Some(server)) = (client, server) {
                    // A client whose server is gone finds its connection closed.
                    thread::spawn(move || pass(&client, server));
                }
            }
        });
        Self {
            address,
            servers,
            is_over,
            accepting: Some(accepting),
        }
    }

    /// From now on connections lead there.
    pub fn move_to(&self, servers: &[SocketAddr]) {
        *self.servers.lock().unwrap() = servers.to_vec();
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

fn next(servers: &Mutex<Vec<SocketAddr>>) -> Option<SocketAddr> {
    let mut servers = servers.lock().unwrap();
    if !servers.is_empty() {
        servers.rotate_left(1);
    }
    servers.first().copied()
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
