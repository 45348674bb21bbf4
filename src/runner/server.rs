//! The four calls of a runner to its server. What a link says is never in an error: it is a secret.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::deployment::Status;
use crate::http_client;
use crate::public_url::PublicUrl;
use crate::secret::Secret;
use crate::wire::runner::{Claim, ClaimAnswer, LogAnswer, StatusAnswer, StatusReport};

/// The server answers within half a minute, with work or without.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(45);
const REPORT_TIMEOUT: Duration = Duration::from_secs(30);
const JSON: &str = "application/json";

/// Why a call failed. Each may be made again.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    #[error("cannot reach the server")]
    Unreachable(#[source] reqwest::Error),
    #[error("the server answered {status}: {said}")]
    Refused { status: u16, said: String },
    #[error("the server did not answer within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("the server's answer cannot be read")]
    Answer(#[source] serde_json::Error),
}

/// A deployment to run, and how long it may take.
pub(super) struct Work {
    pub(super) claim: Claim,
    pub(super) time_limit: Duration,
}

/// What became of a piece of the log.
pub(super) enum LogReply {
    Taken(LogAnswer),
    /// It has this many bytes: continue from there.
    Elsewhere(u64),
    /// It takes no more.
    Full,
    /// The attempt is over.
    Over,
}

pub(super) enum StatusReply {
    Taken(StatusAnswer),
    /// It is further already.
    Backwards,
    Over,
}

#[derive(Clone)]
pub(super) struct Server {
    http: Client,
    url: String,
    token: Secret,
    authorities: Vec<Certificate>,
}

/// What the server says where it refuses.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: String,
    log_bytes: Option<u64>,
}

impl Server {
    pub(super) fn at(
        url: &PublicUrl,
        token: Secret,
        authorities: &[Certificate],
    ) -> Result<Self, reqwest::Error> {
        let url = url.to_string();
        Ok(Self {
            http: http_client::build(&url, authorities, ClientBuilder::no_proxy)?,
            url,
            token,
            authorities: authorities.to_vec(),
        })
    }

    /// Waits for work; none if there is none for half a minute.
    pub(super) async fn claim(&self) -> Result<Option<Work>, ServerError> {
        let bearer = format!("Bearer {}", self.token.reveal());
        let request = self.http.post(format!("{}/v1/runner/claims", self.url));
        let request = request.header(AUTHORIZATION, bearer);
        let request = request.header(CONTENT_TYPE, JSON).body("{}");
        let response = send(request, CLAIM_TIMEOUT).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let status = response.status();
        let ClaimAnswer { mut claim } = answer_in(status, &read(response).await?)?;
        claim.report_url = self.own_link(claim.report_url);
        if claim.deployment.source.host.is_none() {
            claim.source_url = self.own_link(claim.source_url);
        }
        let time_limit = Duration::from_secs(claim.timeout_seconds);
        Ok(Some(Work { claim, time_limit }))
    }

    /// A link of the server, at the address that this runner was given: the server may call itself by a name that is
    /// for its users.
    fn own_link(&self, link: String) -> String {
        match link.find("/v1/runner/") {
            Some(at) => format!("{}{}", self.url, &link[at..]),
            None => link,
        }
    }

    /// Appends to the log of an attempt, where the server has `offset` bytes. Nothing is appended as a sign of life.
    pub(super) async fn append_log(
        &self,
        report_url: &str,
        offset: u64,
        bytes: Bytes,
    ) -> Result<LogReply, ServerError> {
        let url = format!("{report_url}/log?offset={offset}");
        let response = send_any(self.http.put(url).body(bytes), REPORT_TIMEOUT).await?;
        let status = response.status();
        let bytes = read(response).await?;
        let refusal = || serde_json::from_slice::<Refusal>(&bytes).unwrap_or_default();
        match status {
            StatusCode::CONFLICT => match refusal().log_bytes {
                Some(log_bytes) => Ok(LogReply::Elsewhere(log_bytes)),
                None => Err(refused(status, &bytes)),
            },
            StatusCode::PAYLOAD_TOO_LARGE => Ok(LogReply::Full),
            _ if is_over(status) => Ok(LogReply::Over),
            _ => answer_in(status, &bytes).map(LogReply::Taken),
        }
    }

    pub(super) async fn report(
        &self,
        report_url: &str,
        status: Status,
        reason: Option<String>,
    ) -> Result<StatusReply, ServerError> {
        let report = StatusReport { status, reason };
        let report = serde_json::to_vec(&report).map_err(ServerError::Answer)?;
        let request = self.http.put(format!("{report_url}/status"));
        let request = request.header(CONTENT_TYPE, JSON).body(report);
        let response = send_any(request, REPORT_TIMEOUT).await?;
        let status = response.status();
        let bytes = read(response).await?;
        match status {
            StatusCode::CONFLICT => Ok(StatusReply::Backwards),
            _ if is_over(status) => Ok(StatusReply::Over),
            _ => answer_in(status, &bytes).map(StatusReply::Taken),
        }
    }

    /// The archive of an attempt, at the server itself or at its object store.
    pub(super) async fn open_archive(&self, source_url: &str) -> Result<Response, ServerError> {
        let http = if source_url.starts_with(&self.url) {
            self.http.clone()
        } else {
            let built = http_client::build(source_url, &self.authorities, ClientBuilder::no_proxy);
            built.map_err(ServerError::Unreachable)?
        };
        send(http.get(source_url), REPORT_TIMEOUT).await
    }
}

/// An attempt that has ended, or that the server does not know any more.
fn is_over(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::GONE | StatusCode::NOT_FOUND | StatusCode::FORBIDDEN
    )
}

/// Sends a request of which only a success is an answer. It is cut off if the head does not come in time.
async fn send(request: RequestBuilder, limit: Duration) -> Result<Response, ServerError> {
    let response = send_any(request, limit).await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let bytes = read(response).await?;
    Err(refused(status, &bytes))
}

async fn send_any(request: RequestBuilder, limit: Duration) -> Result<Response, ServerError> {
    let sent = tokio::time::timeout(limit, request.send()).await;
    let sent = sent.map_err(|_| ServerError::Silent(limit))?;
    sent.map_err(|error| ServerError::Unreachable(error.without_url()))
}

async fn read(response: Response) -> Result<Bytes, ServerError> {
    let read = tokio::time::timeout(REPORT_TIMEOUT, response.bytes()).await;
    let read = read.map_err(|_| ServerError::Silent(REPORT_TIMEOUT))?;
    read.map_err(|error| ServerError::Unreachable(error.without_url()))
}

fn answer_in<T: DeserializeOwned>(status: StatusCode, bytes: &[u8]) -> Result<T, ServerError> {
    if !status.is_success() {
        return Err(refused(status, bytes));
    }
    serde_json::from_slice(bytes).map_err(ServerError::Answer)
}

fn refused(status: StatusCode, bytes: &[u8]) -> ServerError {
    let refusal: Refusal = serde_json::from_slice(bytes).unwrap_or_default();
    ServerError::Refused {
        status: status.as_u16(),
        said: refusal.error,
    }
}
