//! The body of a call to the API: empty, or a JSON object.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use futures_util::StreamExt;
use hyper::body::Body as _;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::answer::size_text;
use super::app::App;
use super::problem::Problem;

pub(super) struct JsonObject(pub(super) Map<String, Value>);

impl FromRequest<Arc<App>> for JsonObject {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let body = collect_in_time(request, app, app.api_body_limit_bytes).await?;
        parse_object(&body).map(Self)
    }
}

/// The whole body, if it arrives in time.
pub(super) async fn collect_in_time(
    request: Request,
    app: &App,
    limit_bytes: u64,
) -> Result<Vec<u8>, Problem> {
    let collected = timeout(app.api_body_timeout, collect(request, limit_bytes)).await;
    collected.map_err(|_| {
        let seconds = app.api_body_timeout.as_secs_f64();
        Problem::too_slow(format!("the body did not arrive within {seconds} s"))
    })?
}

async fn collect(request: Request, limit_bytes: u64) -> Result<Vec<u8>, Problem> {
    let too_large = || {
        let limit = size_text(limit_bytes);
        Problem::too_large(format!("the body is larger than the limit of {limit}"))
    };
    let body = request.into_body();
    if body.size_hint().exact() > Some(limit_bytes) {
        return Err(too_large());
    }
    // Copied: many small chunks, kept as they arrived, would take far more memory than their bytes.
    let mut collected = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let broken_off = |_| Problem::bad_request("the body broke off before its end");
        collected.extend_from_slice(&chunk.map_err(broken_off)?);
        if collected.len() as u64 > limit_bytes {
            return Err(too_large());
        }
    }
    Ok(collected)
}

fn parse_object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    // Some editors and shells put it before UTF-8 (RFC 8259 §8.1).
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let problem = match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => return Ok(object),
        Ok(_) => "it must be an object, like {}".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Problem::bad_request(format!(
        "There was a problem in the JSON you submitted: {problem}"
    )))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use bytes::Bytes;
    use futures_util::{FutureExt, stream};

    use super::*;

    #[test]
    fn a_body_in_chunks_of_one_byte_takes_no_more_memory_than_its_bytes() {
        const BYTES: usize = 64 * 1024;
        let allocated = allocation_counter::measure(|| {
            let buffer = Bytes::from(vec![b' '; BYTES]);
            let chunks =
                (0..BYTES).map(move |at| Ok::<_, std::convert::Infallible>(buffer.slice(at..=at)));
            let request = Request::new(Body::from_stream(stream::iter(chunks)));
            let collected = collect(request, BYTES as u64).now_or_never();
            assert_eq!(collected.unwrap().unwrap().len(), BYTES);
        });
        assert!(allocated.bytes_max < 4 * BYTES as u64, "{allocated:?}");
    }
}
