//! Accepting connections, serving HTTP/1.1 on each, and stopping cleanly.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

use super::body::{Observe, Observed};
use super::client_io::{ClientIo, Owed, OwedGuard};
use super::malformed::HeadLimits;
use crate::pace::Pace;
use crate::telemetry::chain;

/// How long to wait after the system refused to accept, as it does when it is out of file
/// descriptors: some have to be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The HTTP library's buffer for each direction of a connection; it grows to this only while bytes
/// come as fast as they can be taken.
const BUFFER_BYTES: usize = 256 * 1024;

/// The limits on connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// How many are served at once; more wait in the system's queue.
    pub connections: usize,
    /// How long a request's head may take, also the first and the next one.
    pub head_timeout: Duration,
    /// The largest head of a request.
    pub head_bytes: usize,
    /// How slowly a client may take what it asked for.
    pub download_pace: Pace,
}

/// Connections that are being accepted and served.
pub struct Server {
    router: Router,
    limits: ConnectionLimits,
    slots: Arc<Semaphore>,
    graceful: GracefulShutdown,
}

impl Server {
    /// One that serves `router`.
    #[must_use]
    pub fn new(router: Router, limits: ConnectionLimits) -> Self {
        Self {
            router,
            limits,
            slots: Arc::new(Semaphore::new(limits.connections)),
            graceful: GracefulShutdown::new(),
        }
    }

    /// Accepts connections for as long as it is polled.
    pub async fn accept(&self, listener: &TcpListener) {
        loop {
            let slot = Arc::clone(&self.slots)
                .acquire_owned()
                .await
                .expect("this semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => self.start(stream, slot),
                Err(error) => {
                    tracing::warn!(error = chain(&error), "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Closes idle connections, and the others when their request has been answered. Returns when
    /// all are closed.
    pub async fn finish(self) {
        self.graceful.shutdown().await;
    }

    fn start(&self, stream: TcpStream, slot: OwnedSemaphorePermit) {
        let connection = serve(
            stream,
            self.router.clone(),
            self.limits,
            self.graceful.watcher(),
        );
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // What a client broke is told by its request's line; the rest is of no interest.
                tracing::debug!(error = chain(&error), "a connection ended");
            }
            drop(slot);
        });
    }
}

async fn serve(
    stream: TcpStream,
    router: Router,
    limits: ConnectionLimits,
    watcher: Watcher,
) -> Result<(), hyper::Error> {
    no_delay(&stream);
    let owed = Arc::new(Owed::default());
    let head_limits = HeadLimits {
        head_bytes: limits.head_bytes,
    };
    let io = ClientIo::new(stream, Arc::clone(&owed), head_limits, limits.download_pace);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer_owed = owed.begin();
        let router = router.clone();
        async move {
            let response = router.oneshot(request.map(Body::new)).await?;
            Ok::<_, std::convert::Infallible>(response.map(|body| Observed::new(body, answer_owed)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_header_size(limits.head_bytes)
        .max_buf_size(BUFFER_BYTES)
        // A client may close its side when it has sent all, and still wait for the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(io), service);
    watcher.watch(connection).await
}

impl Observe for OwedGuard {
    fn saw(&mut self, _bytes: usize) {}
}

/// Small answers must not wait for more.
fn no_delay(stream: &TcpStream) {
    let set: io::Result<()> = stream.set_nodelay(true);
    if let Err(error) = set {
        tracing::debug!(error = chain(&error), "cannot set TCP_NODELAY");
    }
}
