//! One client's connection, as the HTTP library reads and writes it. Two things are seen to here, since
//! only here they can be:
//!
//! * a client that takes nothing of its answer, or too little, is given up;
//! * a refused client gets to read its answer: closing while its bytes still arrive would make the
//!   system reset the connection and throw the answer away, so those bytes are read for a while after
//!   the last one of ours.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::connection_state::ConnectionState;
use super::sendfile::{NextWrite, SendfileQueue, Transport};
use crate::pace::{Pace, PaceMeter, TooSlow};

/// How long a closed connection is still read, so that its client finds the answer.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_PIECE_BYTES: usize = 16 * 1024;
/// The library closes without a word where the head of a request does not come in time.
const HEAD_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What a client is answered that speaks HTTP where HTTPS is spoken. Its request is not read.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 55\r\n\r\n{\"error\":\"this port speaks HTTPS: use an https:// URL\"}";

/// A client's connection.
pub(super) struct ClientIo<T> {
    io: T,
    state: Arc<ConnectionState>,
    stall: Stall,
    /// Whether what the client still sends is read before the connection is closed.
    must_linger: bool,
    linger: Option<Pin<Box<Sleep>>>,
    /// Parts of files that are sent in place of their placeholders.
    queue: Option<SendfileQueue>,
}

impl<T: Transport> ClientIo<T> {
    pub(super) fn new(
        io: T,
        state: Arc<ConnectionState>,
        pace: Pace,
        queue: Option<SendfileQueue>,
    ) -> Self {
        Self {
            io,
            state,
            stall: Stall::new(pace),
            must_linger: false,
            linger: None,
            queue,
        }
    }

    /// Ends a connection on which the head of a request began, and did not come to its end in time.
    pub(super) async fn refuse_late_head(mut self) -> io::Result<()> {
        if self.state.has_nothing_to_send() {
            self.write_all(HEAD_TIMEOUT).await?;
        }
        self.shutdown().await
    }

    /// Ends a connection on which HTTP is spoken in place of TLS.
    pub(super) async fn refuse_plain_http(mut self) -> io::Result<()> {
        self.must_linger = true;
        self.write_all(NOT_TLS).await?;
        self.shutdown().await
    }

    /// Reads and forgets, until the client closes or time is up.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut piece = [MaybeUninit::uninit(); LINGER_PIECE_BYTES];
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
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: Transport> AsyncWrite for ClientIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // Nothing is to be answered, so this is what the library says to what is no request.
        this.must_linger |= this.state.has_nothing_to_send();
        let written = match (&this.queue, this.io.socket()) {
            (Some(queue), Some(socket)) => match queue.next(pieces)? {
                NextWrite::Bytes(pieces) => Pin::new(&mut this.io).poll_write_vectored(cx, pieces),
                NextWrite::Part => {
                    let sent = queue.poll_send(socket, cx);
                    if queue.is_reading() {
                        // The disk is waited for. A client is not to blame for that.
                        return Poll::Pending;
                    }
                    sent
                }
            },
            _ => Pin::new(&mut this.io).poll_write_vectored(cx, pieces),
        };
        this.stall.watch(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.note_flushed();
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        }
        if self.must_linger || self.state.has_unread_body() {
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

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::pin::pin;

    use super::*;

    const PACE: Pace = Pace {
        idle_timeout: Duration::from_mins(1),
        min_bytes_per_second: 100,
    };

    /// Writes as soon as `ready` ends.
    async fn write(stall: &mut Stall, bytes: usize, ready: impl Future) -> io::Result<usize> {
        let mut ready = pin!(ready);
        poll_fn(|cx| {
            let written = ready.as_mut().poll(cx).map(|_| Ok(bytes));
            stall.watch(written, cx)
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_less_than_the_minimum_rate_is_cut_off() {
        for (bytes, is_cut_off) in [(1000, false), (999, true)] {
            let mut stall = Stall::new(PACE);
            let mut writes = 0;
            while writes < 60 {
                let pause = sleep(Duration::from_secs(10));
                if write(&mut stall, bytes, pause).await.is_err() {
                    break;
                }
                writes += 1;
            }
            assert_eq!(writes < 60, is_cut_off, "{bytes}: {writes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_not_cut_off_for_pauses_between_writes() {
        let mut stall = Stall::new(PACE);
        for _ in 0..3 {
            sleep(2 * PACE.idle_timeout).await;
            write(&mut stall, 1, ready(())).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up_after_the_idle_timeout() {
        let started_at = Instant::now();
        let written = write(&mut Stall::new(PACE), 1, pending::<()>()).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(started_at.elapsed(), PACE.idle_timeout);
    }
}
