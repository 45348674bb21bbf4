//! Accepting connections, with TLS or without; serving HTTP/1.1 and HTTP/2 on them; and stopping
//! cleanly.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::{BoxError, Router};
use futures_util::{FutureExt, TryFutureExt};
use http::HeaderValue;
use http::header::CONNECTION;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tower::ServiceExt;

use super::admission::Admission;
use super::client_io::ClientIo;
use super::connection_state::{Owed, OwedGuard};
use super::malformed::{HeadLimits, Unfinished};
use super::sendfile::{LentParts, Transport};
use super::workers::Worker;
use crate::api::head::{OversizedHead, list_bytes};
use crate::body::{Observed, Sliced, UntilEndStream};
use crate::error_chain::chain;
use crate::pace::Pace;
use crate::proxies::Peer;
use crate::public_url::Scheme;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

/// How long to wait after the system refused to accept, as it does when it is out of file
/// descriptors: some have to be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client of HTTP/2 has to acknowledge that the server stops.
const FAREWELL: Duration = Duration::from_secs(1);
/// The HTTP library's buffer for each direction of a connection; it grows to this only while bytes
/// come as fast as they can be taken.
const BUFFER_BYTES: usize = 256 * 1024;
/// The same within TLS, which takes and gives 16 KiB at a time: more would only be memory that a slow
/// client holds.
const TLS_BUFFER_BYTES: usize = 64 * 1024;
/// What the system may hold of an answer that it cannot send yet.
const UNSENT_BYTES: u32 = 128 * 1024;
/// What one stream of HTTP/2, and all of a connection together, may have under way.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// What the library holds of an answer over HTTP/2 that the client does not take: a connection may have
/// many of them.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// How many requests may run at once on a connection of HTTP/2.
const MAX_STREAMS: u32 = 64;

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

/// Connections that are being accepted and served.
pub struct Server {
    service: Service,
    tls: Option<TlsAcceptor>,
    workers: Vec<Worker>,
    slots: Arc<Semaphore>,
    admission: Option<Admission>,
    stop: watch::Sender<Stage>,
}

/// Whether connections go on, or end when they can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    Stopping,
}

/// How a connection ended.
enum Ended {
    ByItself,
    /// It would have gone on, but nobody waits for it.
    LeftAlone,
}

/// What every connection is given.
#[derive(Clone)]
struct Service {
    router: Router,
    limits: ConnectionLimits,
    stop: watch::Receiver<Stage>,
}

impl Server {
    /// One that serves `router` on `workers`, within TLS if there is a configuration for it.
    #[must_use]
    pub fn new(
        router: Router,
        limits: ConnectionLimits,
        tls: Option<Arc<ServerConfig>>,
        workers: Vec<Worker>,
    ) -> Self {
        let (stop, stopping) = watch::channel(Stage::Serving);
        Self {
            service: Service {
                router,
                limits,
                stop: stopping,
            },
            tls: tls.map(TlsAcceptor::from),
            workers,
            slots: Arc::new(Semaphore::new(limits.connections as usize)),
            admission: None,
            stop,
        }
    }

    /// The same, but what `admission` does not let in is closed at once.
    #[must_use]
    pub fn admitting(self, admission: Admission) -> Self {
        Self {
            admission: Some(admission),
            ..self
        }
    }

