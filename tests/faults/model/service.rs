//! The service under test: the router in process, and what its clients see.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::request::Builder;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use tokio::task::yield_now;
use tower::ServiceExt;
use waystation::api::{App, router};
use waystation::clock::{Clock, FakeClock, Timestamp};
use waystation::keys::KeyRing;
use waystation::limits::{CallLimiter, PerAddressLimit};
use waystation::pace::Pace;
use waystation::proxies::TrustedProxies;
use waystation::service::Service as UseCases;
use waystation::service::deployments::DeploymentLimits;
use waystation::service::sources::{Limits, TransferMode};
use waystation::source::SourceId;
use waystation::store::Store;

use super::content::Content;
use super::deployment_sequences::ledger::{KEPT, QUEUED};
use super::plan::{How, Op, Put};
use super::reference::{LIFETIME, Seen, UPLOAD_LIMIT};

/// A server on a store.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) app: Arc<App>,
    pub(crate) router: Router,
    clock: FakeClock,
    pub(crate) store: Store,
}

/// A source that was handed out.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    pub(crate) id: SourceId,
    upload: String,
    download: String,
}

/// An answer, read as far as it came.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    is_whole: bool,
}

impl Service {
    pub(crate) fn on(store: Store, clock: &FakeClock) -> Self {
        let limits = Limits {
            lifetime: LIFETIME,
            upload_bytes: UPLOAD_LIMIT,
            transfers: 16,
            uploads_per_source: 16,
            open_attempts: 100,
            open_attempt_bytes: u64::MAX,
            transfer_mode: TransferMode::Proxy,
            upload_pace: Pace {
                idle_timeout: Duration::from_mins(10),
                min_bytes_per_second: 0,
            },
        };
        let keys = KeyRing::of(&[[7; 32]]);
        let app = App {
            service: UseCases::build(
                &keys,
                limits,
                DeploymentLimits {
                    queue_per_app: QUEUED,
                    kept: KEPT,
                    ..DeploymentLimits::default()
                },
                &store,
                Clock::Fake(clock.clone()),
            ),
            limiter: CallLimiter::new(0, 0),
            metrics: Arc::default(),
            transfers: PerAddressLimit::new(u32::MAX),
            proxies: TrustedProxies::default(),
            public_url: None,
            local_url: "http://x.example".parse().unwrap(),
            api_body_limit_bytes: 1024,
            api_body_timeout: Duration::from_mins(10),
            has_page: false,
        };
        let app = Arc::new(app);
        Self {
            router: router(Arc::clone(&app)),
            app,
            clock: clock.clone(),
            store,
        }
    }

    /// Does one thing, and says what was seen. A new source comes with its links.
    pub(crate) async fn perform(
        &self,
        op: &Op,
        sources: &[Links],
        api_token: &str,
    ) -> (Seen, Option<Links>) {
        let seen = match op {
            Op::Create => return self.create(api_token).await,
            Op::Put(put) => self.put(put, &sources[put.index].upload).await,
            Op::Get(index) => self.fetch(Method::GET, &sources[*index], None).await,
            Op::Head(index) => self.fetch(Method::HEAD, &sources[*index], None).await,
            Op::Range(index, first) => {
                let first = Some(*first);
                self.fetch(Method::GET, &sources[*index], first).await
            }
            Op::Sweep => self.sweep().await,
            Op::SetClock(now) => {
                self.clock.set(*now);
                Seen::Done
            }
        };
        (seen, None)
    }

    async fn create(&self, api_token: &str) -> (Seen, Option<Links>) {
        let request = request(Method::POST, "/v1/sources")
            .header("authorization", format!("Bearer {api_token}"));
        let answer = self.send(request, Body::empty()).await;
        if answer.status != StatusCode::CREATED {
            return (answer.refusal(), None);
        }
        let json = answer.json();
        let path = |key: &str| {
            let url = json["source"][key].as_str().unwrap();
            url.strip_prefix("http://x.example").unwrap().to_owned()
        };
        let (upload, download) = (path("upload_url"), path("download_url"));
        let id = upload.split(['/', '?']).nth(3).unwrap().parse().unwrap();
        let links = Links {
            id,
            upload,
            download,
        };
        (Seen::Created(id.expires_at()), Some(links))
    }

