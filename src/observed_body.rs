//! Bodies that are observed as they pass: by the connection, and by the log of requests.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// What wants to know what passes. It is dropped with the body: when all of it has been taken, or when
/// its reader gave up.
pub(crate) trait Observe: Send + Unpin + 'static {
    /// So many bytes passed.
    fn note_bytes(&mut self, _bytes: usize) {}

    /// The body broke off.
    fn note_error(&mut self, _error: &axum::Error) {}

    /// The body was dropped before its end.
    fn note_unread(&mut self) {}
}

/// A body and its observer.
pub(crate) struct ObservedBody<O: Observe> {
    body: Body,
    observer: O,
    has_ended: bool,
}

impl<O: Observe> ObservedBody<O> {
    pub(crate) fn new(body: Body, observer: O) -> Self {
        Self {
            has_ended: body.is_end_stream(),
            body,
            observer,
        }
    }
}

impl<O: Observe> Drop for ObservedBody<O> {
    fn drop(&mut self) {
        if !self.has_ended && !self.body.is_end_stream() {
            self.observer.note_unread();
        }
    }
}

impl<O: Observe> HttpBody for ObservedBody<O> {
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
                self.observer.note_bytes(bytes);
            }
            Some(Err(error)) => self.observer.note_error(error),
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
