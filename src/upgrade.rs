//! What a handler may ask of its connection: to be handed over, once the answer has been sent that says so.
//!
//! A handler that answers 101 puts an [`Upgrade`] among the extensions of its answer. The connection then runs
//! the session in its own task, so that it counts, drains and is cut off like any other exchange.

use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::mutex::lock;
use crate::stopping::Stopping;

/// The bytes of a connection, in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that speaks no HTTP any more.
pub struct Upgraded {
    pub io: Box<dyn Io>,
    /// What its client sent right behind the request.
    pub read: Bytes,
    pub stopping: Stopping,
}

impl Upgraded {
    pub fn new(io: Box<dyn Io>, read: Bytes, stopping: Stopping) -> Self {
        Self { io, read, stopping }
    }
}

type Session = Box<dyn FnOnce(Upgraded) -> BoxFuture<'static, ()> + Send>;

/// What is to be done with the connection. Clones are the same, and one of them can start it.
#[derive(Clone)]
pub struct Upgrade(Arc<Mutex<Option<Session>>>);

impl Upgrade {
    pub fn new<F>(session: impl FnOnce(Upgraded) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let session: Session = Box::new(|upgraded| session(upgraded).boxed());
        Self(Arc::new(Mutex::new(Some(session))))
    }

    /// Runs the session to its end.
    pub async fn run(&self, upgraded: Upgraded) {
        let session = lock(&self.0).take();
        if let Some(session) = session {
            session(upgraded).await;
        }
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgrade")
    }
}
