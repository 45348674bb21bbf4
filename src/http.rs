//! The HTTP side: the index of the API, and what its handlers share.
//!
//! | call | handler | who may |
//! |---|---|---|
//! | `POST /v1/sources` | [`sources::create`] | a bearer |
//! | `PUT /v1/sources/{source}?token=…` | [`sources::upload`] | the holder of an upload link |
//! | `GET`, `HEAD /v1/sources/{source}?token=…` | [`sources::download`] | the holder of a download link |
//! | `POST /v1/tokens/exchange` | [`tokens::exchange`] | the holder of an API token |
//! | `GET`, `POST /v1/tokens` | [`tokens::list`], [`tokens::create`] | a bearer |
//! | `PATCH /v1/tokens/{id}/renew` | [`tokens::renew`] | a bearer whose API token is not revoked, their own |
//! | `DELETE /v1/tokens/{id}` | [`tokens::delete`] | a bearer, their own |
//! | `GET /v1/users/self` | [`platform::show_user`] | a bearer |
//! | `GET /v1/regions` | [`platform::list_regions`] | a bearer |
//!
//! A handler that needs a right takes it as an argument whose extractor checks it: see [`extract`].
//! Statuses and error bodies are chosen in [`error`] and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, patch, post, put};

use crate::accounts::Accounts;
use crate::bearer::BearerKeys;
use crate::clock::Clock;
use crate::limiter::CallLimiter;
use crate::metrics::Metrics;
use crate::public_url::PublicUrl;
use crate::sources::Sources;

pub mod admin;
mod admission;
mod answer;
mod body;
mod client_io;
mod conditions;
pub mod connection;
mod digest_headers;
mod envelope;
mod error;
mod extract;
mod framing;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod malformed;
mod owed;
mod pagination;
mod peer;
mod platform;
mod send_file;
mod sources;
mod tokens;
pub mod workers;

pub use admission::Admission;
pub use peer::{ProxyHeaders, TrustedProxies};

use error::ApiError;

/// What the handlers share.
pub struct App {
    /// The use cases.
    pub sources: Sources,
    /// Who may call the API.
    pub accounts: Accounts,
    /// The keys of bearers.
    pub bearers: BearerKeys,
    /// How often one may call.
    pub limiter: CallLimiter,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Clock,
    /// Whose word on other addresses and hosts is taken.
    pub proxies: TrustedProxies,
    /// What links begin with; without it, they follow the host that was asked.
    pub public_url: Option<PublicUrl>,
    /// What links begin with where a request does not even name a host.
    pub local_url: PublicUrl,
    /// The largest body of a call to the API.
    pub api_body_limit_bytes: u64,
    /// How long such a body may take.
    pub api_body_timeout: Duration,
}

/// The service, ready for connections.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/sources", post(sources::create))
        .route(
            "/v1/sources/{source}",
            put(sources::upload).get(sources::download),
        )
        .route("/v1/tokens/exchange", post(tokens::exchange))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/v1/tokens/{id}/renew", patch(tokens::renew))
        .route("/v1/tokens/{id}", delete(tokens::delete))
        .route("/v1/users/self", get(platform::show_user))
        .route("/v1/regions", get(platform::list_regions))
        .fallback(|| async { ApiError::UnknownRoute })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .with_state(Arc::clone(&app))
        .layer(from_fn_with_state(app, envelope::pass))
}
