//! Uploading an archive by a link: whole, and again if the connection breaks, until the link expires.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytesize::ByteSize;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Request, Response, Url};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::error::ClientError;
use super::http::{Http, MAX_REDIRECTS, Pauses, host_of, parse_link, redirect};
use super::progress::Progress;
use crate::digest::Sha256Digest;
use crate::error_chain::chain;
use crate::secret::Secret;
use crate::wire::sources::{UploadAnswer, UploadReport};

/// How long links live, where the server does not say.
const USUAL_LIFETIME: Duration = Duration::from_mins(10);
const CHUNK_BYTES: u64 = 256 * 1024;
/// How many chunks are read ahead.
const CHUNKS_AHEAD: usize = 4;

/// An archive that stays as it is.
#[derive(Clone, Debug)]
pub struct Archive {
    pub file: Arc<File>,
    pub bytes: u64,
    pub sha256: Sha256Digest,
    /// As the server is to be told.
    pub media_type: &'static str,
}

impl Archive {
    /// As RFC 9530 spells it.
    fn repr_digest(&self) -> String {
        format!("sha-256=:{}:", STANDARD.encode(self.sha256.0))
    }

    /// A part of it as the body of a request. `progress` is where the body is.
    fn body(&self, from: u64, end: u64, progress: &Arc<Progress>) -> Body {
        let (hand_on, mut chunks) = mpsc::channel::<io::Result<Bytes>>(CHUNKS_AHEAD);
        let (file, progress) = (Arc::clone(&self.file), Arc::clone(progress));
        tokio::task::spawn_blocking(move || {
            let mut at = from;
            while at < end {
                let count = CHUNK_BYTES.min(end - at);
                let mut chunk = vec![0; usize::try_from(count).unwrap_or_default()];
                let read = file.read_exact_at(&mut chunk, at).map(|()| chunk.into());
                let has_failed = read.is_err();
                if hand_on.blocking_send(read).is_err() || has_failed {
                    return;
                }
                at += count;
                progress.set_done(at);
            }
        });
        Body::wrap_stream(futures_util::stream::poll_fn(move |context| {
            chunks.poll_recv(context)
        }))
    }
}

/// Sends an archive to the link; what the server says of it, if it says anything.
pub async fn upload(
    http: &Http,
    link: &Secret,
    archive: &Archive,
    progress: &Arc<Progress>,
) -> Result<Option<UploadReport>, ClientError> {
    let url = parse_link(link)?;
    let expires_at = Instant::now() + USUAL_LIFETIME;
    progress.set_total(archive.bytes);
    let mut pauses = Pauses::new();
    loop {
        let error = match put(http, &url, archive, progress).await {
            Ok(answer) => return check(http, answer, archive).await,
            Err(error) => error,
        };
        let pause = pauses.after(&error);
        if !error.is_passing() || Instant::now() + pause >= expires_at {
            return Err(error);
        }
        announce_retry(progress, &error, pause);
        tokio::time::sleep(pause).await;
    }
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
        let request = request(http, &url, archive, progress)?;
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

fn request(
    http: &Http,
    url: &Url,
    archive: &Archive,
    progress: &Arc<Progress>,
) -> Result<Request, ClientError> {
    let request = http.client.put(url.clone());
    let request = request
        .header(CONTENT_TYPE, archive.media_type)
        .header(CONTENT_LENGTH, archive.bytes)
        .header("Repr-Digest", archive.repr_digest())
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
    // The archive is there, whether or not the rest of the answer comes.
    let bytes = http.read(answer).await.unwrap_or_default();
    let answer: Option<UploadAnswer> = serde_json::from_slice(&bytes).ok();
    let (expected, report) = (
        archive.sha256.to_string(),
        answer.map(|answer| answer.upload),
    );
    match &report {
        Some(report) if report.sha256 != expected => Err(ClientError::OtherUpload {
            host,
            expected,
            found: report.sha256.clone(),
        }),
        _ => Ok(report),
    }
}
