//! Bodies that are watched as they pass, and the body of an upload as the use cases want it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::service::sources::EndedEarly;

/// Who wants to know what passes. It is dropped with the body: when all of it has been taken, or
/// when whoever took it gave up.
pub(crate) trait Observe: Send + Unpin + 'static {
    /// The next piece is asked for.
    fn asked(&mut self) {}

    /// So many bytes passed.
    fn saw(&mut self, bytes: usize);

    /// The body broke off.
    fn failed(&mut self, _error: &axum::Error) {}

    /// It was dropped before its end.
    fn left_unread(&mut self) {}
}

/// A body and its observer.
pub(crate) struct Observed<O: Observe> {
    body: Body,
    observer: O,
    has_ended: bool,
}

impl<O: Observe> Observed<O> {
    pub(crate) fn new(body: Body, observer: O) -> Self {
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

impl<O: Observe> HttpBody for Observed<O> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.observer.asked();
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

/// A request's body over HTTP/2. It has ended when its client says so, and only then: the library takes
/// a stream that was reset with `NO_ERROR` for one that has ended, since a server may reset one so whose
/// answer has come early (RFC 9113, section 8.1). What a client breaks off that way is half of it.
pub(crate) struct UntilEndStream(pub(super) Incoming);

impl HttpBody for UntilEndStream {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(match frame {
            None if !self.0.is_end_stream() => Some(Err(axum::Error::new(WasReset))),
            frame => frame.map(|frame| frame.map_err(axum::Error::new)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// How a body broke off.
#[derive(Debug, thiserror::Error)]
#[error("the stream was reset before its end")]
struct WasReset;

/// A body in small pieces: with a large one it cannot be seen that its client takes some of it.
pub(crate) struct Sliced {
    body: Body,
    left: Bytes,
}

/// How large a piece is: the largest frame that HTTP/2 sends unless another size is agreed upon.
const SLICE_BYTES: usize = 16 * 1024;

impl Sliced {
    pub(crate) const fn new(body: Body) -> Self {
        Self {
            body,
            left: Bytes::new(),
        }
    }
}

impl HttpBody for Sliced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.left.is_empty() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            let Some(Ok(frame)) = frame else {
                return Poll::Ready(frame);
            };
            match frame.into_data() {
                Ok(data) => self.left = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let slice_bytes = self.left.len().min(SLICE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(slice_bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.left.len() as u64;
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + left);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + left);
        }
        hint
    }
}

/// How long a body says it is.
pub(crate) fn announced_bytes(body: &Body) -> Option<u64> {
    body.size_hint().exact()
}

/// The bytes of an upload. That the client's body ended early is all that can go wrong with it.
pub(crate) fn upload_stream(
    body: Body,
) -> impl Stream<Item = Result<Bytes, EndedEarly>> + Send + Unpin {
    body.into_data_stream()
        .map(|chunk| chunk.map_err(|_| EndedEarly))
}
