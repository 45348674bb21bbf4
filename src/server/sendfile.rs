//! Sending parts of files without reading them: the system moves their pages to the connection.
//!
//! The HTTP library only knows bodies of bytes. So a body hands it *placeholders*, as long as the parts
//! they stand for and never read by anyone, and leaves the parts in a queue of the connection. When a
//! placeholder is to be written, [`super::client_io`] knows it by its address and has the part sent in its
//! place. Only for connections without TLS, and HTTP/1.1, in which a body's bytes are written as they
//! are.
//!
//! ```text
//! body ──placeholder──> HTTP library ──placeholder──> ClientIo ──sendfile──> connection
//!   └──────────────part──────────> SendfileQueue ────part────┘
//! ```

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::fs::sendfile;
use rustix::io::{Errno, pread};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::file_sender::{FileSender, SendFileParts};
use crate::store::{FilePart, MAX_PART_BYTES};

/// How much is read at once where nothing can be sent unread.
const READ_PIECE_BYTES: usize = 64 * 1024;

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
#[derive(Clone, Debug, Default)]
pub(super) struct SendfileQueue(Arc<Mutex<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    waiting: VecDeque<FilePart>,
    /// Why one of them could not be read.
    failure: Option<io::Error>,
    /// The file system refused to send one of them unread, as FUSE and some containers do.
    is_refused: bool,
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

    /// Sends some of the part that is next.
    pub(super) fn poll_send(
        &self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut parts = self.lock();
        let Parts {
            waiting,
            failure,
            is_refused,
        } = &mut *parts;
        let Some(part) = waiting.front_mut() else {
            return Poll::Ready(Err(io::Error::other("there is no part to send")));
        };
        loop {
            ready!(socket.poll_write_ready(cx))?;
            let sent = if *is_refused {
                read_and_send(socket, part)
            } else {
                socket.try_io(Interest::WRITABLE, || send_unread(socket, part))
            };
            return match sent {
                Ok(0) => {
                    *failure = Some(io::ErrorKind::UnexpectedEof.into());
                    Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
                }
                Ok(sent) => {
                    part.advance(sent);
                    if part.length() == 0 {
                        waiting.pop_front();
                    }
                    Poll::Ready(Ok(sent))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if !*is_refused && is_refusal(&error) => {
                    *is_refused = true;
                    continue;
                }
                Err(error) if is_of_connection(&error) => Poll::Ready(Err(error)),
                Err(error) => {
                    *failure = Some(error);
                    Poll::Ready(Err(io::Error::other("a part of a file cannot be read")))
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().expect("no panic while it is held")
    }
}

/// Is that a head, or what is left of one after some of it was written?
fn is_end_of_head(bytes: &[u8]) -> bool {
    const END: &[u8] = b"\r\n\r\n";
    bytes.ends_with(END) || END.ends_with(bytes)
}

/// Has the system move pages of the file to the connection.
fn send_unread(socket: &TcpStream, part: &FilePart) -> io::Result<usize> {
    let mut offset = part.offset();
    Ok(sendfile(socket, part, Some(&mut offset), part.length())?)
}

/// The same where the file system has no way to do so: the bytes pass through memory.
fn read_and_send(socket: &TcpStream, part: &FilePart) -> io::Result<usize> {
    let mut piece = vec![0; part.length().min(READ_PIECE_BYTES)];
    let read = pread(part, &mut piece, part.offset())?;
    match read {
        0 => Ok(0), // shorter than it was
        _ => socket.try_write(&piece[..read]),
    }
}

/// Does the file system, or whatever filters system calls, have no sendfile?
fn is_refusal(error: &io::Error) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
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

    use futures_util::StreamExt;

    use super::*;
    use crate::clock::Timestamp;
    use crate::digest::{Digester, ExpectedDigests};
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
            Piece::Bytes(_) => panic!("what was just written is in memory"),
        });
        (folder, parts.collect().await)
    }

    #[tokio::test]
    async fn parts_are_sent_in_place_of_their_placeholders_and_nothing_is_left() {
        send_all(&SendfileQueue::default()).await;
    }

    #[tokio::test]
    async fn parts_are_read_where_the_file_system_refuses_to_send_them_unread() {
        let queue = SendfileQueue::default();
        queue.lock().is_refused = true;
        send_all(&queue).await;
    }

    #[test]
    fn a_refusal_is_told_from_a_failure_and_from_a_client_that_has_gone() {
        for (errno, is_refused) in [
            (Errno::INVAL, true),
            (Errno::NOSYS, true),
            (Errno::OPNOTSUPP, true),
            (Errno::PERM, true),
            (Errno::IO, false),
            (Errno::PIPE, false),
            (Errno::CONNRESET, false),
            (Errno::AGAIN, false),
        ] {
            assert_eq!(is_refusal(&errno.into()), is_refused, "{errno}");
        }
    }

    async fn send_all(queue: &SendfileQueue) {
        let (_folder, parts) = pieces().await;
        assert_eq!(parts.len(), 2);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.read_to_end(&mut received).unwrap();
            received
        });
        let (socket, _) = listener.accept().await.unwrap();
        for part in parts {
            let mut unsent = queue.enqueue(part);
            while !unsent.is_empty() {
                let slices = [IoSlice::new(&unsent)];
                assert!(matches!(queue.next(&slices), Ok(NextWrite::Part)));
                let sent = std::future::poll_fn(|cx| queue.poll_send(&socket, cx)).await;
                let _sent = unsent.split_to(sent.unwrap());
            }
        }
        drop(socket);
        assert_eq!(reader.join().unwrap(), archive());
        assert!(queue.lock().waiting.is_empty());
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
