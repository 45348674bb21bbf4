//! What object stores answer in ways of their own, said in the way that the library understands, which goes by statuses
//! alone.

use http::StatusCode;
use object_store::client::{HttpError, HttpResponse};

/// What an operation that is not implemented is answered with: it is not tried again.
pub(super) const UNSUPPORTED: StatusCode = StatusCode::METHOD_NOT_ALLOWED;
/// What is answered where there is no room: it is not tried again.
pub(super) const FULL: StatusCode = StatusCode::PAYLOAD_TOO_LARGE;

/// Does it ask for patience?
pub(super) fn is_busy(status: StatusCode) -> bool {
    [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ]
    .contains(&status)
}

/// What came of a request, in a word for those who count.
pub(super) fn outcome(status: StatusCode) -> &'static str {
    match status {
        status if status.is_success() => "ok",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED | StatusCode::NOT_MODIFIED => {
            "precondition"
        }
        status if is_busy(status) => "busy",
        _ => "failed",
    }
}

pub(super) async fn translate(answer: HttpResponse) -> Result<HttpResponse, HttpError> {
    if !matches!(answer.status().as_u16(), 400 | 403 | 409 | 501 | 507) {
        return Ok(answer);
    }
    let (mut head, body) = answer.into_parts();
    let body = body.bytes().await?;
    head.status = meaning(head.status, &String::from_utf8_lossy(&body));
    Ok(HttpResponse::from_parts(head, body.into()))
}

/// The status that says what an answer with this one means.
fn meaning(status: StatusCode, body: &str) -> StatusCode {
    let says = |code: &str| body.contains(&format!("<Code>{code}</Code>"));
    match status.as_u16() {
        501 => UNSUPPORTED,
        507 => FULL,
        403 if says("QuotaExceeded") => FULL,
        // Neither has changed anything. A condition that was met the first time shows when it is not the second:
        // what is there is then ours.
        400 if says("RequestTimeout") => StatusCode::SERVICE_UNAVAILABLE,
        409 if says("ConditionalRequestConflict") || says("OperationAborted") => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => status,
    }
}
