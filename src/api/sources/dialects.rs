//! Which dialect of uploads in parts a request speaks, if any.
//!
//! | header | dialect |
//! |---|---|
//! | `Tus-Resumable` | [`tus`] 1.0 |
//! | `Upload-Complete`, or a URL of an attempt alone | [`draft`] of the IETF |
//! | neither | none: a plain PUT, all or nothing |

use std::sync::Arc;

use axum::extract::{FromRequestParts as _, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::ALLOW;
use http::{Method, StatusCode};

use super::link::{CanDownload, CanUpload, TransferPermit, attempt_of};
use super::problems::method_not_taken;
use super::resumable::{METHODS_OF_ALL, done, limit_text};
use super::upload_headers::{UPLOAD_COMPLETE, UPLOAD_LIMIT, begins, completes};
use super::{download, draft, tus, upload};
use crate::api::answer::{private_headers, set_header};
use crate::api::app::App;
use crate::api::problem::Problem;

/// The methods of a link where archives are taken in parts.
const METHODS: &str = "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS";

/// `PUT` and `POST /v1/sources/{source}?token=…`: a whole archive, or the beginning of one in parts.
pub(in crate::api) async fn begin(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let takes_parts = app.service.sources.takes_parts();
    match *request.method() {
        Method::POST if takes_parts && tus::speaks(headers) => tus::begin(app, request).await,
        Method::PUT | Method::POST if takes_parts && begins(headers) => {
            draft::begin(app, request).await
        }
        Method::POST if !completes(headers) => Err(method_not_taken(METHODS_OF_ALL)),
        _ => {
            let is_all_of_it = takes_parts && completes(headers);
            let mut response = upload::upload(app, request).await?;
            if is_all_of_it {
                set_header(response.headers_mut(), UPLOAD_COMPLETE, "?1");
            }
            Ok(response)
        }
    }
}

/// `HEAD`: of a download link what `GET` would say, of an attempt how far it is.
pub(in crate::api) async fn look(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    if attempt_of(&parts).is_none() {
        let can = CanDownload::from_request_parts(&mut parts, &app).await?;
        let permit = TransferPermit::from_request_parts(&mut parts, &app).await?;
        let (method, headers) = (parts.method, parts.headers);
        return download::download(State(app), can, permit, None, method, headers).await;
    }
    if tus::speaks(&parts.headers) {
        tus::look(app, parts).await
    } else {
        draft::look(app, parts).await
    }
}

/// `PATCH`: a part.
pub(in crate::api) async fn append(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    if tus::speaks(request.headers()) {
        tus::append(app, request).await
    } else {
        draft::append(app, request).await
    }
}

/// `DELETE`: an attempt is given up.
pub(in crate::api) async fn cancel(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    if tus::speaks(&parts.headers) {
        tus::cancel(app, parts).await
    } else {
        draft::cancel(app, parts).await.map(|()| done())
    }
}

/// `OPTIONS`: what can be done with an upload link.
pub(in crate::api) async fn options(
    State(app): State<Arc<App>>,
    CanUpload(grant): CanUpload,
) -> Response {
    let mut headers = private_headers();
    if app.service.sources.takes_parts() {
        set_header(&mut headers, ALLOW, METHODS);
        set_header(
            &mut headers,
            UPLOAD_LIMIT,
            &limit_text(&app, grant.source()),
        );
        tus::put_abilities(&app, &mut headers);
    } else {
        set_header(&mut headers, ALLOW, METHODS_OF_ALL);
    }
    (StatusCode::NO_CONTENT, headers).into_response()
}
