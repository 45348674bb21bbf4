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

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, patch, post, put};

pub(crate) mod answer;
pub mod app;
pub(crate) mod envelope;
mod extract;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod head;
mod pagination;
mod platform;
mod problem;
mod sources;
mod tokens;

pub use app::App;

use problem::ApiError;

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
