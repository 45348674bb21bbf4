//! The requests to an object store: each is tried again as long as that may help, and counted.
//!
//! All tries are made here. What has failed for good comes back as an error that the library does not try again; it only goes
//! on reading where a body broke off, with a request of its own.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::thread::{ThreadId, current};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, StatusCode, Uri};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::time::{Instant, sleep};

use super::quirks::{self, is_busy, translate};
use crate::mutex::lock;

/// For how long one that is busy is asked again. A client of ours waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often one is asked again that fails, or cannot be reached.
pub(super) const MAX_RETRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

type Label = (&'static str, &'static str);

/// What was asked of an object store, and what came of it. Clones are the same.
#[derive(Clone, Debug)]
pub struct RequestMetrics {
    /// Each try, by kind and outcome.
    pub requests: Family<[Label; 2], Counter>,
    /// Those that were not the first, by kind.
    pub retries: Family<[Label; 1], Counter>,
    /// From the beginning of a try to the head of its answer, in seconds, by kind.
    pub durations: Family<[Label; 1], Histogram, fn() -> Histogram>,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        // From a millisecond to some half a minute.
        let durations: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 4.0, 8));
        Self {
            requests: Family::default(),
            retries: Family::default(),
            durations: Family::new_with_constructor(durations),
        }
    }
}

impl RequestMetrics {
    fn note(&self, kind: &'static str, tries: u32, outcome: &'static str, took: Duration) {
        let labels = [("kind", kind), ("outcome", outcome)];
        self.requests.get_or_create(&labels).inc();
        let labels = [("kind", kind)];
        if tries > 0 {
            self.retries.get_or_create(&labels).inc();
        }
        let durations = self.durations.get_or_create(&labels);
        durations.observe(took.as_secs_f64());
    }
}

/// Connects as the library does, for each thread by itself.
#[derive(Debug, Default)]
pub(super) struct Connector {
    inner: ReqwestConnector,
    metrics: RequestMetrics,
}

impl Connector {
    pub(super) fn counting(metrics: &RequestMetrics) -> Self {
        Self {
            inner: ReqwestConnector::default(),
            metrics: metrics.clone(),
        }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let own = self.inner.connect(options)?;
        Ok(HttpClient::new(Patient {
            clients: Mutex::new(HashMap::from([(current().id(), own)])),
            options: options.clone(),
            connector: ReqwestConnector::default(),
            metrics: self.metrics.clone(),
        }))
    }
}

#[derive(Debug)]
struct Patient {
    /// One for each thread that asks: a connection is served by the thread that opened it, and an answer that has to be
    /// handed over to another wakes that for each of its pieces.
    clients: Mutex<HashMap<ThreadId, HttpClient>>,
    options: ClientOptions,
    connector: ReqwestConnector,
    metrics: RequestMetrics,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Patient {
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.ask(request))
    }
}

impl Patient {
    fn client(&self) -> Result<HttpClient, HttpError> {
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(&current().id()) {
            return Ok(client.clone());
        }
        let made = self.connector.connect(&self.options);
        let made = made.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        clients.insert(current().id(), made.clone());
        Ok(made)
    }

    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let kind = kind_of(request.method(), request.uri());
        let began = Instant::now();
        for tries in 0.. {
            let answer = self.try_once(kind, tries, request.clone()).await;
            let Some(pause) = pause_after(&answer, tries, began.elapsed()) else {
                return last(answer).await;
            };
            sleep(pause).await;
        }
        unreachable!("tries are not counted so far");
    }

    async fn try_once(
        &self,
        kind: &'static str,
        tries: u32,
        request: HttpRequest,
    ) -> Result<HttpResponse, HttpError> {
        let began = Instant::now();
        let answer = self.client()?.execute(request).await;
        let took = began.elapsed();
        let answer = match answer {
            Ok(answer) => translate(answer).await,
            Err(error) => Err(error),
        };
        self.metrics.note(kind, tries, outcome_of(&answer), took);
        answer
    }
}

/// How long to wait before the next try; `None` if there is to be none. No request of ours does harm when it is sent
/// again: what creates or replaces names what it expects, and what was there after an answer was lost is looked at.
fn pause_after(
    answer: &Result<HttpResponse, HttpError>,
    tries: u32,
    passed: Duration,
) -> Option<Duration> {
    let pause = FIRST_PAUSE
        .saturating_mul(1 << tries.min(8))
        .min(LONGEST_PAUSE);
    match answer {
        Ok(answer) if is_busy(answer.status()) => {
            let pause = retry_after(answer.headers()).unwrap_or(pause);
            (passed + pause <= PATIENCE).then_some(pause)
        }
        Ok(answer) if answer.status().is_server_error() => (tries < MAX_RETRIES).then_some(pause),
        Ok(_) => None,
        Err(error) => {
            let may_help = matches!(
                error.kind(),
                HttpErrorKind::Connect
                    | HttpErrorKind::Request
                    | HttpErrorKind::Timeout
                    | HttpErrorKind::Interrupted
            );
            (may_help && tries < MAX_RETRIES && passed < PATIENCE).then_some(pause)
        }
    }
}

