//! Serving one connection: TLS or not, then HTTP/1.1, until it ends or the server stops.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt;
use http::HeaderValue;
use http::header::CONNECTION;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::client_io::ClientIo;
use super::connection_state::{ConnectionState, ResponseGuard};
use super::sendfile::{SendfileQueue, Transport};
use crate::error_chain::chain;
use crate::file_sender::FileSender;
use crate::observed_body::ObservedBody;
use crate::pace::Pace;
use crate::proxies::Peer;
use crate::stopping::Stopping;
use crate::upgrade::{Upgrade, Upgraded};

/// The HTTP library's buffer for each direction of a connection; it grows to this only while bytes
/// come as fast as they can be taken.
const BUFFER_BYTES: usize = 256 * 1024;
/// The same within TLS, which takes and gives 16 KiB at a time: more would only be memory that a slow
/// client holds.
const TLS_BUFFER_BYTES: usize = 64 * 1024;
/// What the system may hold of an answer that it cannot send yet.
const UNSENT_BYTES: u32 = 128 * 1024;

/// The limits on connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// How many are served at once; more wait in the system's queue.
    pub connections: u32,
    /// How long a TLS handshake and a request's head may take, also the first and the next one.
    pub head_timeout: Duration,
    /// The largest head of a request.
    pub head_bytes: usize,
    /// How slowly a client may take what it asked for.
    pub download_pace: Pace,
}

/// How serving a connection ended.
enum Ended {
    Complete,
    /// It could be kept open, but nobody waits for it.
    LeftAlone,
}

/// What every connection is given.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) router: Router,
    pub(super) limits: ConnectionLimits,
    pub(super) stop: Stopping,
}

/// Small answers must not wait for more. And the system takes no more bytes than it can soon send, so
/// that a slow client that still takes some is not mistaken for one that stands still: otherwise it
/// would ask for more only when a third of some megabytes is gone.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES)
}

impl Service {
    /// Serves a connection to its end.
    pub(super) async fn serve(
        self,
        stream: std::net::TcpStream,
        peer: Peer,
        tls: Option<TlsAcceptor>,
    ) {
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                return tracing::warn!(error = chain(&error), "cannot serve a connection");
            }
        };
        if let Err(error) = tune(&stream) {
            tracing::debug!(error = chain(&error), "cannot tune a connection");
        }
        match tls {
            None => self.serve_http(stream, peer).await,
            // Boxed: connections without TLS shall not carry ten kilobytes for its state.
            Some(tls) => Box::pin(self.serve_tls(stream, peer, tls)).await,
        }
    }

    async fn serve_tls(mut self, stream: TcpStream, peer: Peer, tls: TlsAcceptor) {
        let handshake = timeout(self.limits.head_timeout, async {
            let mut first = [0];
            stream.peek(&mut first).await?;
            // No TLS begins with a letter, and each method of HTTP does.
            if first[0].is_ascii_alphabetic() {
                return Ok(Err(stream));
            }
            tls.accept(stream).await.map(Ok)
        });
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            // Nothing has been asked for.
            () = self.stop.wait() => return,
        };
        match shaken {
            Ok(Ok(Ok(stream))) => self.serve_http(stream, peer).await,
            Ok(Ok(Err(stream))) => {
                let pace = self.limits.download_pace;
                let io = ClientIo::new(stream, Arc::default(), pace, None);
                log_end(io.refuse_plain_http().await);
            }
            Ok(Err(error)) => tracing::debug!(error = chain(&error), "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn serve_http<T: Transport>(self, stream: T, peer: Peer) {
        let limits = self.limits;
        let state = Arc::new(ConnectionState::default());
        let queue = stream.socket().map(|_| SendfileQueue::default());
        let buffer_bytes = match queue {
            Some(_) => BUFFER_BYTES,
            None => TLS_BUFFER_BYTES,
        };
        let exchange = Exchange {
            router: self.router,
            peer,
            state: Arc::clone(&state),
            sender: queue.as_ref().map(SendfileQueue::offer),
            stop: self.stop.clone(),
        };
        let io = ClientIo::new(stream, Arc::clone(&state), limits.download_pace, queue);
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_header_size(limits.head_bytes)
            // A head has to fit into the buffer, or that would be the limit.
            .max_buf_size(buffer_bytes.max(2 * limits.head_bytes))
            // A client may close its side when it has sent all, and still wait for the answer.
            .half_close(true)
            .serve_connection(
                TokioIo::new(io),
                service_fn(move |request| {
                    let answered = exchange.answer(request);
                    answered.map(Ok::<_, Infallible>)
                }),
            );
        let mut stop = self.stop;
        let ended = tokio::select! {
            ended = &mut connection => ended.map(|()| Ended::Complete),
            () = stop.wait() => {
                Pin::new(&mut connection).graceful_shutdown();
                // The head of a request that has begun is not waited for.
                if state.has_nothing_to_send() {
                    let ended = (&mut connection).now_or_never();
                    ended.map_or(Ok(Ended::LeftAlone), |ended| ended.map(|()| Ended::Complete))
                } else {
                    (&mut connection).await.map(|()| Ended::Complete)
                }
            }
        };
        if let (Ok(Ended::Complete), Some(upgrade)) = (&ended, state.upgrade()) {
            let parts = connection.into_parts();
            let io = Box::new(parts.io.into_inner());
            return upgrade.run(Upgraded::new(io, parts.read_buf, stop)).await;
        }
        let closed = match ended {
            // After a request that offered an upgrade the library stops without sending its last
            // bytes and without closing, and does both when it is polled again.
            Ok(Ended::Complete) => connection.await.map_err(io::Error::other),
            Ok(Ended::LeftAlone) => Ok(()),
            Err(error) if error.is_timeout() => {
                let parts = connection.into_parts();
                if parts.read_buf.is_empty() {
                    Ok(())
                } else {
                    parts.io.into_inner().refuse_late_head().await
                }
            }
            Err(error) => Err(io::Error::other(error)),
        };
        log_end(closed);
    }
}

/// What a client broke is in its request's line of the log; here it only helps developers.
fn log_end(closed: io::Result<()>) {
    if let Err(error) = closed {
        tracing::debug!(error = chain(&error), "a connection ended");
    }
}

/// What the requests of one connection are answered by.
struct Exchange {
    router: Router,
    peer: Peer,
    state: Arc<ConnectionState>,
    sender: Option<FileSender>,
    stop: Stopping,
}

impl Exchange {
    /// Answers one request. The answer is under way until its body has been taken.
    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<ObservedBody<ResponseGuard>>> + use<> {
        let guard = self.state.begin_answer();
        let watch = self.state.watch_request();
        let mut request = request.map(|body| Body::new(ObservedBody::new(Body::new(body), watch)));
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(self.stop.clone());
        if let Some(sender) = &self.sender {
            request.extensions_mut().insert(sender.clone());
        }
        let answer = TowerToHyperService::new(self.router.clone()).call(request);
        let state = Arc::clone(&self.state);
        async move {
            let Ok(mut response) = answer.await;
            if let Some(upgrade) = response.extensions_mut().remove::<Upgrade>() {
                state.note_upgrade(upgrade);
            }
            // What was not read stands before the next request (RFC 9112, section 9.6).
            if state.has_unread_body() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            response.map(|body| ObservedBody::new(body, guard))
        }
    }
}
