//! Calls of a server's API, as the holder of an API token: it is exchanged for a bearer, as the platform wants it.

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RANGE};
use reqwest::{Method, Request, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use super::error::ClientError;
use super::http::{Http, Pauses, TRIES, host_of};
use crate::public_url::PublicUrl;
use crate::secret::Secret;
use crate::wire::sources::{SourceAnswer, SourceLinks};
use crate::wire::tokens::BearerAnswer;
use crate::wire::users::{User, UserAnswer};

const JSON: &str = "application/json";

/// May a call be made again whose answer was lost?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Always,
    /// It could do its work twice.
    OnlyUnsent,
}

/// A call as it is made, maybe more than once.
struct Call<'a> {
    method: Method,
    path: &'a str,
    body: Option<Value>,
    range: Option<String>,
}

pub struct Server {
    pub(super) http: Http,
    url: PublicUrl,
    /// Where the API token is exchanged.
    auth_url: PublicUrl,
    token: Secret,
    bearer: Mutex<Option<Secret>>,
}

impl Server {
    pub fn new(http: Http, url: PublicUrl, auth_url: PublicUrl, token: Secret) -> Self {
        Self {
            http,
            url,
            auth_url,
            token,
            bearer: Mutex::default(),
        }
    }

    pub const fn url(&self) -> &PublicUrl {
        &self.url
    }

    pub const fn http(&self) -> &Http {
        &self.http
    }

    /// Whose the API token is.
    pub async fn show_self(&self) -> Result<User, ClientError> {
        let answer: UserAnswer = self.get("/v1/users/self").await?;
        Ok(answer.user)
    }

    /// A pair of links. Nothing is kept at the server for them, so it may be asked again.
    pub async fn create_source(&self) -> Result<SourceLinks, ClientError> {
        let body = Value::Object(serde_json::Map::new());
        let call = self.call(Method::POST, "/v1/sources", Some(body), Retry::Always);
        let answer: SourceAnswer = self.read_json(call.await?).await?;
        Ok(answer.source)
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let call = self.call(Method::GET, path, None, Retry::Always);
        self.read_json(call.await?).await
    }

    /// What there is from the byte `from` on; nothing if there is no more.
    pub async fn get_bytes_from(&self, path: &str, from: usize) -> Result<Bytes, ClientError> {
        let range = (from > 0).then(|| format!("bytes={from}-"));
        let call = Call {
            method: Method::GET,
            path,
            body: None,
            range,
        };
        match self.make(&call, Retry::Always).await {
            Ok(response) => {
                let is_rest = response.status().as_u16() == 206;
                let mut bytes = self.http.read(response).await?;
                // All of it comes from a server that knows no ranges.
                let known_bytes = if is_rest { 0 } else { from };
                Ok(bytes.split_off(known_bytes.min(bytes.len())))
            }
            Err(error) if error.status() == Some(416) => Ok(Bytes::new()),
            Err(error) => Err(error),
        }
    }

    /// Makes a call; the answer is a success.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        retry: Retry,
    ) -> Result<Response, ClientError> {
        let call = Call {
            method,
            path,
            body,
            range: None,
        };
        self.make(&call, retry).await
    }

    async fn make(&self, call: &Call<'_>, retry: Retry) -> Result<Response, ClientError> {
        let mut pauses = Pauses::new();
        let mut tries = 0;
        loop {
            let was_exchanged_before = self.bearer.lock().await.is_some();
            let error = match self.make_once(call).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            // A bearer lives for an hour only. One that is new, or could not be had, is not refused for its age.
            if error.status() == Some(401) && was_exchanged_before {
                *self.bearer.lock().await = None;
                continue;
            }
            tries += 1;
            let may_again = match retry {
                Retry::Always => error.is_passing(),
                Retry::OnlyUnsent => error.is_unsent(),
            };
            if tries == TRIES || !may_again {
                return Err(error);
            }
            pauses.wait_after(&error).await;
        }
    }

    async fn make_once(&self, call: &Call<'_>) -> Result<Response, ClientError> {
        let bearer = self.bearer().await?;
        let request = self
            .http
            .client
            .request(call.method.clone(), self.at(call.path));
        let mut request = request.bearer_auth(bearer.reveal());
        if let Some(range) = &call.range {
            request = request.header(RANGE, range);
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, JSON).body(body.to_string());
        }
        self.succeed(request.build().map_err(ClientError::SetUp)?)
            .await
    }

    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The bearer, exchanged now or before.
    pub(super) async fn bearer(&self) -> Result<Secret, ClientError> {
        let mut kept = self.bearer.lock().await;
        if let Some(bearer) = &*kept {
            return Ok(bearer.clone());
        }
        let exchange = format!("{}/v1/tokens/exchange", self.auth_url);
        let request = self.http.client.post(exchange);
        let request = request.basic_auth("", Some(self.token.reveal()));
        let request = request.header(CONTENT_TYPE, JSON).body("{}");
        let response = self.succeed(request.build().map_err(ClientError::SetUp)?);
        let answer: BearerAnswer = self.read_json(response.await?).await?;
        let bearer = Secret::new(answer.token);
        *kept = Some(bearer.clone());
        Ok(bearer)
    }

    async fn succeed(&self, request: Request) -> Result<Response, ClientError> {
        let response = self.http.send(request).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.http.refusal(response).await)
        }
    }

    pub async fn read_json<T: DeserializeOwned>(
        &self,
        response: Response,
    ) -> Result<T, ClientError> {
        let host = host_of(response.url());
        let bytes = self.http.read(response).await?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Answer { host, source })
    }
}
