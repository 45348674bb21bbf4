//! The body of a call to the API: empty, or a JSON object.

use std::sync::Arc;

use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use bytes::Bytes;
use hyper::body::Body as _;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::answer::size_text;
use super::app::App;
use super::problem::Problem;

/// A body that is empty or a JSON object.
pub(super) struct JsonObject(pub(super) Map<String, Value>);

impl FromRequest<Arc<App>> for JsonObject {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let collected = collect(request, app.api_body_limit_bytes);
        let body = timeout(app.api_body_timeout, collected)
            .await
            .map_err(|_| {
                let seconds = app.api_body_timeout.as_secs_f64();
                Problem::too_slow(format!("the body did not come within {seconds} s"))
            })??;
        parse_object(&body).map(Self)
    }
}

async fn collect(mut request: Request, limit_bytes: u64) -> Result<Bytes, Problem> {
    let too_large = || {
        let limit = size_text(limit_bytes);
        Problem::too_large(format!("the body is larger than the limit of {limit}"))
    };
    if request.body().size_hint().exact() > Some(limit_bytes) {
        return Err(too_large());
    }
    let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
    DefaultBodyLimit::max(limit).apply(&mut request);
    match Bytes::from_request(request, &()).await {
        Ok(body) => Ok(body),
        Err(BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_))) => {
            Err(too_large())
        }
        Err(_) => Err(Problem::bad_request("the body broke off before its end")),
    }
}

fn parse_object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    let problem = match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => return Ok(object),
        Ok(_) => "it must be an object, like {}".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Problem::bad_request(format!(
        "There was a problem in the JSON you submitted: {problem}"
    )))
}
