//! A longer way to a server: what is sent arrives later by a fixed time, and no slower.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

const CHUNK_BYTES: usize = 256 * 1024;
/// What can be on the way at once on one connection: more than a round trip holds.
const CHUNKS: usize = 1024;

/// Passes connections on to `target` forever, each way later by half of `added`.
pub fn serve(listener: &TcpListener, target: SocketAddr, added: Duration) {
    for client in listener.incoming() {
        let client = client.unwrap();
        thread::spawn(move || {
            let Ok(server) = TcpStream::connect(target) else {
                return;
            };
            for (from, to) in [(&client, &server), (&server, &client)] {
                from.set_nodelay(true).unwrap();
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                let (sent, due) = sync_channel(CHUNKS);
                thread::spawn(move || take(from, &sent, added / 2));
                thread::spawn(move || give(to, &due));
            }
        });
    }
}

fn take(mut from: TcpStream, sent: &SyncSender<(Instant, Vec<u8>)>, later: Duration) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(length) = from.read(&mut buffer) {
        let chunk = buffer[..length].to_vec();
        if sent.send((Instant::now() + later, chunk)).is_err() || length == 0 {
            return;
        }
    }
}

fn give(mut to: TcpStream, due: &Receiver<(Instant, Vec<u8>)>) {
    while let Ok((at, chunk)) = due.recv() {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if chunk.is_empty() || to.write_all(&chunk).is_err() {
            break;
        }
    }
    // The other side has gone already, if this fails.
    let _ = to.shutdown(Shutdown::Write);
}
