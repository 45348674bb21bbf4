//! The HTTP side: the index of the API, and what its handlers share.
//!
//! | call | handler |
//! |---|---|
//! | `POST /v1/sources` | [`sources::create`] |
//! | `PUT /v1/sources/{source}?token=…` | [`sources::upload`] |
//! | `GET`, `HEAD /v1/sources/{source}?token=…` | [`sources::download`] |
//!
//! A handler that needs a right takes it as an argument whose extractor checks it: see [`extract`].
//! Statuses and error bodies are chosen in [`error`] and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{post, put};

use crate::accounts::Accounts;
use crate::clock::Clock;
use crate::public_url::PublicUrl;
use crate::sources::Sources;

mod body;
mod client_io;
mod conditions;
pub mod connection;
mod digest_headers;
mod error;
mod exchange;
mod extract;
mod malformed;
mod sources;

use error::ApiError;

/// What the handlers share.
pub struct App {
    /// The use cases.
    pub sources: Sources,
    /// Who may call the API.
    pub accounts: Accounts,
    /// What time it is.
    pub clock: Clock,
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
        .fallback(|| async { ApiError::UnknownRoute })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .with_state(Arc::clone(&app))
        .layer(from_fn_with_state(app, exchange::pass))
}
