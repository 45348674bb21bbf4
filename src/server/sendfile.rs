//! Sending parts of files without reading them: the system moves their pages to the connection.
//!
//! The HTTP library only knows bodies of bytes. So a body hands it *placeholders*, as long as the parts
//! they stand for and never read by anyone, and leaves the parts in a queue of the connection. When a
//! placeholder is to be written, [`super::client_io`] knows it by its address and has the part sent in its
//! place, by a thread that may wait for the disk. Only for connections without TLS, since bytes of a body
//! must be written as they are.
//!
//! ```text
//! body ──placeholder──> HTTP library ──placeholder──> ClientIo ──sendfile──> connection
//!   └──────────────part──────────> SendfileQueue ────part────┘
//! ```

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::sendfile;
use rustix::io::{Errno, pread, write};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::file_sender::{FileSender, SendFileParts};
use crate::store::{FilePart, MAX_PART_BYTES};

/// How much is read at once where nothing can be sent unread.
const READ_PIECE_BYTES: usize = 64 * 1024;
/// How long a thread waits for the client to take more. Most take all of a part within that time, and to
/// hand it from one thread to another anew would cost more.
const CLIENT_PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};
const NO_PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// What connections run on.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + 'static {
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

#[derive(Default)]
struct Parts {
    waiting: VecDeque<FilePart>,
    /// The first of them is being sent, on a thread that may wait for the disk.
    sending: Option<BoxFuture<'static, io::Result<usize>>>,
    /// The connection, as that thread knows it.
    socket: Option<Arc<OwnedFd>>,
    /// Why one of them could not be read.
    failure: Option<io::Error>,
}

impl SendFileParts for SendfileQueue {
    fn enqueue(&self, part: FilePart) -> Bytes {
        let placeholder = placeholder().slice(..part.length());
        self.lock().waiting.push_back(part);
        placeholder
    }

    fn take_failure(&self) -> Option<io::Error> {
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
    pub(super) fn is_sending(&self) -> bool {
        self.lock().sending.is_some()
    }

    /// Sends some of the part that is next. The disk may have to be waited for, even where most of the part
    /// is in memory, so this is not done on the thread of the caller, which serves others.
    pub(super) fn poll_send(
        &self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut parts = self.lock();
        loop {
            if parts.sending.is_none() {
                ready!(poll_writable(socket, cx))?;
                parts.start_sending(socket)?;
            }
            let sending = parts.sending.as_mut().expect("it was just started");
            let sent = ready!(sending.as_mut().poll(cx));
            parts.sending = None;
            return Poll::Ready(match sent {
                Ok(0) => Err(parts.fail(io::ErrorKind::UnexpectedEof.into())),
                Ok(sent) => {
                    parts.advance(sent);
                    Ok(sent)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if is_of_connection(&error) => Err(error),
                Err(error) => Err(parts.fail(error)),
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().expect("no panic while it is held")
    }
}

impl Parts {
    fn start_sending(&mut self, socket: &TcpStream) -> io::Result<()> {
        let part = self.waiting.front();
        let part = part.ok_or_else(|| io::Error::other("there is no part to send"))?;
        let socket = match &self.socket {
            Some(socket) => Arc::clone(socket),
            None => Arc::new(socket.as_fd().try_clone_to_owned()?),
        };
        self.socket = Some(Arc::clone(&socket));
        self.sending = Some(part.run_on_thread(move |part| send(&*socket, part)));
        Ok(())
    }

    fn advance(&mut self, sent_bytes: usize) {
        if let Some(part) = self.waiting.front_mut() {
            part.advance(sent_bytes);
            self.waiting.pop_front_if(|part| part.length() == 0);
        }
    }

    /// Keeps why a part could not be read. What is returned ends the connection.
    fn fail(&mut self, error: io::Error) -> io::Error {
        self.failure = Some(error);
        io::Error::other("a part of a file cannot be read")
    }
}

/// Waits until the client can be sent more. What the runtime knows of that may be old, since bytes were sent
/// on another thread: so the system is asked too.
fn poll_writable(socket: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        let asked = socket.try_io(Interest::WRITABLE, || {
            if is_writable_within(NO_PATIENCE, socket.as_fd())? {
                Ok(())
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        });
        match asked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            asked => return Poll::Ready(asked),
        }
    }
}

fn is_writable_within(patience: Timespec, socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut asked = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    Ok(poll(&mut asked, Some(&patience))? > 0)
}

/// Sends as much of a part as the client takes without much waiting. An error means that nothing was sent;
/// the next call will meet one again that came later.
fn send(socket: impl AsFd, mut part: FilePart) -> io::Result<usize> {
    let mut sent_bytes = 0;
    while part.length() > 0 {
        match send_some(socket.as_fd(), &part) {
            Ok(0) => break,
            Ok(sent) => {
                part.advance(sent);
                sent_bytes += sent;
            }
            Err(Errno::AGAIN) if is_writable_within(CLIENT_PATIENCE, socket.as_fd())? => {}
            Err(_) if sent_bytes > 0 => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sent_bytes)
}

/// Has the system move pages of the file to the connection. Where the file system, or whatever filters
/// system calls, has no sendfile, as with FUSE and in some containers, the bytes pass through memory.
fn send_some(socket: BorrowedFd<'_>, part: &FilePart) -> rustix::io::Result<usize> {
    let mut offset = part.offset();
    match sendfile(socket, part, Some(&mut offset), part.length()) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
            let mut piece = vec![0; part.length().min(READ_PIECE_BYTES)];
            match pread(part, &mut piece, part.offset())? {
                0 => Ok(0), // shorter than it was
                read => write(socket, &piece[..read]),
            }
        }
        sent => sent,
    }
}

/// Is that a head, or what is left of one after some of it was written?
fn is_end_of_head(bytes: &[u8]) -> bool {
    const END: &[u8] = b"\r\n\r\n";
    bytes.ends_with(END) || END.ends_with(bytes)
}

/// Has the client gone, rather than the file failed?
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | TimedOut
    )
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
    use crate::store::folder::Sync;
    use crate::store::{FolderStore, Piece, Store, UploadStart};

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

    fn archive() -> Vec<u8> {
        (0..MAX_PART_BYTES + 100_000)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect()
    }

    /// The pieces of a stored archive that is too large for one part.
    async fn pieces() -> (tempfile::TempDir, Vec<FilePart>) {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::open(folder.path().join("store"), Sync::Off, 0).unwrap();
        let store = Store::Folder(store);
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
        queue.lock().sending = Some(Box::pin(disk.map(|()| Ok(1))));
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
