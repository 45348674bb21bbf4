//! The routes for operators, on an address of their own: alive, ready, metrics.
//!
//! They need no credentials, so they must never stand beside the public ones.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderValue, StatusCode};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::error_chain::chain;
use crate::ops::log::lost_lines;
use crate::ops::metrics::{Metrics, Snapshot};
use crate::ops::ongoing_failure::{FailureChange, OngoingFailure};
use crate::store::{ArchiveCounts, Store, StoreError};

/// How long a count of the stored sources is good: counting costs what is stored.
const COUNT_LIFETIME: Duration = Duration::from_secs(15);
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

struct Admin {
    metrics: Arc<Metrics>,
    store: Store,
    clock: Clock,
    under_way: Box<dyn Fn() -> UnderWay + Send + Sync>,
    counted: Mutex<Option<(Instant, Option<ArchiveCounts>)>>,
    readiness: OngoingFailure,
    missing_metrics: OngoingFailure,
}

/// What is under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnderWay {
    /// Uploads and downloads.
    pub transfers: usize,
    /// Uploads in parts that can be resumed.
    pub open_uploads: usize,
    /// How long these are going to be together, as far as is known.
    pub open_upload_bytes: u64,
}

/// The routes. `under_way` says what is.
pub fn admin_router(
    metrics: Arc<Metrics>,
    store: Store,
    clock: Clock,
    under_way: impl Fn() -> UnderWay + Send + Sync + 'static,
) -> Router {
    let admin = Admin {
        metrics,
        store,
        clock,
        under_way: Box::new(under_way),
        counted: Mutex::default(),
        readiness: OngoingFailure::default(),
        missing_metrics: OngoingFailure::default(),
    };
    Router::new()
        .route("/healthz", get(show_health))
        .route("/readyz", get(show_readiness))
        .route("/metrics", get(show_metrics))
        .with_state(Arc::new(admin))
}

/// The same, for those only who ask for this machine by an address or as `localhost`: a page in a browser here
/// can make a name of its own mean loopback (DNS rebinding), and would read the answers.
pub fn for_this_machine(router: Router) -> Router {
    router.layer(from_fn(async |request: Request, next: Next| {
        let host = request.headers().get(HOST);
        if host.is_none_or(is_this_machine) {
            next.run(request).await
        } else {
            let text = "ask by an address, or as localhost";
            status(StatusCode::MISDIRECTED_REQUEST, text)
        }
    }))
}

fn is_this_machine(host: &HeaderValue) -> bool {
    let Ok(host) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let name = host.host();
    let bare = name.trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// `GET /healthz`: the process answers.
async fn show_health() -> Response {
    status(StatusCode::OK, "alive")
}

/// `GET /readyz`: the store answers too, and can be swept.
async fn show_readiness(State(admin): State<Arc<Admin>>) -> Response {
    let checked = admin.store.check_ready().await;
    let cause = checked.as_ref().err().map(|error| chain(error));
    match admin.readiness.note(cause) {
        FailureChange::Unchanged => {}
        FailureChange::Recovered => tracing::info!("ready again"),
        FailureChange::Failing(error) => tracing::error!(error, "not ready"),
    }
    match checked {
        Ok(()) => status(StatusCode::OK, "ready"),
        // Only the operator can fix it, so the answer says what is to be done where.
        Err(
            error @ (StoreError::ForeignKey { .. }
            | StoreError::Gone { .. }
            | StoreError::ReadOnly { .. }),
        ) => status(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        Err(_) => status(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer"),
    }
}

/// `GET /metrics`: the metrics, for Prometheus. Without the store, those that do not need it.
async fn show_metrics(State(admin): State<Arc<Admin>>) -> Response {
    let text = admin.metrics.text(&admin.snapshot().await);
    ([(CONTENT_TYPE, OPENMETRICS)], text).into_response()
}

fn status(code: StatusCode, text: &str) -> Response {
    let body = json!({ "status": text }).to_string();
    (code, [(CONTENT_TYPE, JSON)], body).into_response()
}

impl Admin {
    async fn snapshot(&self) -> Snapshot {
        let under_way = (self.under_way)();
        let mut snapshot = Snapshot {
            transfers: under_way.transfers,
            open_uploads: under_way.open_uploads,
            open_upload_bytes: under_way.open_upload_bytes,
            lost_log_lines: lost_lines(),
            ..Snapshot::default()
        };
        let asked = async {
            snapshot.room_bytes = self.store.room_bytes().await?;
            snapshot.counted = self.count().await?;
            Ok::<_, StoreError>(())
        };
        let cause = asked.await.err().map(|error| chain(&error));
        if let FailureChange::Failing(error) = self.missing_metrics.note(cause) {
            tracing::error!(error, "the store's metrics are missing");
        }
        snapshot
    }

    /// Counts anew only if the last count is too old; requests that come meanwhile wait for the same one.
    async fn count(&self) -> Result<Option<ArchiveCounts>, StoreError> {
        let mut last = self.counted.lock().await;
        match *last {
            Some((at, counted)) if at.elapsed() < COUNT_LIFETIME => Ok(counted),
            _ => {
                let counted = self.store.count(self.clock.now()).await?;
                *last = Some((Instant::now(), counted));
                Ok(counted)
            }
        }
    }
}
