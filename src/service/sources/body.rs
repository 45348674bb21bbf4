//! Receiving a client's body, at its pace, and passing it on.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, timeout};

use crate::digest::{Digester, ExpectedDigests, InvalidDigest};
use crate::pace::{PaceMeter, TooSlow};
use crate::source::Facts;
use crate::store::{OpenAttempt, StoreError, Upload};

/// A piece of a client's body.
pub enum Sent {
    Bytes(Bytes),
    /// Digests in its trailers, after the last byte.
    Digests(ExpectedDigests),
}

/// Why the body broke off.
#[derive(Debug)]
pub enum BrokenBody {
    EndedEarly,
    InvalidDigest(InvalidDigest),
}

/// The next bytes of a body; none at its end.
pub(super) type NextChunk = Result<Option<Result<Sent, BrokenBody>>, TooSlow>;

/// Waits for the next piece, for as long as the pace allows. When a client pauses, everything it sent is stored: it would
/// otherwise stay in memory for as long as the client likes.
pub(super) async fn next_of(
    body: &mut (impl Stream<Item = Result<Sent, BrokenBody>> + Unpin),
    meter: &mut PaceMeter,
    sink: &mut Sink<'_>,
) -> Result<NextChunk, StoreError> {
    let asked_at = Instant::now();
    let mut next = pin!(timeout(meter.idle_timeout(), body.next()));
    let next = tokio::select! {
        biased;
        next = &mut next => next,
        caught_up = sink.catch_up() => {
            caught_up?;
            next.await
        }
    };
    Ok(match next {
        Ok(Some(Ok(Sent::Bytes(chunk)))) => {
            let noted = meter.note(chunk.len(), asked_at.elapsed());
            noted.map(|()| Some(Ok(Sent::Bytes(chunk))))
        }
        Ok(next) => Ok(next),
        Err(_) => Err(meter.idle()),
    })
}

/// Where the bytes of a body go.
pub(super) enum Sink<'a> {
    Store(&'a mut Upload),
    Digest(&'a mut Digester),
    Part(&'a mut OpenAttempt),
}

impl Sink<'_> {
    pub(super) async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        match self {
            Self::Store(upload) => upload.write(chunk).await,
            Self::Part(attempt) => attempt.write(chunk).await,
            Self::Digest(digester) => {
                digester.update(&chunk);
                // Hashing takes its time; others on this thread get theirs in between.
                tokio::task::yield_now().await;
                Ok(())
            }
        }
    }

    pub(super) fn first(&self) -> Option<&Facts> {
        match self {
            Self::Store(upload) => upload.first(),
            Self::Digest(_) | Self::Part(_) => None,
        }
    }

    async fn catch_up(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Store(upload) => upload.catch_up().await,
            Self::Part(attempt) => attempt.catch_up().await,
            Self::Digest(_) => Ok(()),
        }
    }
}
