//! Bodies that are watched as they pass, and the body of an upload as the use cases want it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body::{Body as _, Frame, SizeHint};

use crate::sources::EndedEarly;

/// Who wants to know what passes. It is dropped with the body: when all of it has been taken, or
/// when whoever took it gave up.
pub(super) trait Observe: Send + Unpin + 'static {
    /// So many bytes passed.
    fn saw(&mut self, bytes: usize);

    /// The body broke off.
    fn failed(&mut self, _error: &axum::Error) {}

    /// It was dropped before its end.
    fn left_unread(&mut self) {}
}

/// A body and its observer.
pub(super) struct Observed<O: Observe> {
    body: Body,
    observer: O,
    has_ended: bool,
}

impl<O: Observe> Observed<O> {
    pub(super) fn new(body: Body, observer: O) -> Self {
        Self {
            has_ended: body.is_end_stream(),
            body,
            observer,
        }
    }
}

impl<O: Observe> Drop for Observed<O> {
    fn drop(&mut self) {
        if !self.has_ended && !self.body.is_end_stream() {
            self.observer.left_unread();
        }
    }
}

impl<O: Observe> http_body::Body for Observed<O> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.observer.saw(bytes);
            }
            Some(Err(error)) => self.observer.failed(error),
            None => self.has_ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How long a body says it is.
pub(super) fn announced_bytes(body: &Body) -> Option<u64> {
    body.size_hint().exact()
}

/// The bytes of an upload. That the client's body ended early is all that can go wrong with it.
pub(super) fn upload_stream(
    body: Body,
) -> impl Stream<Item = Result<Bytes, EndedEarly>> + Send + Unpin {
    body.into_data_stream()
        .map(|chunk| chunk.map_err(|_| EndedEarly))
}