    async fn put(&self, put: &Put, link: &str) -> Seen {
        let bytes = put.content.bytes();
        let digest = |sha256: &[u8]| format!("sha-256=:{}:", STANDARD.encode(sha256));
        let request = request(Method::PUT, link);
        let answer = match put.how {
            How::Sized => {
                let right = digest(put.content.sha256());
                self.send(request.header("repr-digest", right), bytes.into())
                    .await
            }
            How::WrongDigest => {
                let wrong = digest(&[0; 32]);
                self.send(request.header("repr-digest", wrong), bytes.into())
                    .await
            }
            How::Chunked => self.send(request, in_pieces(&bytes, Ending::Whole)).await,
            How::Broken => self.send(request, in_pieces(&bytes, Ending::Broken)).await,
            How::Dropped(looks) => {
                let sent = self.send(request, in_pieces(&bytes, Ending::Whole));
                match look_at(sent, looks).await {
                    Some(answer) => answer,
                    None => return Seen::Lost,
                }
            }
        };
        if answer.status != StatusCode::OK {
            return answer.refusal();
        }
        let upload = &answer.json()["upload"];
        assert_eq!(upload["size"], put.content.size());
        assert_eq!(upload["sha256"], hex::encode(put.content.sha256()));
        Seen::Archive(put.content)
    }

    async fn fetch(&self, method: Method, links: &Links, first: Option<u64>) -> Seen {
        let mut request = request(method.clone(), &links.download);
        if let Some(first) = first {
            request = request.header("range", format!("bytes={first}-"));
        }
        let answer = self.send(request, Body::empty()).await;
        if !answer.status.is_success() {
            return answer.refusal();
        }
        let is_part = answer.status == StatusCode::PARTIAL_CONTENT;
        assert_eq!(is_part, first.is_some(), "{}", answer.status);
        let etag = answer.headers["etag"].to_str().unwrap();
        let content = Content::of_sha256(etag.trim_matches('"')).expect("nobody sent that");
        let all = content.bytes();
        let sent = all.slice(usize::try_from(first.unwrap_or(0)).unwrap()..);
        assert_eq!(answer.headers["content-length"], sent.len().to_string());
        if !answer.is_whole {
            assert!(sent.starts_with(&answer.body), "other bytes than its own");
            return Seen::Broken;
        }
        let due = if method == Method::HEAD {
            Bytes::new()
        } else {
            sent
        };
        assert!(due == answer.body, "{content:?} is not whole");
        Seen::Archive(content)
    }

    /// As the loop that does so for a server.
    async fn sweep(&self) -> Seen {
        let now = Clock::Fake(self.clock.clone()).now();
        match self.store.sweep(now).await {
            Ok(swept) => Seen::Swept {
                sources: swept.sources,
                failures: swept.failures,
            },
            Err(_) => Seen::SweepFailed,
        }
    }

    async fn send(&self, request: Builder, body: Body) -> Answer {
        let request = request.body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let mut pieces = body.into_data_stream();
        let mut read = Vec::new();
        let is_whole = loop {
            match pieces.next().await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(piece)) => read.extend(piece),
            }
        };
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: read.into(),
            is_whole,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Clock::Fake(self.clock.clone()).now()
    }
}

fn request(method: Method, path: &str) -> Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "x.example")
}

impl Answer {
    fn json(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Any refusal is JSON that says what happened.
    fn refusal(&self) -> Seen {
        if !self.body.is_empty() {
            assert!(self.json()["error"].is_string(), "{}", self.status);
        }
        Seen::Status(self.status.as_u16())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Whole,
    Broken,
}

/// A body without a length, in two pieces; others get a turn between them.
fn in_pieces(bytes: &Bytes, ending: Ending) -> Body {
    let middle = bytes.len() / 2;
    let (first, second) = (bytes.slice(..middle), bytes.slice(middle..));
    let second = match ending {
        Ending::Whole => Ok(second),
        Ending::Broken => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    };
    let pieces = stream::iter([Ok(first), second]);
    Body::from_stream(pieces.then(async |piece| {
        yield_now().await;
        piece
    }))
}

/// What a future gives, if it does so before it has been looked at so often.
async fn look_at<T>(future: impl Future<Output = T>, looks: u32) -> Option<T> {
    let mut future = std::pin::pin!(future);
    for _ in 0..looks {
        if let std::task::Poll::Ready(done) = futures_util::poll!(future.as_mut()) {
            return Some(done);
        }
        yield_now().await;
    }
    None
}
