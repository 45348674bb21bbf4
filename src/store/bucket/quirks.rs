//! What object stores answer in ways of their own: those that ask for patience are asked again, and the rest is
//! said in the way that the library understands, which goes by statuses alone.

use std::pin::Pin;
use std::time::Duration;

use http::StatusCode;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use tokio::time::{Instant, sleep};

/// For how long one that is busy is asked again. Then the library has no time left to try by itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What an operation that is not implemented is answered with: it is not tried again.
pub(super) const UNSUPPORTED: StatusCode = StatusCode::METHOD_NOT_ALLOWED;
/// What is answered where there is no room: it is not tried again.
pub(super) const FULL: StatusCode = StatusCode::PAYLOAD_TOO_LARGE;

/// Connects as the library does.
#[derive(Debug, Default)]
pub(super) struct Connector(ReqwestConnector);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Translating(self.0.connect(options)?)))
    }
}

#[derive(Debug)]
struct Translating(HttpClient);

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Translating {
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let began = Instant::now();
            let mut pause = FIRST_PAUSE;
            loop {
                let answer = translate(self.0.execute(request.clone()).await?).await?;
                if !is_busy(answer.status()) || began.elapsed() > PATIENCE {
                    return Ok(answer);
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        })
    }
}

fn is_busy(status: StatusCode) -> bool {
    [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ]
    .contains(&status)
}

async fn translate(answer: HttpResponse) -> Result<HttpResponse, HttpError> {
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
