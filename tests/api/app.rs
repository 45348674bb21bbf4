//! A service in process, with a clock that a test moves, and the actors that call it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;
use waystation::api::{App, router};
use waystation::clock::{Clock, FakeClock, Timestamp};
use waystation::keys::KeyRing;
use waystation::limits::{CallLimiter, PerAddressLimit};
use waystation::pace::Pace;
use waystation::proxies::TrustedProxies;
use waystation::service::Service;
use waystation::service::api_tokens::{ApiToken, ApiTokens, TokenId, parse_api_token};
use waystation::service::apps::Apps;
use waystation::service::deployments::{DeploymentLimits, Deployments};
use waystation::service::first_start::make_first_token;
use waystation::service::sources::{Limits, TransferMode};
use waystation::service::users::{FIRST_USER, UserId, Users};
use waystation::store::folder::{Faults, Sync};
use waystation::store::{FolderStore, Store};
use waystation_testing::description::{Exchange, described};
use waystation_testing::store_folder::files_in_parts;

pub(crate) const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);
pub(crate) const LIFETIME: Duration = Duration::from_mins(10);
pub(crate) const UPLOAD_LIMIT: u64 = 100_000;
pub(crate) const API_BODY_LIMIT: u64 = 64 * 1024;

/// The service, its clock, its store.
pub(crate) struct TestApp {
    router: Router,
    pub(crate) clock: FakeClock,
    pub(crate) store: Store,
    pub(crate) users: Users,
    pub(crate) api_tokens: ApiTokens,
    pub(crate) api_token: String,
    pub(crate) deployments: Arc<Deployments>,
    folder: TempDir,
}

pub(crate) const UPLOADS_PER_SOURCE: u32 = 3;

/// What can be set otherwise than usual.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) transfers: usize,
    pub(crate) keep_free_bytes: u64,
    pub(crate) open_attempts: usize,
    pub(crate) open_attempt_bytes: u64,
    pub(crate) calls_per_minute: u32,
    pub(crate) failures_per_minute: u32,
    pub(crate) deployments: DeploymentLimits,
    pub(crate) has_page: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            transfers: 16,
            keep_free_bytes: 0,
            open_attempts: 100,
            open_attempt_bytes: u64::MAX,
            calls_per_minute: 0,
            failures_per_minute: 0,
            deployments: DeploymentLimits::default(),
            has_page: true,
        }
    }
}

/// The two links of a source.
#[derive(Clone)]
pub(crate) struct Links {
    pub(crate) upload: String,
    pub(crate) download: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name}"))
            .to_str()
            .unwrap()
    }

    /// The text of an error, whose body has these keys and no others.
    pub(crate) fn error(&self, status: u16, keys: &[&str]) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        let json = self.json();
        let mut found: Vec<_> = json.as_object().unwrap().keys().collect();
        let mut keys = keys.to_vec();
        found.sort();
        keys.sort_unstable();
        assert_eq!(found, keys);
        json["error"].as_str().unwrap_or_default().to_owned()
    }

    /// What is wrong with which attribute; the body says nothing else.
    pub(crate) fn attribute_errors(&self) -> Value {
        self.error(422, &["errors"]);
        self.json()["errors"].clone()
    }

    /// The text of an error that has a code.
    pub(crate) fn coded(&self, status: u16, code: &str) -> String {
        let text = self.error(status, &["code", "error"]);
        assert_eq!(self.json()["code"], code);
        text
    }
}

/// What links and bearers are signed with.
pub(crate) fn keys() -> KeyRing {
    KeyRing::of(&[[7; 32]])
}

