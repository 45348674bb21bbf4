//! The HTTP API: the index of its routes, and what its handlers share.
//!
//! | call | handler | who may |
//! |---|---|---|
//! | `POST /v1/sources` | [`sources::create`] | a bearer |
//! | `PUT /v1/sources/{source}?token=…` | [`sources::begin`] | the holder of an upload link |
//! | `POST`, `PATCH`, `DELETE`, `OPTIONS /v1/sources/{source}?token=…` | [`sources::begin`], [`sources::append`], [`sources::cancel`], [`sources::options`] | the same |
//! | `GET`, `HEAD /v1/sources/{source}?token=…` | [`sources::download`], [`sources::look`] | the holder of a download link; of an upload link, of what it sends in parts |
//! | `POST /v1/tokens/exchange` | [`tokens::exchange`] | the holder of an API token |
//! | `GET`, `POST /v1/tokens` | [`tokens::list`], [`tokens::create`] | a bearer |
//! | `PATCH`, `PUT /v1/tokens/{id}/renew` | [`tokens::renew`] | a bearer whose API token was neither revoked nor renewed since, their own |
//! | `DELETE /v1/tokens/{id}` | [`tokens::delete`] | a bearer, their own |
//! | `GET /v1/users/self` | [`users::show_self`] | a bearer |
//! | `GET /v1/regions` | [`regions::list`] | a bearer |
//! | `GET`, `POST /v1/apps` | [`apps::list`], [`apps::create`] | a bearer |
//! | `GET`, `DELETE /v1/apps/{app}` | [`apps::show`], [`apps::delete`] | a bearer, their own |
//! | `PATCH`, `PUT /v1/apps/{app}` | [`not_here::app_settings`] | nobody: there are no settings |
//! | `POST /v1/apps/{app}/rename` | [`apps::rename`] | a bearer, their own |
//! | `GET`, `POST`, `PUT`, `DELETE /v1/apps/{app}/variables` | [`variables::list`], [`variables::create`], [`variables::set`], [`variables::delete_some`] | a bearer, their own |
//! | `PATCH`, `PUT`, `DELETE /v1/apps/{app}/variables/{id}` | [`variables::change`], [`variables::delete`] | a bearer, their own |
//! | `GET /v1/apps/{app}/events` | [`events::list_of_app`] | a bearer, their own |
//! | `GET /v1/events` | [`events::list`] | a bearer |
//! | `GET`, `POST /v1/apps/{app}/deployments` | [`deployments::list`], [`deployments::create`] | a bearer, their own |
//! | `GET /v1/apps/{app}/deployments/{deployment}` | [`deployments::show`] | a bearer, their own |
//! | `GET /v1/apps/{app}/deployments/{deployment}/output` | [`deployments::show_log`] | a bearer, their own |
//! | `POST /v1/apps/{app}/deployments/{deployment}/cancel` | [`deployments::cancel`] | a bearer, their own |
//! | `GET /v1/apps/{app}/deployments/stream` | [`deployments::stream`] | a bearer in the first frame, their own |
//! | `DELETE /v1/apps/{app}/caches/deployment` | [`deployments::delete_cache`] | a bearer, their own |
//! | `POST /v1/runner/claims` | [`runner::claim`] | a runner |
//! | `PUT /v1/runner/reports/{grant}/log?offset=…` | [`runner::append_log`] | the holder of a report link |
//! | `PUT /v1/runner/reports/{grant}/status` | [`runner::report_status`] | the holder of a report link |
//! | `GET`, `HEAD /v1/runner/sources/{grant}` | [`runner::download`] | the holder of the link to an attempt's archive |
//! | `GET /openapi.json` | [`openapi::describe`] | anybody |
//! | `GET /` | [`web_page::show`] | a browser |
//! | `GET /drop` | [`web_page::show`] | a browser |
//! | `GET /get` | [`web_page::show`] | a browser |
//! | `GET /page/{file}` | [`web_page::file`] | anybody |
//!
//! At any other path, [`not_here`] says what to use instead of what the platform has there.
//!
//! A handler that needs a right takes it as an argument whose extractor checks it: [`caller`] for who
//! calls, `sources/link.rs` and `runner/link.rs` for what a link allows. Statuses and texts of errors are chosen in
//! [`problem`] and in the file `problems.rs` of each resource, and nowhere else.