/// The seconds that the object store asks to wait. A date is not looked at: the clocks may differ.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// What the library is given for good: it would try servers' errors again by itself.
async fn last(answer: Result<HttpResponse, HttpError>) -> Result<HttpResponse, HttpError> {
    let answer = match answer {
        Ok(answer) if answer.status().is_server_error() || is_busy(answer.status()) => answer,
        Ok(answer) => return Ok(answer),
        Err(error) => return Err(HttpError::new(HttpErrorKind::Unknown, error)),
    };
    let status = answer.status();
    let text = answer.into_body().bytes().await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    Err(HttpError::new(
        HttpErrorKind::Unknown,
        Refused { status, text },
    ))
}

#[derive(Debug, thiserror::Error)]
#[error("it answered with status code: {status}: {text}")]
struct Refused {
    status: StatusCode,
    text: String,
}

fn kind_of(method: &Method, uri: &Uri) -> &'static str {
    let query = uri.query().unwrap_or_default();
    let is_list = query.contains("list-type=") || query.contains("comp=list");
    match *method {
        Method::GET if is_list => "list",
        Method::GET => "get",
        Method::HEAD => "head",
        Method::PUT => "put",
        // Many at once, by a list in the body.
        Method::DELETE | Method::POST => "delete",
        _ => "other",
    }
}

fn outcome_of(answer: &Result<HttpResponse, HttpError>) -> &'static str {
    match answer {
        Ok(answer) => quirks::outcome(answer.status()),
        Err(_) => "unanswered",
    }
}

#[cfg(test)]
mod tests {
    use object_store::client::HttpResponseBody;

    use super::*;

    fn answer(status: u16, wait: Option<&str>) -> HttpResponse {
        let mut answer = HttpResponse::new(HttpResponseBody::from(String::new()));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(wait) = wait {
            answer
                .headers_mut()
                .insert(RETRY_AFTER, wait.parse().unwrap());
        }
        answer
    }

    fn pause_of(answer: HttpResponse, tries: u32, passed: Duration) -> Option<Duration> {
        pause_after(&Ok(answer), tries, passed)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_object_store_that_is_busy_says_how_long_to_wait() {
        for (wait, pause) in [
            (None, FIRST_PAUSE),
            (Some("3"), SECOND * 3),
            (Some("Sat, 28 Nov 2026 00:00:00 GMT"), FIRST_PAUSE),
        ] {
            let paused = pause_of(answer(503, wait), 0, Duration::ZERO);
            assert_eq!(paused, Some(pause), "{wait:?}");
        }
        assert_eq!(
            pause_of(answer(503, Some("10")), 0, Duration::ZERO),
            Some(PATIENCE)
        );
        assert_eq!(pause_of(answer(503, Some("11")), 0, Duration::ZERO), None);
        assert_eq!(
            pause_of(answer(429, None), 9, SECOND * 9),
            Some(LONGEST_PAUSE)
        );
        assert_eq!(pause_of(answer(429, None), 10, SECOND * 10), None);
    }

    #[test]
    fn what_fails_is_tried_a_few_times_and_what_is_refused_once() {
        for tries in 0..MAX_RETRIES {
            assert!(pause_of(answer(500, None), tries, Duration::ZERO).is_some());
        }
        assert_eq!(
            pause_of(answer(500, None), MAX_RETRIES, Duration::ZERO),
            None
        );
        for status in [200, 404, 403, 409, 412] {
            assert_eq!(pause_of(answer(status, None), 0, Duration::ZERO), None);
        }
    }

    #[test]
    fn requests_are_counted_by_what_they_are_for() {
        for (method, uri, kind) in [
            (Method::GET, "http://s/b/key", "get"),
            (Method::GET, "http://s/b?list-type=2&prefix=a", "list"),
            (
                Method::GET,
                "http://s/c?restype=container&comp=list",
                "list",
            ),
            (Method::POST, "http://s/b?delete", "delete"),
            (Method::DELETE, "http://s/b/key", "delete"),
            (Method::PUT, "http://s/b/key", "put"),
            (Method::HEAD, "http://s/b/key", "head"),
        ] {
            assert_eq!(kind_of(&method, &uri.parse().unwrap()), kind, "{uri}");
        }
    }
}
