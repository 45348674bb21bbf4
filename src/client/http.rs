//! Sending requests: proxies, answers that refuse, requests that stand still. Errors name the host, never the link.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy, Request, Response, Url};
use tokio::time::{sleep, timeout};

use super::error::ClientError;
use super::progress::Progress;
use crate::backoff::Backoff;
use crate::http_client::{self, is_exposed};
use crate::secret::Secret;
use crate::wire::problem::ProblemBody;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The longest that a server may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(1);
/// How much of an answer that refuses is read.
const REFUSAL_BYTES: usize = 64 * 1024;
/// A server may have to sync all that it was sent before it answers.
const ANSWER_FACTOR: u32 = 4;
pub(super) const MAX_REDIRECTS: usize = 5;
/// How often a call is made. A transfer has more patience.
pub(super) const TRIES: u32 = 5;

/// The proxies of the environment. Their addresses may have passwords in them.
#[derive(Clone, Debug, Default)]
pub struct ProxyRules {
    pub http: Option<Secret>,
    pub https: Option<Secret>,
    /// Hosts and networks that are asked directly, separated by commas.
    pub exempt: String,
}

impl ProxyRules {
    fn read(&self) -> Result<Vec<Proxy>, ClientError> {
        let http = self.http.as_ref().map(|http| Proxy::http(http.reveal()));
        let https = self
            .https
            .as_ref()
            .map(|https| Proxy::https(https.reveal()));
        let exempt = || NoProxy::from_string(&self.exempt);
        http.into_iter()
            .chain(https)
            .map(|proxy| Ok(proxy.map_err(|_| ClientError::Proxy)?.no_proxy(exempt())))
            .collect()
    }
}

/// How the client reaches servers.
#[derive(Clone, Debug)]
pub struct HttpParts {
    /// Authorities that certificates may be of, beside those of the system.
    pub authorities: Vec<Certificate>,
    pub proxies: ProxyRules,
    /// How long a transfer may make no progress.
    pub idle_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct Http {
    pub(super) client: Client,
    pub(super) idle_timeout: Duration,
}

impl Http {
    /// One for `url`, and for where that redirects to.
    pub fn new(url: &str, parts: &HttpParts) -> Result<Self, ClientError> {
        let proxies = parts.proxies.read()?;
        let set_up = |builder: ClientBuilder| {
            let proxies = proxies.iter().cloned();
            proxies.fold(builder.no_proxy(), ClientBuilder::proxy)
        };
        let built = http_client::build(url, &parts.authorities, set_up);
        Ok(Self {
            client: built.map_err(ClientError::SetUp)?,
            idle_timeout: parts.idle_timeout,
        })
    }

    /// Sends a request without a body, or with a short one, and waits for the head of the answer.
    pub(super) async fn send(&self, request: Request) -> Result<Response, ClientError> {
        let host = host_of(request.url());
        let sent = timeout(self.idle_timeout, self.client.execute(request)).await;
        match sent {
            Ok(sent) => sent.map_err(|error| failed(host, error)),
            Err(_) => Err(ClientError::Idle {
                host,
                limit: self.idle_timeout,
            }),
        }
    }

    /// Sends a request whose body `progress` counts, while that makes progress.
    pub(super) async fn send_body(
        &self,
        request: Request,
        progress: &Progress,
        end: u64,
    ) -> Result<Response, ClientError> {
        let host = host_of(request.url());
        let sending = self.client.execute(request);
        tokio::pin!(sending);
        let mut seen = progress.done();
        loop {
            let is_sent = seen >= end;
            let limit = self.idle_timeout * if is_sent { ANSWER_FACTOR } else { 1 };
            match timeout(limit, &mut sending).await {
                Ok(sent) => return sent.map_err(|error| failed(host, error)),
                Err(_) if progress.done() > seen => seen = progress.done(),
                Err(_) => return Err(ClientError::Idle { host, limit }),
            }
        }
    }

    /// The bytes of an answer, for as long as more of them come.
    pub(super) async fn read(&self, mut response: Response) -> Result<Bytes, ClientError> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = self.next_chunk(&mut response).await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    /// The next piece of an answer; nothing at its end.
    pub(super) async fn next_chunk(
        &self,
        response: &mut Response,
    ) -> Result<Option<Bytes>, ClientError> {
        let host = host_of(response.url());
        let limit = self.idle_timeout;
        match timeout(limit, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| broken(host, error)),
            Err(_) => Err(ClientError::Idle { host, limit }),
        }
    }

    /// What an answer that refuses has for us; nothing if that is too much.
    async fn read_short(&self, mut response: Response) -> Bytes {
        let mut bytes = BytesMut::new();
        while let Ok(Some(chunk)) = self.next_chunk(&mut response).await {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > REFUSAL_BYTES {
                return Bytes::new();
            }
        }
        bytes.freeze()
    }

    /// What an answer that is no success says.
    pub(super) async fn refusal(&self, response: Response) -> ClientError {
        let host = host_of(response.url());
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let body = self.read_short(response).await;
        let problem: ProblemBody = serde_json::from_slice(&body).unwrap_or_default();
        let said = sentence(&problem);
        // The answer to a HEAD has no sentence.
        let reason = match status.as_u16() {
            410 => "the link has expired",
            _ => status.canonical_reason().unwrap_or("no reason"),
        };
        let said = said.unwrap_or_else(|| reason.to_owned());
        ClientError::refused(host, status.as_u16(), &said, problem.code, retry_after)
    }
}

