//! The limit of the machine: the smallest server there can be. It trusts everybody.
//!
//! An upload is read with large buffers, written to a file, and hashed on another thread, unless it is
//! so small that to hand it over takes longer; a download is a file that `sendfile` sends. A connection
//! has a thread of its own. Where small requests come on many connections, an event loop on each core
//! reads a request and answers in one write: a file, or to a creation a fixed text.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use sha2::{Digest as _, Sha256};
use tokio::runtime::Builder;

use crate::body::in_hex;
use crate::requests::fixed_reply;

const BUFFER_BYTES: usize = 256 * 1024;
const BUFFERS: usize = 8;
const HEAD_BYTES: usize = 8 * 1024;

/// Serves the files of `folder` forever.
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

/// Serves small requests forever.
pub(crate) fn serve_requests(address: SocketAddr, folder: &Path) {
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            let listener = listener.try_clone().unwrap();
            scope.spawn(move || {
                let runtime = Builder::new_current_thread().enable_io().build();
                runtime.unwrap().block_on(async {
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    while let Ok((stream, _)) = listener.accept().await {
                        stream.set_nodelay(true).unwrap();
                        tokio::spawn(answer_requests(stream, folder.to_owned()));
                    }
                });
            });
        }
    });
}

/// Answers until the client is gone. Requests are small, so each comes in one piece.
async fn answer_requests(stream: tokio::net::TcpStream, folder: PathBuf) -> Option<()> {
    let mut request = vec![0; HEAD_BYTES];
    let mut answer = Vec::new();
    loop {
        stream.readable().await.ok()?;
        let length = match stream.try_read(&mut request) {
            Ok(0) => return None,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => return None,
        };
        let head = std::str::from_utf8(&request[..length]).ok()?;
        let (method, rest) = head.split_once(" /")?;
        answer.clear();
        if method == "POST" {
            let reply = fixed_reply();
            let length = reply.len();
            write!(
                answer,
                "HTTP/1.1 201 Created\r\nContent-Length: {length}\r\n\r\n{reply}"
            )
            .ok()?;
        } else {
            let mut file = File::open(folder.join(rest.split(' ').next()?)).ok()?;
            let length = file.metadata().ok()?.len();
            write!(
                answer,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
            )
            .ok()?;
            file.read_to_end(&mut answer).ok()?;
        }
        // It fits into what a socket takes at once.
        if stream.try_write(&answer).ok()? < answer.len() {
            return None;
        }
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
    give_back: Sender<Vec<u8>>,
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
        let returned = give_back.clone();
        thread::spawn(move || hash(&ordered, &returned, &tell));
        Self {
            stream,
            folder,
            is_synced,
            orders,
            used,
            give_back,
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
        let mut small = None;
        while left > 0 {
            let mut buffer = self.used.recv().unwrap();
            // Full buffers, except for what the client has not sent yet.
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
            if length <= BUFFER_BYTES {
                small = Some(in_hex(&Sha256::digest(&buffer[..filled])));
                self.give_back.send(buffer).unwrap();
            } else {
                self.orders.send(Order::Hash(buffer, filled)).unwrap();
            }
        }
        if small.is_none() {
            self.orders.send(Order::Finish).unwrap();
        }
        if self.is_synced {
            file.sync_data().unwrap();
        }
        let digest = small.unwrap_or_else(|| self.digests.recv().unwrap());
        let length = digest.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{digest}");
        self.stream.write_all(answer.as_bytes()).ok()
    }

    fn send(&mut self, path: &Path) -> Option<()> {
        let file = File::open(path).unwrap();
        let length = file.metadata().unwrap().len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        self.stream.write_all(answer.as_bytes()).ok()?;
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