mod allowance;
mod answer;
mod app;
mod apps;
mod attributes;
mod caller;
mod client;
mod deployments;
mod envelope;
mod events;
mod head;
mod json_body;
mod not_here;
mod openapi;
pub mod page;
pub mod problem;
mod query;
mod range;
mod regions;
mod runner;
pub mod sources;
mod store_problems;
mod tokens;
mod users;
mod variables;
mod web_page;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, patch, post, put};

pub use app::App;

use problem::Problem;

/// The service, ready for connections.
pub fn router(app: Arc<App>) -> Router {
    let page = if app.has_page {
        page_routes()
    } else {
        Router::new()
    };
    Router::new()
        .route("/v1/sources", post(sources::create))
        .route(
            "/v1/sources/{source}",
            put(sources::begin)
                .post(sources::begin)
                .get(sources::download)
                .head(sources::look)
                .patch(sources::append)
                .delete(sources::cancel)
                .options(sources::options),
        )
        .route("/v1/tokens/exchange", post(tokens::exchange))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route(
            "/v1/tokens/{id}/renew",
            patch(tokens::renew).put(tokens::renew),
        )
        .route("/v1/tokens/{id}", delete(tokens::delete))
        .route("/v1/users/self", get(users::show_self))
        .route("/v1/regions", get(regions::list))
        .route("/v1/apps", get(apps::list).post(apps::create))
        .route(
            "/v1/apps/{app}",
            get(apps::show)
                .delete(apps::delete)
                .put(not_here::app_settings)
                .patch(not_here::app_settings),
        )
        .route("/v1/apps/{app}/rename", post(apps::rename))
        .route(
            "/v1/apps/{app}/variables",
            get(variables::list)
                .post(variables::create)
                .put(variables::set)
                .delete(variables::delete_some),
        )
        .route(
            "/v1/apps/{app}/variables/{id}",
            patch(variables::change)
                .put(variables::change)
                .delete(variables::delete),
        )
        .route("/v1/apps/{app}/events", get(events::list_of_app))
        .route("/v1/events", get(events::list))
        .route("/openapi.json", get(openapi::describe))
        .merge(deployment_routes())
        .merge(page)
        .fallback(not_here::unknown_route)
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .with_state(Arc::clone(&app))
        .layer(from_fn_with_state(app, envelope::pass))
}

/// What users and runners call about deployments.
fn deployment_routes() -> Router<Arc<App>> {
    Router::new()
        .route(
            "/v1/apps/{app}/deployments",
            get(deployments::list).post(deployments::create),
        )
        .route(
            "/v1/apps/{app}/deployments/stream",
            get(deployments::stream),
        )
        .route(
            "/v1/apps/{app}/deployments/{deployment}",
            get(deployments::show),
        )
        .route(
            "/v1/apps/{app}/deployments/{deployment}/output",
            get(deployments::show_log),
        )
        .route(
            "/v1/apps/{app}/deployments/{deployment}/cancel",
            post(deployments::cancel),
        )
        .route(
            "/v1/apps/{app}/caches/deployment",
            delete(deployments::delete_cache),
        )
        .route("/v1/runner/claims", post(runner::claim))
        .route("/v1/runner/reports/{grant}/log", put(runner::append_log))
        .route(
            "/v1/runner/reports/{grant}/status",
            put(runner::report_status),
        )
        .route("/v1/runner/sources/{grant}", get(runner::download))
}

/// The page for browsers. To all else there is nothing at these paths.
fn page_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(web_page::show))
        .route("/drop", get(web_page::show))
        .route("/get", get(web_page::show))
        .route("/page/{file}", get(web_page::file))
}
