//! Sending parts of files without reading them: the system moves their pages to the connection.
//!
//! The HTTP library only knows bodies of bytes. So a body hands it *placeholders*, as long as the parts
//! they stand for and never read by anyone, and leaves the parts in a queue of the connection. When a
//! placeholder is to be written, [`super::client_io`] knows it by its address and has the part sent in its
//! place. Only for connections without TLS, since bytes of a body must be written as they are.
//!
//! What is not in memory is not moved: the system would wait for the disk, on a thread that serves others.
//! It is read, by a thread that may wait.
//!
//! ```text
//! body ──placeholder──> HTTP library ──placeholder──> ClientIo ──sendfile──> connection
//!   └──────────────part──────────> SendfileQueue ────part────┘
//! ```

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_util::future::BoxFuture;
use rustix::fs::sendfile;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::file_sender::{FileSender, SendFileParts};
use crate::store::{FilePart, MAX_PART_BYTES, StoreError};

/// How much of a part is asked for at least, whether it is in memory.
const MIN_ASKED_BYTES: usize = 64 * 1024;

/// What connections run on.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// The socket, if what is written is sent as it is.
    fn socket(&self) -> Option<&TcpStream>;
}

impl Transport for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl Transport for TlsStream<TcpStream> {
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

/// Memory to point at. The system gives it no pages, since nothing touches it.
fn placeholder() -> &'static Bytes {
    static PLACEHOLDER: OnceLock<Bytes> = OnceLock::new();
    PLACEHOLDER.get_or_init(|| vec![0; MAX_PART_BYTES].into())
}

fn is_placeholder(bytes: &[u8]) -> bool {
    placeholder().as_ptr_range().contains(&bytes.as_ptr())
}

/// What is next among bytes that the HTTP library wants to be written.
pub(super) enum NextWrite<'a, 'b> {
    /// These, as they are.
    Bytes(&'a [IoSlice<'b>]),
    /// A part of a file.
    Part,
}

/// The parts of files that a connection is about to send, in order. Clones are the same queue.
#[derive(Clone, Default)]
pub(super) struct SendfileQueue(Arc<Mutex<Parts>>);

struct Parts {
    waiting: VecDeque<FilePart>,
    /// The first bytes of the first part are being read, by a thread that may wait for the disk.
    reading: Option<BoxFuture<'static, Result<Bytes, StoreError>>>,
    /// What has been read of them.
    read: Bytes,
    /// How much the client may take at once, judged by what it took last: to ask of more whether it is in
    /// memory would be wasted on a slow one.
    asked_bytes: usize,
    /// Does the file system, or a filter of system calls, refuse to move pages, as with FUSE and in some
    /// containers?
    must_read: bool,
    /// Why one of them could not be read.
    failure: Option<StoreError>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            reading: None,
            read: Bytes::new(),
            asked_bytes: MAX_PART_BYTES,
            must_read: false,
            failure: None,
        }
    }
}

impl SendFileParts for SendfileQueue {
    fn enqueue(&self, part: FilePart) -> Bytes {
        let placeholder = placeholder().slice(..part.length());
        self.lock().waiting.push_back(part);
        placeholder
    }

    fn take_failure(&self) -> Option<StoreError> {
        self.lock().failure.take()
    }
}

impl SendfileQueue {
    /// What a handler enqueues parts by.
    pub(super) fn offer(&self) -> FileSender {
        FileSender(Arc::new(self.clone()))
    }