    /// Accepts connections for as long as it is polled.
    pub async fn accept(&self, listener: &TcpListener) {
        loop {
            let slot = Arc::clone(&self.slots)
                .acquire_owned()
                .await
                .expect("this semaphore is never closed");
            // The stream belongs to no runtime yet: to that of its worker, once it is there.
            let accepted = listener.accept().await;
            match accepted.and_then(|(stream, address)| Ok((stream.into_std()?, address))) {
                Ok((stream, address)) => {
                    let admitted = self.admission.as_ref().map(|it| it.admit(address.ip()));
                    if matches!(admitted, Some(None)) {
                        continue;
                    }
                    let peer = Peer {
                        address: address.ip(),
                        scheme: self.scheme(),
                    };
                    let (tls, service) = (self.tls.clone(), self.service.clone());
                    Worker::least_busy(&self.workers).spawn(async move {
                        serve(stream, peer, tls, service).await;
                        drop((slot, admitted));
                    });
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Closes idle connections, and the others when their requests have been answered. Returns when
    /// all are closed.
    pub async fn finish(self) {
        self.stop.send_replace(Stage::Stopping);
        let all = self.service.limits.connections;
        let closed = self.slots.acquire_many(all).await;
        drop(closed.expect("this semaphore is never closed"));
    }

    const fn scheme(&self) -> Scheme {
        match self.tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        }
    }
}

async fn serve(
    stream: std::net::TcpStream,
    peer: Peer,
    tls: Option<TlsAcceptor>,
    service: Service,
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
        None => service.serve_http1(stream, peer).await,
        // Boxed: connections without TLS shall not carry ten kilobytes for its state.
        Some(tls) => Box::pin(serve_tls(stream, peer, tls, service)).await,
    }
}

async fn serve_tls(stream: TcpStream, peer: Peer, tls: TlsAcceptor, service: Service) {
    let handshake = timeout(service.limits.head_timeout, tls.accept(stream));
    let mut stop = service.stop.clone();
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        // Nothing has been asked for.
        _ = stop.wait_for(|stage| *stage == Stage::Stopping) => return,
    };
    match shaken {
        Ok(Ok(stream)) => {
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                service.serve_http2(stream, peer).await;
            } else {
                service.serve_http1(stream, peer).await;
            }
        }
        Ok(Err(error)) => tracing::debug!(error = chain(&error), "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// Small answers must not wait for more. And the system takes no more bytes than it can soon send, so
/// that a slow client that still takes some is not mistaken for one that stands still: otherwise it
/// would ask for more only when a third of some megabytes is gone.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES)
}

impl Service {
    async fn serve_http1<T: Transport>(self, stream: T, peer: Peer) {
        let limits = self.limits;
        let owed = Owed::new();
        let lent = stream.socket().map(|_| LentParts::default());
        let buffer_bytes = match lent {
            Some(_) => BUFFER_BYTES,
            None => TLS_BUFFER_BYTES,
        };
        let head_limits = HeadLimits {
            head_bytes: limits.head_bytes,
            head_timeout: limits.head_timeout,
        };
        let io = ClientIo::new(stream, Arc::clone(&owed), limits.download_pace)
            .refusing_in_json(head_limits)
            .sending(lent.clone());
        let router = self.router.clone();
        let asked = Arc::clone(&owed);
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
                service_fn(move |request: Request<Incoming>| {
                    let mut request = request;
                    if let Some(lent) = &lent {
                        request.extensions_mut().insert(lent.clone());
                    }
                    let answered = answer(router.clone(), peer, &owed, request);
                    let owed = Arc::clone(&owed);
                    answered.map_ok(move |mut response| {
                        // What was not read stands before the next request (RFC 9112, section 9.6).
                        if owed.is_unread() {
                            let close = HeaderValue::from_static("close");
                            response.headers_mut().insert(CONNECTION, close);
                        }
                        response.map(|(body, owed)| Observed::new(body, owed))
                    })
                }),
            );
        // Here a client that stands still is seen by the library, and by `ClientIo`.
        let driven = self
            .drive(
                Pin::new(&mut connection),
                std::future::pending(),
                &asked,
                None,
            )
            .await;
        let closed = match driven {
            // After a request that offered an upgrade the library stops without sending its last
            // bytes and without closing, and does both when it is polled again.
            Ok(Ended::ByItself) => (&mut connection).await.map_err(io::Error::other),
            Ok(Ended::LeftAlone) => Ok(()),
            Err(error) if error.is_timeout() => {
                let io = connection.into_parts().io.into_inner();
                io.refuse_unfinished(Unfinished::TooSlow).await
            }
            Err(error) if error.is_incomplete_message() => {
                let io = connection.into_parts().io.into_inner();
                io.refuse_unfinished(Unfinished::BrokenOff).await
            }
            Err(error) if error.is_parse_version_h2() => {
                let io = connection.into_parts().io.into_inner();
                io.refuse_unfinished(Unfinished::Http2).await
            }
            Err(error) => Err(io::Error::other(error)),
        };
        note_end(closed);
    }

    async fn serve_http2<T: Transport>(self, stream: T, peer: Peer) {
        let limits = self.limits;
        let owed = Owed::new();
        let io = ClientIo::new(stream, Arc::clone(&owed), limits.download_pace);
        let router = self.router.clone();
        let (watched, asked) = (Arc::clone(&owed), Arc::clone(&owed));
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(widened(limits.head_bytes))
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .serve_connection(
                TokioIo::new(io),
                service_fn(move |request: Request<Incoming>| {
                    let mut request = request.map(UntilEndStream);
                    if list_bytes(&request) > limits.head_bytes {
                        let limit_bytes = limits.head_bytes;
                        request
                            .extensions_mut()
                            .insert(OversizedHead { limit_bytes });
                    }
                    let answered = answer(router.clone(), peer, &owed, request);
                    answered.map_ok(move |response| {
                        response.map(|(body, owed)| {
                            let sliced = Body::new(Sliced::new(body));
                            Observed::new(sliced, owed.watched(limits.download_pace))
                        })
                    })
                }),
            );
        let standstill = watched.standstill(limits.download_pace.idle_timeout);
        let driven = self
            .drive(pin!(connection), standstill, &asked, Some(FAREWELL))
            .await;
        note_end(driven.map(drop).map_err(io::Error::other));
    }

    /// Runs a connection to its end, which comes early when the server stops, or when nothing has
    /// moved on it for too long. A client that owes a `farewell`, as those of HTTP/2 do, has so long for
    /// it, once all that it asked for has been answered.
    async fn drive<C>(
        self,
        mut connection: Pin<&mut C>,
        standstill: impl Future<Output = ()>,
        owed: &Owed,
        farewell: Option<Duration>,
    ) -> Result<Ended, hyper::Error>
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let mut standstill = pin!(standstill);
        let mut stop = self.stop;
        let mut stage = Stage::Serving;
        loop {
            tokio::select! {
                done = connection.as_mut() => return done.map(|()| Ended::ByItself),
                () = standstill.as_mut() => return Ok(Ended::LeftAlone),
                _ = stop.wait_for(|stage| *stage == Stage::Stopping), if stage == Stage::Serving => {
                    stage = Stage::Stopping;
                    connection.as_mut().graceful_shutdown();
                    // The head of a request that has begun is not waited for.
                    if farewell.is_none() && owed.is_idle() {
                        let done = connection.as_mut().now_or_never();
                        return done.map_or(Ok(Ended::LeftAlone), |done| done.map(|()| Ended::ByItself));
                    }
                }
                () = sleep(farewell.unwrap_or_default()), if farewell.is_some() && stage == Stage::Stopping => {
                    if owed.is_idle() {
                        return Ok(Ended::LeftAlone);
                    }
                }
            }
        }
    }
}

/// What the library lets through: it refuses what is larger without a word.
fn widened(head_bytes: usize) -> u32 {
    u32::try_from(head_bytes.saturating_mul(4)).unwrap_or(u32::MAX)
}

/// What a client broke is told by its request's line; here it is only of interest to developers.
fn note_end(ended: io::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(error = chain(&error), "a connection ended");
    }
}

/// Answers one request. The answer is owed until its body has been taken.
fn answer<B>(
    router: Router,
    peer: Peer,
    owed: &Arc<Owed>,
    request: Request<B>,
) -> impl Future<Output = Result<Response<(Body, OwedGuard)>, Infallible>> + use<B>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let answer_owed = owed.begin();
    let reading = owed.reading();
    let mut request = request.map(|body| Body::new(Observed::new(Body::new(body), reading)));
    request.extensions_mut().insert(peer);
    async move {
        let response = router.oneshot(request).await?;
        Ok(response.map(|body| (body, answer_owed)))
    }
}
