//! What every request passes through: it gets an id, its problem is rendered, its panic is caught, and
//! when its answer has been sent (or given up) one line goes to the log.
//!
//! The line has the route's pattern, never the path's query: a query string is a secret.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::RequestExt as _;
use axum::body::Body;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use headers::{ContentLength, HeaderMapExt};
use http::{HeaderName, HeaderValue, StatusCode};

use super::allowance::AllowanceNote;
use super::answer::accepts_json;
use super::app::App;
use super::client::client_of;
use super::head;
use super::problem::Problem;
use crate::error_chain::chain;
use crate::file_sender::FileSender;
use crate::observed_body::{Observe, ObservedBody};
use crate::ops::metrics::{Finished, known_method};
use crate::source::SourceId;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer id from a client is replaced.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Carries a request to its handler and its answer back.
pub(super) async fn pass(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id(request.headers().get(REQUEST_ID));
    let mut entry = LogEntry::of(&request, id.clone(), Arc::clone(&app));
    entry.source = source_in(&mut request).await;
    let accepts_json = accepts_json(request.headers());
    let received = Arc::clone(&entry.received);
    let allowance = AllowanceNote::default();
    let mut request = request.map(|body| Body::new(ObservedBody::new(body, Received(received))));
    request.extensions_mut().insert(allowance.clone());

    let response = match head::check(&request) {
        Ok(()) => AssertUnwindSafe(next.run(request))
            .catch_unwind()
            .await
            .unwrap_or_else(|_panic| Problem::panicked().into_response()),
        Err(problem) => problem.into_response(),
    };

    let mut response = render_problem(response, accepts_json, &mut entry);
    allowance.put_headers(response.headers_mut());
    entry.status = Some(response.status());
    entry.source = entry.source.or(response.extensions().get().copied());
    entry.announced_bytes = response
        .headers()
        .typed_get::<ContentLength>()
        .map(|length| length.0);
    response.headers_mut().insert(REQUEST_ID, id);
    response.map(|body| Body::new(ObservedBody::new(body, entry)))
}

/// The source that the path names, in any spelling that opens it.
async fn source_in(request: &mut Request) -> Option<SourceId> {
    let Path(named): Path<String> = request.extract_parts().await.ok()?;
    named.parse().ok()
}

/// The caller's id, if it is sane; else a new one.
fn request_id(sent: Option<&HeaderValue>) -> HeaderValue {
    match sent {
        Some(id) if is_sane(id.as_bytes()) => id.clone(),
        _ => {
            let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
            HeaderValue::from_str(&id.to_string()).expect("a UUID is ASCII")
        }
    }
}

/// Safe to repeat in a header, a log line and a JSON text.
fn is_sane(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.iter().all(is_plain)
}

/// Turns the marker that a problem leaves into its answer, and notes its causes for the log.
fn render_problem(mut response: Response, accepts_json: bool, entry: &mut LogEntry) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() else {
        return response;
    };
    let mut rendered = problem.render(entry.id(), accepts_json);
    // The router's own headers (`Allow`) stay.
    for (name, value) in response.headers() {
        rendered
            .headers_mut()
            .entry(name)
            .or_insert_with(|| value.clone());
    }
    entry.error = Some(problem.cause().to_owned());
    rendered
}

struct Received(Arc<AtomicU64>);

impl Observe for Received {
    fn note_bytes(&mut self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// What is known of one exchange; logged when it is dropped, with the answer's body.
struct LogEntry {
    started_at: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
    source: Option<SourceId>,
    request_id: HeaderValue,
    client: IpAddr,
    status: Option<StatusCode>,
    received: Arc<AtomicU64>,
    sent_bytes: u64,
    /// How long the answer's body is, if that is known.
    announced_bytes: Option<u64>,
    error: Option<String>,
    /// Whether the answer broke off, and through no fault of its client.
    has_failed: bool,
    /// Where it is known why a part of a file could not be sent.
    sender: Option<FileSender>,
    app: Arc<App>,
}

impl LogEntry {
    fn of(request: &Request, request_id: HeaderValue, app: Arc<App>) -> Self {
        Self {
            started_at: Instant::now(),
            method: known_method(request.method()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            source: None,
            request_id,
            client: client_of(request.headers(), request.extensions(), &app),
            status: None,
            received: Arc::default(),
            sent_bytes: 0,
            announced_bytes: None,
            error: None,
            has_failed: false,
            sender: request.extensions().get().cloned(),
            app,
        }
    }

    fn id(&self) -> &str {
        self.request_id
            .to_str()
            .expect("only sane ids are kept, and they are ASCII")
    }
}

impl Observe for LogEntry {
    fn note_bytes(&mut self, bytes: usize) {
        self.sent_bytes += bytes as u64;
    }

    fn note_error(&mut self, error: &axum::Error) {
        self.error = Some(chain(error));
        self.has_failed = true;
    }

    /// A body of known length may be dropped with its last byte, without being asked for more.
    fn note_unread(&mut self) {
        if let Some(error) = self
            .sender
            .as_ref()
            .and_then(|sender| sender.0.take_failure())
        {
            self.error = Some(format!("cannot read the archive: {}", chain(&error)));
            self.has_failed = true;
        } else if self.announced_bytes.is_none_or(|all| self.sent_bytes < all) {
            let text = "the client did not take all of the answer";
            self.error.get_or_insert_with(|| text.to_owned());
        }
    }
}

impl Drop for LogEntry {
    fn drop(&mut self) {
        let status = self.status.map_or(0, |status| status.as_u16());
        let received_bytes = self.received.load(Ordering::Relaxed);
        let duration = self.started_at.elapsed();
        let route = self.route.as_ref().map_or("none", MatchedPath::as_str);
        self.app.metrics.note_request(&Finished {
            method: self.method,
            route,
            status,
            received_bytes,
            sent_bytes: self.sent_bytes,
            duration,
        });
        let duration_ms = duration.as_secs_f64() * 1000.0;
        macro_rules! log {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    method = self.method,
                    route,
                    status,
                    received_bytes,
                    sent_bytes = self.sent_bytes,
                    duration_ms = (duration_ms * 1000.0).round() / 1000.0,
                    request_id = self.id(),
                    client = %self.client,
                    source = self.source.map(tracing::field::display),
                    error = self.error.as_deref(),
                    "request"
                )
            };
        }
        if status >= 500 || self.has_failed {
            log!(tracing::Level::ERROR);
        } else {
            log!(tracing::Level::INFO);
        }
    }
}