    /// Tells placeholders from other bytes. An error means that a placeholder has been copied or lost: then
    /// nothing may be sent, rather than what is not the archive.
    pub(super) fn next<'a, 'b>(&self, pieces: &'a [IoSlice<'b>]) -> io::Result<NextWrite<'a, 'b>> {
        let plain = pieces
            .iter()
            .take_while(|piece| !is_placeholder(piece))
            .count();
        let parts = self.lock();
        match (plain, pieces.first(), parts.waiting.front()) {
            (0, Some(piece), Some(part)) if piece.len() == part.length() => Ok(NextWrite::Part),
            (0, Some(_), _) => Err(io::Error::other(
                "a placeholder is not that of the next part",
            )),
            // Before the parts of a body there is only its head: to bytes that the store has read, it
            // lets no part follow.
            (_, _, Some(_)) if !is_end_of_head(&pieces[plain - 1]) => {
                Err(io::Error::other("a placeholder has been copied"))
            }
            _ => Ok(NextWrite::Bytes(&pieces[..plain])),
        }
    }

    /// Is the disk waited for, rather than the client?
    pub(super) fn is_reading(&self) -> bool {
        self.lock().reading.is_some()
    }

    /// Sends some of the part that is next.
    pub(super) fn poll_send(
        &self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut parts = self.lock();
        loop {
            if let Some(reading) = &mut parts.reading {
                let read = ready!(reading.as_mut().poll(cx));
                parts.reading = None;
                parts.read = read.map_err(|error| parts.fail(error))?;
            }
            ready!(socket.poll_write_ready(cx))?;
            match parts.send_some(socket) {
                Ok(Some(sent_bytes)) => {
                    parts.note_sent(sent_bytes);
                    return Poll::Ready(Ok(sent_bytes));
                }
                Ok(None) => parts.start_reading()?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().expect("no panic while it is held")
    }
}

impl Parts {
    /// Sends as much of what has been read, or else of what is in memory, as the client takes at once; `None` if
    /// there is neither.
    fn send_some(&mut self, socket: &TcpStream) -> io::Result<Option<usize>> {
        if !self.read.is_empty() {
            let sent_bytes = socket.try_write(&self.read)?;
            self.read.advance(sent_bytes);
            return Ok(Some(sent_bytes));
        }
        if self.must_read {
            return Ok(None);
        }
        let part = self.first()?;
        let in_memory_bytes = part.bytes_in_memory(self.asked_bytes);
        if in_memory_bytes == 0 {
            return Ok(None);
        }
        let mut offset = part.offset();
        let move_pages = || Ok(sendfile(socket, part, Some(&mut offset), in_memory_bytes)?);
        match socket.try_io(Interest::WRITABLE, move_pages) {
            Ok(0) => Ok(None), // the file has become shorter, as reading will find
            Err(error) if is_refused(&error) => {
                self.must_read = true;
                Ok(None)
            }
            sent => sent.map(Some),
        }
    }

    fn start_reading(&mut self) -> io::Result<()> {
        self.reading = Some(self.first()?.read());
        Ok(())
    }

    fn first(&self) -> io::Result<&FilePart> {
        let first = self.waiting.front();
        first.ok_or_else(|| io::Error::other("there is no part to send"))
    }

    fn note_sent(&mut self, sent_bytes: usize) {
        self.asked_bytes = (2 * sent_bytes).clamp(MIN_ASKED_BYTES, MAX_PART_BYTES);
        if let Some(part) = self.waiting.front_mut() {
            part.advance(sent_bytes);
            self.waiting.pop_front_if(|part| part.length() == 0);
        }
    }

    /// Keeps why a part could not be read. What is returned ends the connection.
    fn fail(&mut self, error: StoreError) -> io::Error {
        self.failure = Some(error);
        io::Error::other("a part of a file cannot be read")
    }
}

fn is_refused(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM)
    )
}

