//! What a connection offers to a handler: to send parts of files itself, without their being read.
//!
//! A connection that can do so puts a [`FileSender`] among the extensions of each request. A handler
//! that has parts of a file to answer with enqueues them, and puts the placeholders that it gets for
//! them into the body of its answer, in the same order.

use std::sync::Arc;

use bytes::Bytes;

use crate::store::{FilePart, StoreError};

/// Where parts of files are enqueued that a connection is to send.
pub trait SendFileParts: Send + Sync {
    /// Enqueues a part. Returns the placeholder that goes into the body in its place.
    fn enqueue(&self, part: FilePart) -> Bytes;

    /// Takes the reason why a part could not be read, if the answer broke off for that.
    fn take_failure(&self) -> Option<StoreError>;
}

/// The offer of one connection. Clones are the same.
#[derive(Clone)]
pub struct FileSender(pub Arc<dyn SendFileParts>);
