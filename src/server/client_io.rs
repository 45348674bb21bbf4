//! One client's connection, as the HTTP library reads and writes it. Three things are seen to here,
//! since only here they can be:
//!
//! * a client that takes nothing of its answer, or too little, is given up;
//! * bytes that are no request are refused in JSON ([`super::malformed`]);
//! * a refused upload gets to read its answer: closing while its bytes still arrive would make the
//!   system reset the connection and throw the answer away, so those bytes are read for a while
//!   after the last one of ours.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::connection_state::Owed;
use super::malformed::{HeadLimits, Unfinished, answer, refused_status};
use super::sendfile::{LentParts, Next, Transport};
use crate::api::envelope::request_id;
use crate::pace::{Pace, PaceMeter, TooSlow};

/// How long a closed connection is still read, so that its client finds the answer.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_PIECE_BYTES: usize = 16 * 1024;

/// A client's connection.
pub(super) struct ClientIo<T> {
    io: T,
    owed: Arc<Owed>,
    /// Set for HTTP/1.1, in which the library refuses by itself what is no request.
    head_limits: Option<HeadLimits>,
    stall: Stall,
    /// A refusal of ours that is being written in place of the library's.
    refusal: Option<Refusal>,
    linger: Option<Pin<Box<Sleep>>>,
    /// Parts of files that are sent in place of their stand-ins.
    lent: Option<LentParts>,
}

struct Refusal {
    answer: Vec<u8>,
    written: usize,
}

impl<T: Transport> ClientIo<T> {
    pub(super) fn new(io: T, owed: Arc<Owed>, pace: Pace) -> Self {
        Self {
            io,
            owed,
            head_limits: None,
            stall: Stall::new(pace),
            refusal: None,
            linger: None,
            lent: None,
        }
    }

    /// Has parts of files sent that bodies leave there.
    pub(super) fn sending(self, lent: Option<LentParts>) -> Self {
        Self { lent, ..self }
    }

    /// Has what the HTTP/1.1 library refuses by itself said in JSON.
    pub(super) fn refusing_in_json(self, head_limits: HeadLimits) -> Self {
        Self {
            head_limits: Some(head_limits),
            ..self
        }
    }

    /// Ends a connection on which the head of a request began, and did not end: that is told, where
    /// no answer is half sent.
    pub(super) async fn refuse_unfinished(mut self, unfinished: Unfinished) -> io::Result<()> {
        let is_begun = self.owed.is_head_begun();
        if let Some(head_limits) = self.head_limits
            && is_begun
            && self.owed.is_nothing()
        {
            self.write_refusal(unfinished.status(), head_limits);
            poll_fn(|cx| self.poll_refusal(cx)).await?;
        }
        self.shutdown().await
    }

    /// Recognises a refusal of the library, which it writes in one piece and at once.
    fn note_refusal(&mut self, written: &[u8]) {
        let Some(limits) = self.head_limits else {
            return;
        };
        if self.refusal.is_none()
            && self.owed.is_nothing()
            && let Some(status) = refused_status(written)
        {
            self.write_refusal(status, limits);
        }
    }

    fn write_refusal(&mut self, status: StatusCode, limits: HeadLimits) {
        let id = request_id(None);
        let id = id.to_str().unwrap_or_default();
        tracing::info!(
            status = status.as_u16(),
            request_id = id,
            "refused what is no request"
        );
        self.refusal = Some(Refusal {
            answer: answer(status, limits, id),
            written: 0,
        });
    }

    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(refusal) = &mut self.refusal {
            let rest = &refusal.answer[refusal.written..];
            if rest.is_empty() {
                break;
            }
            let written = Pin::new(&mut self.io).poll_write(cx, rest);
            refusal.written += ready!(self.stall.watch(written, cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and forgets, until the client closes or time is up.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut piece = [std::mem::MaybeUninit::uninit(); LINGER_PIECE_BYTES];
        loop {
            if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut piece = ReadBuf::uninit(&mut piece);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece)) {
                Ok(()) if !piece.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl<T: Transport> AsyncRead for ClientIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled_before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > filled_before {
            self.owed.begin_head();
        }
        read
    }
}

impl<T: Transport> AsyncWrite for ClientIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.note_refusal(pieces.first().map_or(&[], |piece| piece));
        if self.refusal.is_some() {
            ready!(self.poll_refusal(cx))?;
            return Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()));
        }
        let this = &mut *self;
        let written = match (&this.lent, this.io.socket()) {
            (Some(lent), Some(socket)) => match lent.next(pieces)? {
                Next::Bytes(pieces) => Pin::new(&mut this.io).poll_write_vectored(cx, pieces),
                Next::Part => lent.poll_send(socket, cx),
            },
            _ => Pin::new(&mut this.io).poll_write_vectored(cx, pieces),
        };
        this.stall.watch(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.owed.note_flushed();
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        }
        if self.refusal.is_some() || self.owed.is_unread() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

/// Notices that a client takes nothing of what is sent, or too little.
struct Stall {
    meter: PaceMeter,
    waiting_since: Option<Instant>,
    /// Set again only when it fires: most waits are far shorter than the timeout.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    const fn new(pace: Pace) -> Self {
        Self {
            meter: PaceMeter::new(pace),
            waiting_since: None,
            timer: None,
        }
    }

    fn watch(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                let waited = self.waiting_since.take().map(|since| since.elapsed());
                match self.meter.note(bytes, waited.unwrap_or_default()) {
                    Ok(()) => Poll::Ready(Ok(bytes)),
                    Err(too_slow) => Poll::Ready(Err(timed_out(too_slow))),
                }
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self
                .poll_timeout(cx)
                .map(|too_slow| Err(timed_out(too_slow))),
        }
    }

    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<TooSlow> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let deadline = since + self.meter.idle_timeout();
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(self.meter.idle());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

fn timed_out(too_slow: TooSlow) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, too_slow)
}