impl TestApp {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        Self::failing(settings, Faults::default()).await
    }

    /// One whose store fails when a test says so.
    pub(crate) async fn failing(settings: Settings, faults: Faults) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let keep_free_bytes = settings.keep_free_bytes;
        let disk = FolderStore::open_failing(root, Sync::Off, keep_free_bytes, faults).unwrap();
        let store = Store::Folder(disk);
        let fake = FakeClock::at(NOW);
        let clock = Clock::Fake(fake.clone());
        let users = Users::new(store.clone());
        let api_tokens = ApiTokens::new(store.clone());
        let first = make_first_token(&users, &api_tokens, NOW).await;
        let (_, api_token) = first.unwrap().unwrap();
        let limits = Limits {
            lifetime: LIFETIME,
            upload_bytes: UPLOAD_LIMIT,
            transfers: settings.transfers,
            uploads_per_source: UPLOADS_PER_SOURCE,
            open_attempts: settings.open_attempts,
            open_attempt_bytes: settings.open_attempt_bytes,
            transfer_mode: TransferMode::Proxy,
            upload_pace: Pace {
                idle_timeout: Duration::from_mins(1),
                min_bytes_per_second: 1024,
            },
        };
        let app = App {
            service: Service::build(&keys(), limits, settings.deployments, &store, clock),
            limiter: CallLimiter::new(settings.calls_per_minute, settings.failures_per_minute),
            metrics: Arc::default(),
            transfers: PerAddressLimit::new(u32::MAX),
            proxies: TrustedProxies::default(),
            public_url: None,
            local_url: "http://127.0.0.1:8080".parse().unwrap(),
            api_body_limit_bytes: API_BODY_LIMIT,
            api_body_timeout: Duration::from_secs(30),
            has_page: settings.has_page,
        };
        Self {
            deployments: Arc::clone(&app.service.deployments),
            router: router(Arc::new(app)),
            clock: fake,
            store,
            users,
            api_tokens,
            api_token: api_token.reveal().to_owned(),
            folder,
        }
    }

    /// The deployments of another server on the same store.
    pub(crate) fn another_node(&self) -> Arc<Deployments> {
        self.node_with(&self.clock)
    }

    /// The same, whose clock is that one.
    pub(crate) fn node_with(&self, clock: &FakeClock) -> Arc<Deployments> {
        self.node_of(clock, DeploymentLimits::default())
    }

    /// The same, with other limits.
    pub(crate) fn node_of(&self, clock: &FakeClock, limits: DeploymentLimits) -> Arc<Deployments> {
        let clock = Clock::Fake(clock.clone());
        Arc::new(Deployments::new(&self.store, &keys(), clock, limits))
    }

    /// The API token that the first start made.
    pub(crate) async fn first_token(&self) -> ApiToken {
        let (id, _) = parse_api_token(&self.api_token).unwrap();
        let found = self.api_tokens.find(UserId::of(FIRST_USER), id).await;
        found.unwrap().unwrap()
    }

    /// Nobody else waits for that.
    pub(crate) async fn until_use_is_noted(&self, id: TokenId) {
        let admin = UserId::of(FIRST_USER);
        let token = async || self.api_tokens.find(admin, id).await.unwrap().unwrap();
        while token().await.last_used_at.is_none() {
            tokio::task::yield_now().await;
        }
    }

    /// Its body is left to the caller. All else is held to the description.
    pub(crate) async fn respond(&self, request: Request<Body>) -> Response {
        let asked = Asked::of(&request);
        let response = self.router.clone().oneshot(request).await.unwrap();
        asked.check(response.status(), response.headers(), None);
        response
    }

    /// All of the answer is held to the description.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let asked = Asked::of(&request);
        let (parts, body) = self.respond(request).await.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        asked.check(parts.status, &parts.headers, Some(&body));
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            request = request.header("host", "127.0.0.1:8080");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Calls as the holder of `bearer`.
    pub(crate) async fn call_as(
        &self,
        bearer: &str,
        method: Method,
        uri: &str,
        body: impl Into<Body>,
    ) -> Answer {
        let bearer = format!("Bearer {bearer}");
        let headers = [("authorization", bearer.as_str()), ("host", "x.example")];
        self.call(method, uri, &headers, body).await
    }

    /// Calls as the holder of the API token that the first start made.
    pub(crate) async fn call_own(&self, method: Method, uri: &str, body: &str) -> Answer {
        let token = &self.api_token;
        self.call_as(token, method, uri, body.to_owned()).await
    }

    /// They make an application.
    pub(crate) async fn create_app(&self, name: &str) -> Value {
        let body = json!({ "app": { "name": name } }).to_string();
        let made = self.call_own(Method::POST, "/v1/apps", &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["app"].clone()
    }

    pub(crate) fn apps(&self) -> Apps {
        Apps::new(self.store.clone())
    }

    /// Someone with an API token makes a source.
    pub(crate) async fn create(&self) -> Links {
        let token = &self.api_token;
        let answer = self
            .call_as(token, Method::POST, "/v1/sources", Body::empty())
            .await;
        assert_eq!(answer.status, StatusCode::CREATED);
        let source = &answer.json()["source"];
        let path = |key: &str| {
            let url = source[key].as_str().unwrap();
            url.strip_prefix("http://x.example").unwrap().to_owned()
        };
        Links {
            upload: path("upload_url"),
            download: path("download_url"),
        }
    }

    pub(crate) async fn put(&self, links: &Links, body: impl Into<Body>) -> Answer {
        self.call(Method::PUT, &links.upload, &[], body).await
    }

    pub(crate) async fn put_with(
        &self,
        links: &Links,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        self.call(Method::PUT, &links.upload, headers, body).await
    }

    pub(crate) async fn get(&self, links: &Links, headers: &[(&str, &str)]) -> Answer {
        self.call(Method::GET, &links.download, headers, Body::empty())
            .await
    }

    pub(crate) async fn head(&self, links: &Links) -> Answer {
        self.call(Method::HEAD, &links.download, &[], Body::empty())
            .await
    }

    /// Cuts the only stored archive short.
    pub(crate) fn corrupt_the_archive(&self) {
        let mut folder = self.folder.path().join("store/sources");
        while folder.is_dir() {
            let mut entries = std::fs::read_dir(&folder).unwrap();
            folder = entries.next().unwrap().unwrap().path();
        }
        std::fs::write(folder, "short").unwrap();
    }

    /// Archives are not there any more, although nobody has deleted them.
    pub(crate) fn lose_the_archives(&self) {
        for path in files_in(&self.folder.path().join("store/sources")) {
            std::fs::remove_file(path).unwrap();
        }
    }

    /// No file of the store has `text` in it.
    pub(crate) fn assert_nothing_contains(&self, text: &str) {
        for path in self.files() {
            let content = std::fs::read(&path).unwrap();
            let content = String::from_utf8_lossy(&content);
            assert!(!content.contains(text), "{}", path.display());
        }
    }

    /// No event can be written from now on.
    pub(crate) fn put_a_file_in_place_of_the_events(&self) {
        let events = self.folder.path().join("store/events");
        std::fs::remove_dir(&events).unwrap();
        std::fs::write(events, "").unwrap();
    }

    /// What is in the stage.
    pub(crate) fn staged_bytes(&self) -> u64 {
        let entries = std::fs::read_dir(self.folder.path().join("store/stage")).unwrap();
        entries
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum()
    }

    /// How many bytes of uploads in parts there are.
    pub(crate) fn bytes_in_attempts(&self) -> u64 {
        let files = files_in_parts(&self.folder.path().join("store"));
        files
            .into_iter()
            .map(|path| std::fs::metadata(path).map_or(0, |file| file.len()))
            .sum()
    }

    /// How many files there are in a folder of the store.
    pub(crate) fn files_in(&self, folder: &str) -> usize {
        files_in(&self.folder.path().join("store").join(folder)).len()
    }

    /// All files of the store.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        files_in(&self.folder.path().join("store"))
    }

    /// All that is stored, as far as it is text.
    pub(crate) fn stored_text(&self) -> String {
        let files = self.files().into_iter();
        let texts = files.map(|path| std::fs::read(path).unwrap());
        texts
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .collect()
    }

    /// Nothing of any upload is in the store, neither published nor staged.
    pub(crate) fn assert_nothing_stored(&self) {
        for folder in ["store/sources", "store/stage", "store/attempts"] {
            let files = files_in(&self.folder.path().join(folder));
            assert!(files.is_empty(), "{files:?}");
        }
    }
}

