//! The limit of the machine: the smallest server there can be. It trusts everybody.
//!
//! An upload is read with large buffers, written to a file, and hashed on another thread; a download is
//! a file that `sendfile` sends. A connection has a thread of its own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use sha2::{Digest as _, Sha256};

use crate::body::in_hex;

const BUFFER_BYTES: usize = 256 * 1024;
const BUFFERS: usize = 8;
const HEAD_BYTES: usize = 8 * 1024;

/// Serves the files of `folder` for ever.
pub(crate) fn serve(address: SocketAddr, folder: &Path, is_synced: bool) {
    let listener = TcpListener::bind(address).unwrap();
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        let folder = folder.to_owned();
        thread::spawn(move || {
            stream.set_nodelay(true).unwrap();
            Client::new(stream, folder, is_synced).serve();
        });
    }
}

enum Order {
    Hash(Vec<u8>, usize),
    Finish,
}

struct Client {
    stream: TcpStream,
    folder: PathBuf,
    is_synced: bool,
    orders: Sender<Order>,
    used: Receiver<Vec<u8>>,
    digests: Receiver<String>,
}

impl Client {
    fn new(stream: TcpStream, folder: PathBuf, is_synced: bool) -> Self {
        let (orders, ordered) = channel();
        let (give_back, used) = channel();
        let (tell, digests) = channel();
        for _ in 0..BUFFERS {
            give_back.send(vec![0; BUFFER_BYTES]).unwrap();
        }
        thread::spawn(move || hash(&ordered, &give_back, &tell));
        Self {
            stream,
            folder,
            is_synced,
            orders,
            used,
            digests,
        }
    }

    /// Answers until the client is gone, in whatever way.
    fn serve(&mut self) -> Option<()> {
        let mut head = vec![0; HEAD_BYTES];
        let mut filled = 0;
        loop {
            filled += match self.stream.read(&mut head[filled..]).ok()? {
                0 => return None,
                read => read,
            };
            let end = head[..filled]
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n");
            let Some(end) = end else { continue };
            let text = String::from_utf8_lossy(&head[..end]).into_owned();
            let (method, rest) = text.split_once(" /")?;
            let file = self.folder.join(rest.split(' ').next()?);
            if method == "PUT" {
                let length = text.split("Content-Length: ").nth(1)?;
                let length = length.split("\r\n").next()?.parse().ok()?;
                self.receive(&file, length, &head[end + 4..filled])?;
            } else {
                self.send(&file)?;
            }
            filled = 0;
        }
    }

    fn receive(&mut self, path: &Path, length: usize, first: &[u8]) -> Option<()> {
        let mut file = File::create(path).unwrap();
        let mut left = length;
        let mut first = first;
        while left > 0 {
            let mut buffer = self.used.recv().unwrap();
            // Full buffers, but for what the client has not sent yet.
            let mut filled = first.len();
            buffer[..filled].copy_from_slice(first);
            first = &[];
            while filled < left.min(BUFFER_BYTES) {
                let end = left.min(BUFFER_BYTES);
                filled += match self.stream.read(&mut buffer[filled..end]).ok()? {
                    0 => return None,
                    read => read,
                };
            }
            file.write_all(&buffer[..filled]).unwrap();
            left -= filled;
            self.orders.send(Order::Hash(buffer, filled)).unwrap();
        }
        self.orders.send(Order::Finish).unwrap();
        if self.is_synced {
            file.sync_data().unwrap();
        }
        let digest = self.digests.recv().unwrap();
        let length = digest.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{digest}");
        self.stream.write_all(answer.as_bytes()).ok()
    }

    fn send(&mut self, path: &Path) -> Option<()> {
        let mut file = File::open(path).unwrap();
        let length = file.metadata().unwrap().len();
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        if length <= HEAD_BYTES as u64 {
            file.read_to_end(&mut answer).unwrap();
            return self.stream.write_all(&answer).ok();
        }
        self.stream.write_all(&answer).ok()?;
        let mut left = usize::try_from(length).unwrap();
        while left > 0 {
            left -= rustix::fs::sendfile(&self.stream, &file, None, left).ok()?;
        }
        Some(())
    }
}

fn hash(orders: &Receiver<Order>, give_back: &Sender<Vec<u8>>, tell: &Sender<String>) {
    let mut hasher = Sha256::new();
    while let Ok(order) = orders.recv() {
        // Nobody listens any more when the client is gone.
        let _ = match order {
            Order::Hash(buffer, length) => {
                hasher.update(&buffer[..length]);
                give_back.send(buffer).map_err(|_| ())
            }
            Order::Finish => tell.send(in_hex(&hasher.finalize_reset())).map_err(|_| ()),
        };
    }
}

/// What the device can do: synced files a second, from `clients` threads, for a while. The folder that
/// a file's name stands in is synced as well.
pub(crate) fn synced_files(folder: &Path, clients: usize, body: &[u8], seconds: f64) -> f64 {
    fs::create_dir_all(folder).unwrap();
    let started = std::time::Instant::now();
    let made: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|client| {
                scope.spawn(move || {
                    let mut made = 0;
                    while started.elapsed().as_secs_f64() < seconds {
                        let mut file =
                            File::create(folder.join(format!("{client}-{made}"))).unwrap();
                        file.write_all(body).unwrap();
                        file.sync_data().unwrap();
                        File::open(folder).unwrap().sync_all().unwrap();
                        made += 1;
                    }
                    made
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    let made = made as f64;
    made / started.elapsed().as_secs_f64()
}