/// The pauses between tries.
pub(super) struct Pauses(Backoff);

impl Pauses {
    pub(super) const fn new() -> Self {
        Self(Backoff::between(FIRST_PAUSE, LONGEST_PAUSE))
    }

    /// There was progress since.
    pub(super) fn reset(&mut self) {
        self.0.reset();
    }

    /// How long to wait after a failure.
    pub(super) fn after(&mut self, error: &ClientError) -> Duration {
        let asked = error
            .retry_after()
            .map(|asked| asked.min(LONGEST_RETRY_AFTER));
        asked.unwrap_or_default().max(self.0.next())
    }

    pub(super) async fn wait_after(&mut self, error: &ClientError) {
        sleep(self.after(error)).await;
    }
}

pub(super) fn parse_link(link: &Secret) -> Result<Url, ClientError> {
    let url: Url = link.reveal().parse().map_err(|_| ClientError::NoLink)?;
    let is_http = matches!(url.scheme(), "http" | "https");
    if is_http && url.host_str().is_some() {
        Ok(url)
    } else {
        Err(ClientError::NoLink)
    }
}

/// Host and port, for messages.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("the server");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Where an answer redirects to.
pub(super) fn redirect(response: &Response) -> Option<Result<Url, ClientError>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    Some(place(response).ok_or_else(|| ClientError::Redirect {
        host: host_of(response.url()),
        limit: MAX_REDIRECTS,
    }))
}

/// The place that an answer names. Never from https to http, and never to where others could read along if they could not
/// before.
pub(super) fn place(response: &Response) -> Option<Url> {
    let from = response.url();
    let to = from.join(response.headers().get(LOCATION)?.to_str().ok()?);
    let is_no_less_private =
        |to: &Url| to.scheme() == from.scheme() && (is_exposed(from) || !is_exposed(to));
    to.ok()
        .filter(|to| to.scheme() == "https" || is_no_less_private(to))
}

fn failed(host: String, error: reqwest::Error) -> ClientError {
    let source = error.without_url();
    if source.is_connect() {
        ClientError::Unreachable { host, source }
    } else {
        ClientError::Broken { host, source }
    }
}

pub(super) fn broken(host: String, error: reqwest::Error) -> ClientError {
    let source = error.without_url();
    ClientError::Broken { host, source }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A problem as one sentence.
fn sentence(problem: &ProblemBody) -> Option<String> {
    if problem.errors.is_empty() {
        return problem.error.clone();
    }
    let mut said = String::new();
    for (attribute, problems) in &problem.errors {
        for problem in problems {
            let comma = if said.is_empty() { "" } else { ", " };
            write!(said, "{comma}{attribute} {problem}").expect("a String takes all");
        }
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::stream;
    use reqwest::{Body, ResponseBuilderExt as _};

    use super::*;

    const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

    /// An answer whose pieces come one after the other, each after a pause.
    fn slow_answer(pieces: usize, pause: Duration) -> Response {
        let body = stream::unfold(pieces, move |left| async move {
            let left = left.checked_sub(1)?;
            sleep(pause).await;
            Some((io::Result::Ok("x"), left))
        });
        let response = http::Response::builder().url("https://x/".parse().unwrap());
        Response::from(response.body(Body::wrap_stream(body)).unwrap())
    }

    /// A long log over a slow line.
    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_long_as_long_as_it_goes_on() {
        let parts = HttpParts {
            authorities: Vec::new(),
            proxies: ProxyRules::default(),
            idle_timeout: IDLE_TIMEOUT,
        };
        let http = Http::new("http://localhost", &parts).unwrap();
        let read = http.read(slow_answer(9, Duration::from_secs(29)));
        assert_eq!(read.await.unwrap(), "xxxxxxxxx");
        let read = http.read(slow_answer(1, Duration::from_secs(31)));
        assert!(matches!(read.await, Err(ClientError::Idle { .. })));
    }

    #[test]
    fn a_place_is_never_less_private_than_the_answer_that_names_it() {
        for (from, to, place_of_it) in [
            ("https://x/a", "/b", Some("https://x/b")),
            ("https://x/a", "https://y/b", Some("https://y/b")),
            ("https://x/a", "http://x/b", None),
            ("https://x/a", "HTTP://x/b", None),
            ("http://x/a", "http://y/b", Some("http://y/b")),
            ("http://x/a", "https://x/b", Some("https://x/b")),
            ("http://x/a", "http://[::1]/b", Some("http://[::1]/b")),
            (
                "http://localhost/a",
                "http://127.0.0.1/b",
                Some("http://127.0.0.1/b"),
            ),
            ("http://localhost/a", "http://y/b", None),
            ("http://127.0.0.1/a", "//localhost.y/b", None),
            ("http://x/a", "ftp://x/b", None),
        ] {
            let response = http::Response::builder().url(from.parse().unwrap());
            let response = response.header(LOCATION, to).body(Body::from(""));
            let found = place(&Response::from(response.unwrap()));
            assert_eq!(found.as_ref().map(Url::as_str), place_of_it, "{from} {to}");
        }
    }
}