/// What a request asks for.
struct Asked {
    method: Method,
    target: String,
}

impl Asked {
    fn of(request: &Request<Body>) -> Self {
        let target = request.uri().path_and_query();
        Self {
            method: request.method().clone(),
            target: target.map_or("/", PathAndQuery::as_str).to_owned(),
        }
    }

    fn check(&self, status: StatusCode, headers: &HeaderMap, body: Option<&[u8]>) {
        let headers = headers.iter();
        let texts = headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        described().check(&Exchange {
            method: self.method.as_str(),
            target: &self.target,
            status: status.as_u16(),
            headers: texts.collect(),
            body,
        });
    }
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = paths.map(|path| {
        if path.is_dir() {
            files_in(&path)
        } else {
            vec![path]
        }
    });
    files.flatten().collect()
}

/// A body of unknown length, in pieces.
pub(crate) fn chunked(pieces: &[&[u8]]) -> Body {
    let pieces: Vec<_> = pieces
        .iter()
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    Body::from_stream(stream::iter(pieces))
}

/// A body that breaks off after `piece`.
pub(crate) fn broken(piece: &'static [u8]) -> Body {
    let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Body::from_stream(stream::iter([Ok(Bytes::from_static(piece)), Err(error)]))
}

/// A body that sends `piece` and then nothing, forever.
pub(crate) fn stuck(piece: &'static [u8]) -> Body {
    use futures_util::StreamExt;
    let sent = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(piece))]);
    Body::from_stream(sent.chain(stream::pending()))
}
