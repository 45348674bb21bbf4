//! How far the exchange on one connection is; shared by its stream and by the bodies that pass on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::observed_body::Observe;
use crate::upgrade::Upgrade;

/// What the stream of a connection has to know of the requests on it. Over HTTP/1.1 they come one after
/// the other.
#[derive(Debug, Default)]
pub(super) struct ConnectionState {
    /// A request arrived, and the HTTP library does not have its whole answer yet.
    is_answering: AtomicBool,
    /// Bytes of an answer may still have to be written.
    has_unwritten: AtomicBool,
    /// A request was answered before all of its body had been read.
    has_unread_body: AtomicBool,
    /// What the connection is to be used for when the last answer has been sent.
    upgrade: OnceLock<Upgrade>,
}

impl ConnectionState {
    /// A request arrived; it is being answered until the guard is dropped.
    pub(super) fn begin_answer(self: &Arc<Self>) -> ResponseGuard {
        self.is_answering.store(true, Ordering::Relaxed);
        self.has_unwritten.store(true, Ordering::Relaxed);
        ResponseGuard(Arc::clone(self))
    }

    /// An observer for the body of a request.
    pub(super) fn watch_request(self: &Arc<Self>) -> RequestWatch {
        RequestWatch(Arc::clone(self))
    }

    /// All that was written has been given to the system.
    pub(super) fn note_flushed(&self) {
        if !self.is_answering.load(Ordering::Relaxed) {
            self.has_unwritten.store(false, Ordering::Relaxed);
        }
    }

    /// Is every request answered, to the last byte? Then the HTTP library itself writes, to refuse malformed requests.
    pub(super) fn has_nothing_to_send(&self) -> bool {
        !self.has_unwritten.load(Ordering::Relaxed)
    }

    /// The answer that is being sent hands the connection over.
    pub(super) fn note_upgrade(&self, upgrade: Upgrade) {
        // No request follows one that was answered so.
        let _ = self.upgrade.set(upgrade);
    }

    pub(super) fn upgrade(&self) -> Option<&Upgrade> {
        self.upgrade.get()
    }

    pub(super) fn has_unread_body(&self) -> bool {
        self.has_unread_body.load(Ordering::Relaxed)
    }
}

/// Goes with the body of an answer.
#[derive(Debug)]
pub(super) struct ResponseGuard(Arc<ConnectionState>);

impl Observe for ResponseGuard {}

impl Drop for ResponseGuard {
    fn drop(&mut self) {
        self.0.is_answering.store(false, Ordering::Relaxed);
    }
}

/// Goes with the body of a request.
pub(super) struct RequestWatch(Arc<ConnectionState>);

impl Observe for RequestWatch {
    fn note_unread(&mut self) {
        self.0.has_unread_body.store(true, Ordering::Relaxed);
    }
}
