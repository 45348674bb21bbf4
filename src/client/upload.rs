//! Uploading an archive by a link, in parts where the server takes them, else whole; again and again until the link expires.

use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Request, Response, Url};
use tokio::time::{Instant, sleep};

use super::archive::Archive;
use super::error::ClientError;
use super::http::{Http, MAX_REDIRECTS, Pauses, host_of, parse_link, redirect};
use super::parts::{Offer, PartsUpload};
use super::progress::Progress;
use crate::error_chain::chain;
use crate::secret::Secret;
use crate::wire::sources::{UploadAnswer, UploadReport};

/// How long links live, where the server does not say.
const USUAL_LIFETIME: Duration = Duration::from_mins(10);
/// What is sent whole: parts would cost more than sending it again.
const SMALL_BYTES: u64 = 4 * 1024 * 1024;

/// Sends an archive to the link, to a server that offers what it offers; what the server says of it, if it says anything.
pub async fn upload(
    http: &Http,
    link: &Secret,
    archive: &Archive,
    offer: Option<Offer>,
    progress: &Arc<Progress>,
) -> Result<Option<UploadReport>, ClientError> {
    let url = parse_link(link)?;
    let time_left = offer.and_then(|offer| offer.time_left);
    let expires_at = Instant::now() + time_left.unwrap_or(USUAL_LIFETIME);
    progress.set_total(archive.bytes);
    let answer = if offer.is_some() && archive.bytes > SMALL_BYTES {
        let parts = PartsUpload::new(http, url, archive, progress);
        send_parts(parts, progress, expires_at).await?
    } else {
        send_whole(http, &url, archive, progress, expires_at).await?
    };
    check(http, answer, archive).await
}

async fn send_parts(
    mut parts: PartsUpload<'_>,
    progress: &Progress,
    expires_at: Instant,
) -> Result<Response, ClientError> {
    let mut pauses = Pauses::new();
    let mut furthest = 0;
    loop {
        match parts.step().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {
                if parts.reached() > furthest {
                    furthest = parts.reached();
                    pauses.reset();
                }
            }
            Err(error) => wait_after(error, &mut pauses, progress, expires_at).await?,
        }
    }
}

async fn send_whole(
    http: &Http,
    url: &Url,
    archive: &Archive,
    progress: &Arc<Progress>,
    expires_at: Instant,
) -> Result<Response, ClientError> {
    let mut pauses = Pauses::new();
    loop {
        match put(http, url, archive, progress).await {
            Ok(answer) => return Ok(answer),
            Err(error) => wait_after(error, &mut pauses, progress, expires_at).await?,
        }
    }
}

/// Waits before the next try, unless that is of no use or too late.
async fn wait_after(
    error: ClientError,
    pauses: &mut Pauses,
    progress: &Progress,
    expires_at: Instant,
) -> Result<(), ClientError> {
    let pause = pauses.after(&error);
    if !error.is_passing() || Instant::now() + pause >= expires_at {
        return Err(error);
    }
    announce_retry(progress, &error, pause);
    sleep(pause).await;
    Ok(())
}

pub(super) fn announce_retry(progress: &Progress, error: &ClientError, pause: Duration) {
    let done = ByteSize(progress.done());
    let pause = Duration::from_millis(pause.as_millis().try_into().unwrap_or(u64::MAX));
    let pause = humantime::format_duration(pause);
    progress.notice(&format!(
        "{} at {done}; trying again in {pause}",
        chain(error)
    ));
}

/// Sends all of it once, wherever the link redirects to.
async fn put(
    http: &Http,
    url: &Url,
    archive: &Archive,
    progress: &Arc<Progress>,
) -> Result<Response, ClientError> {
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        progress.set_done(0);
        let request = request(http, &url, archive, progress).await?;
        let response = http.send_body(request, progress, archive.bytes).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        url = match redirect(&response) {
            Some(to) => to?,
            None => return Err(http.refusal(response).await),
        };
    }
    Err(ClientError::Redirect {
        host: host_of(&url),
        limit: MAX_REDIRECTS,
    })
}

async fn request(
    http: &Http,
    url: &Url,
    archive: &Archive,
    progress: &Arc<Progress>,
) -> Result<Request, ClientError> {
    let request = http.client.put(url.clone());
    let request = request
        .header(CONTENT_TYPE, archive.media_type)
        .header(CONTENT_LENGTH, archive.bytes)
        .header("Repr-Digest", archive.repr_digest().await?)
        .body(archive.body(0, archive.bytes, progress));
    request.build().map_err(ClientError::SetUp)
}

/// Has the server received what was sent? The platform's store says nothing.
async fn check(
    http: &Http,
    answer: Response,
    archive: &Archive,
) -> Result<Option<UploadReport>, ClientError> {
    let host = host_of(answer.url());
    // The archive was uploaded, whether or not the rest of the answer arrives.
    let bytes = http.read(answer).await.unwrap_or_default();
    let answer: Option<UploadAnswer> = serde_json::from_slice(&bytes).ok();
    let expected = archive.sha256().await?.to_string();
    let report = answer.map(|answer| answer.upload);
    match &report {
        Some(report) if report.sha256 != expected => Err(ClientError::OtherUpload {
            host,
            expected,
            found: report.sha256.clone(),
        }),
        _ => Ok(report),
    }
}
