//! The routes for operators, on an address of their own: alive, ready, figures.
//!
//! They need no credentials, so they must never stand beside the public ones.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::api::App;
use crate::api::answer::json_response;
use crate::ops::log::chain;
use crate::ops::metrics::Snapshot;
use crate::store::{Counted, Store, StoreError};

/// How long a count of the stored sources is good: counting costs what is stored.
const COUNT_LIFETIME: Duration = Duration::from_secs(15);
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What these handlers share.
struct Admin {
    app: Arc<App>,
    store: Store,
    counted: Mutex<Option<(Instant, Option<Counted>)>>,
}

/// The routes.
pub fn admin_router(app: Arc<App>, store: Store) -> Router {
    let admin = Admin {
        app,
        store,
        counted: Mutex::default(),
    };
    Router::new()
        .route("/healthz", get(show_health))
        .route("/readyz", get(show_readiness))
        .route("/metrics", get(show_metrics))
        .with_state(Arc::new(admin))
}

/// `GET /healthz`: the process answers.
async fn show_health() -> Response {
    status(StatusCode::OK, "alive")
}

/// `GET /readyz`: the store answers too.
async fn show_readiness(State(admin): State<Arc<Admin>>) -> Response {
    match admin.store.room_bytes().await {
        Ok(_) => status(StatusCode::OK, "ready"),
        Err(error) => {
            tracing::error!(error = chain(&error), "not ready");
            status(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer")
        }
    }
}

/// `GET /metrics`: the figures, for Prometheus.
async fn show_metrics(State(admin): State<Arc<Admin>>) -> Response {
    match admin.snapshot().await {
        Ok(snapshot) => {
            let mut response = Response::new(admin.app.metrics.text(snapshot).into());
            response.headers_mut().insert(CONTENT_TYPE, OPENMETRICS);
            response
        }
        Err(error) => {
            tracing::error!(error = chain(&error), "no figures");
            status(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer")
        }
    }
}

fn status(code: StatusCode, text: &str) -> Response {
    json_response(code, HeaderMap::new(), &json!({ "status": text }))
}

impl Admin {
    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let counted = self.count().await?;
        Ok(Snapshot {
            transfers: self.app.sources.transfers(),
            counted,
            room_bytes: self.store.room_bytes().await?,
        })
    }

    /// Counts anew only if the last count is too old; who asks meanwhile waits for the same one.
    async fn count(&self) -> Result<Option<Counted>, StoreError> {
        let mut last = self.counted.lock().await;
        match *last {
            Some((at, counted)) if at.elapsed() < COUNT_LIFETIME => Ok(counted),
            _ => {
                let counted = self.store.count(self.app.clock.now()).await?;
                *last = Some((Instant::now(), counted));
                Ok(counted)
            }
        }
    }
}