/// Is that a head, or what is left of one after some of it was written?
fn is_end_of_head(bytes: &[u8]) -> bool {
    const END: &[u8] = b"\r\n\r\n";
    bytes.ends_with(END) || END.ends_with(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::time::Duration;

    use futures_util::{FutureExt, StreamExt};
    use tokio::io::AsyncWriteExt;
    use tokio::time::sleep;

    use super::super::client_io::ClientIo;
    use super::*;
    use crate::clock::Timestamp;
    use crate::digest::{Digester, ExpectedDigests};
    use crate::pace::Pace;
    use crate::source::SourceId;
    use crate::store::{Piece, Store, UploadStart};

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

    fn archive() -> Vec<u8> {
        (0..MAX_PART_BYTES + 100_000)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect()
    }

    /// The pieces of a stored archive that is too large for one part.
    async fn pieces() -> (tempfile::TempDir, Vec<FilePart>) {
        let (folder, store) = Store::temporary();
        let source = SourceId::mint(Timestamp::from_ms(1_700_000_000_000), [1; 10]);
        let digester = Digester::expecting(&ExpectedDigests::default());
        let begun = store.begin_upload(source, None, digester).await.unwrap();
        let UploadStart::Accepted(mut upload) = begun else {
            panic!("it is a new source");
        };
        upload.write(archive().into()).await.unwrap();
        let staged = upload.finish().await.unwrap();
        staged.publish(Timestamp::from_ms(0)).await.unwrap();
        let download = store.open(source).await.unwrap().unwrap();
        let size_bytes = download.facts().size_bytes;
        let pieces = download.into_pieces(0..size_bytes);
        let parts = pieces.map(|piece| match piece.unwrap() {
            Piece::InFile(part) => part,
            Piece::Bytes(_) => panic!("a large archive in a folder is sent unread"),
        });
        (folder, parts.collect().await)
    }

    async fn connection() -> (TcpStream, std::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap());
        (listener.accept().await.unwrap().0, client.unwrap())
    }

    #[tokio::test]
    async fn parts_are_sent_in_place_of_their_placeholders_and_nothing_is_left() {
        let queue = SendfileQueue::default();
        let (_folder, parts) = pieces().await;
        assert_eq!(parts.len(), 2);
        let (socket, mut client) = connection().await;
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            client.read_to_end(&mut received).unwrap();
            received
        });
        for part in parts {
            let mut unsent = queue.enqueue(part);
            while !unsent.is_empty() {
                let slices = [IoSlice::new(&unsent)];
                assert!(matches!(queue.next(&slices), Ok(NextWrite::Part)));
                let sent = std::future::poll_fn(|cx| queue.poll_send(&socket, cx)).await;
                let _sent = unsent.split_to(sent.unwrap());
            }
        }
        assert!(queue.lock().waiting.is_empty());
        drop((socket, queue));
        assert_eq!(reader.join().unwrap(), archive());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_not_cut_off_for_the_slowness_of_the_disk() {
        let (_folder, mut parts) = pieces().await;
        let queue = SendfileQueue::default();
        let placeholder = queue.enqueue(parts.remove(0));
        let disk = sleep(Duration::from_hours(1));
        queue.lock().reading = Some(Box::pin(disk.map(|()| Ok(Bytes::from_static(b"1")))));
        let pace = Pace {
            idle_timeout: Duration::from_mins(1),
            min_bytes_per_second: 1024,
        };
        let (socket, _client) = connection().await;
        let mut io = ClientIo::new(socket, Arc::default(), pace, Some(queue));
        assert_eq!(io.write(&placeholder).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn nothing_is_sent_in_place_of_a_placeholder_that_was_copied_or_lost() {
        let (_folder, mut parts) = pieces().await;
        let queue = SendfileQueue::default();
        let second = queue.enqueue(parts.remove(1));
        let copy = second.to_vec();
        let is_refused = |slices: &[&[u8]]| {
            let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
            queue.next(&slices).is_err()
        };
        assert!(is_refused(&[&copy]));
        assert!(is_refused(&[HEAD, &copy]));
        assert!(is_refused(&[&[HEAD, &copy].concat()]));
        assert!(is_refused(&[&second[1..]]));
        assert!(!is_refused(&[HEAD, &second]));
        assert!(!is_refused(&[&second]));
        queue.lock().waiting.clear();
        assert!(is_refused(&[&second]));
        assert!(!is_refused(&[&copy]));
    }

    #[tokio::test]
    async fn other_bytes_are_written_as_they_are_up_to_a_placeholder() {
        let (_folder, mut parts) = pieces().await;
        let queue = SendfileQueue::default();
        let placeholder = queue.enqueue(parts.remove(0));
        let slices = [IoSlice::new(HEAD), IoSlice::new(&placeholder)];
        let Ok(NextWrite::Bytes(plain)) = queue.next(&slices) else {
            panic!("the head comes first");
        };
        assert_eq!(plain.len(), 1);
        assert_eq!(&*plain[0], HEAD);
        for written in 0..HEAD.len() {
            let slices = [IoSlice::new(&HEAD[written..]), IoSlice::new(&placeholder)];
            assert!(matches!(queue.next(&slices), Ok(NextWrite::Bytes(_))));
        }
    }
}
