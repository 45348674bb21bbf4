//! Uploading in parts (draft-ietf-httpbis-resumable-upload): after a break the server says how far it is, and the rest goes on
//! from there.
//!
//! ```text
//! nothing ──begin──> at 0 ──part──> at X ──part──> … ──last part──> the report
//!                               │      ^
//!                          a break     └── the server is asked ──┐
//!                               └────────> somewhere ────────────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Response, Url};

use super::archive::Archive;
use super::error::ClientError;
use super::http::{Http, Pauses, TRIES, host_of, parse_link, place};
use super::progress::Progress;
use crate::secret::Secret;

const MIB: u64 = 1024 * 1024;
/// What most proxies let pass.
const PART_BYTES: u64 = 16 * MIB;
/// How small parts become behind a proxy that lets less pass.
const SMALLEST_PART_BYTES: u64 = MIB;
/// How often an attempt that the server has lost is begun anew.
const BEGINNINGS: u32 = 3;
const PART_TYPE: &str = "application/partial-upload";
const UPLOAD_COMPLETE: &str = "Upload-Complete";
const UPLOAD_LENGTH: &str = "Upload-Length";
const UPLOAD_LIMIT: &str = "Upload-Limit";
const UPLOAD_OFFSET: &str = "Upload-Offset";

/// What a server takes in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The largest archive; none if there is no limit.
    pub limit_bytes: Option<u64>,
    /// How long the link still lives; none if the server does not say.
    pub time_left: Option<Duration>,
}

/// Asks whether archives may be sent to the link in parts. A server that knows no parts answers anything else, and one that
/// knows them may be kept from saying so for a while.
pub async fn ask(http: &Http, link: &Secret) -> Result<Option<Offer>, ClientError> {
    let url = parse_link(link)?;
    let mut pauses = Pauses::new();
    let mut tries = 0;
    loop {
        let error = match ask_once(http, &url).await {
            Ok(offer) => return Ok(offer),
            Err(error) => error,
        };
        tries += 1;
        if error.is_passing() && tries < TRIES {
            pauses.wait_after(&error).await;
        } else if error.status().is_some() {
            return Ok(None);
        } else {
            return Err(error);
        }
    }
}

async fn ask_once(http: &Http, url: &Url) -> Result<Option<Offer>, ClientError> {
    let request = http.client.request(Method::OPTIONS, url.clone()).build();
    let response = http.send(request.map_err(ClientError::SetUp)?).await?;
    if !response.status().is_success() {
        return Err(http.refusal(response).await);
    }
    let limit = response.headers().get(UPLOAD_LIMIT);
    Ok(limit
        .and_then(|limit| limit.to_str().ok())
        .map(Offer::parse))
}

impl Offer {
    /// `max-size=…, max-age=…`, in any order, and whatever else there may be.
    fn parse(text: &str) -> Self {
        let number = |name: &str| {
            let mut members = text.split(',').map(str::trim);
            let number = members.find_map(|member| member.strip_prefix(name)?.strip_prefix('='));
            number.and_then(|number| number.parse().ok())
        };
        Self {
            limit_bytes: number("max-size"),
            time_left: number("max-age").map(Duration::from_secs),
        }
    }
}

/// One upload in parts.
pub(super) struct PartsUpload<'a> {
    http: &'a Http,
    link: Url,
    archive: &'a Archive,
    progress: &'a Arc<Progress>,
    /// The link of the attempt, once it has begun.
    attempt: Option<Url>,
    /// How far the server is; none where that has to be asked.
    offset: Option<u64>,
    part_bytes: u64,
    beginnings: u32,
}

impl<'a> PartsUpload<'a> {
    pub(super) fn new(
        http: &'a Http,
        link: Url,
        archive: &'a Archive,
        progress: &'a Arc<Progress>,
    ) -> Self {
        Self {
            http,
            link,
            archive,
            progress,
            attempt: None,
            offset: None,
            part_bytes: PART_BYTES,
            beginnings: 0,
        }
    }

    /// How far the server was when it was last heard of.
    pub(super) fn reached(&self) -> u64 {
        self.offset.unwrap_or_default()
    }

    /// Does the next step; the report once all is there. After an error it may be called again: it then asks how far
    /// the server is.
    pub(super) async fn step(&mut self) -> Result<Option<Response>, ClientError> {
        // A body that cannot be read looks like a line that breaks, and is not worth another try.
        self.archive.check_readable().await?;
        let Some(attempt) = self.attempt.clone() else {
            return self.begin().await.map(|()| None);
        };
        let Some(offset) = self.offset else {
            return self.look(attempt).await.map(|()| None);
        };
        let sent = self.send_part(attempt, offset).await;
        if sent.is_err() {
            self.offset = None;
        }
        sent
    }

    async fn begin(&mut self) -> Result<(), ClientError> {
        let request = self.http.client.put(self.link.clone());
        let request = request
            .header(UPLOAD_COMPLETE, "?0")
            .header(UPLOAD_LENGTH, self.archive.bytes)
            .header(CONTENT_LENGTH, 0);
        let request = request.build().map_err(ClientError::SetUp)?;
        let response = self.http.send(request).await?;
        if !response.status().is_success() {
            return Err(self.http.refusal(response).await);
        }
        let attempt = place(&response).ok_or_else(|| ClientError::Parts {
            host: host_of(&self.link),
        })?;
        self.beginnings += 1;
        self.attempt = Some(attempt);
        self.offset = Some(0);
        Ok(())
    }

    async fn look(&mut self, attempt: Url) -> Result<(), ClientError> {
        let request = self.http.client.head(attempt).build();
        let response = self.http.send(request.map_err(ClientError::SetUp)?).await?;
        if response.status().is_success() {
            self.offset = Some(self.offset_in(response.headers())?);
            return Ok(());
        }
        self.refused(response).await
    }

    /// Sends what comes next; the last part also where nothing is left, since its answer is the report.
    async fn send_part(
        &mut self,
        attempt: Url,
        offset: u64,
    ) -> Result<Option<Response>, ClientError> {
        let end = (offset + self.part_bytes).min(self.archive.bytes);
        let is_last = end == self.archive.bytes;
        self.progress.set_done(offset);
        let mut request = self.http.client.patch(attempt);
        if is_last {
            // Only now: it has been computed while the other parts were sent.
            request = request.header("Repr-Digest", self.archive.repr_digest().await?);
        }
        let request = request
            .header(CONTENT_TYPE, PART_TYPE)
            .header(UPLOAD_OFFSET, offset)
            .header(UPLOAD_COMPLETE, if is_last { "?1" } else { "?0" })
            .header(CONTENT_LENGTH, end - offset)
            .body(self.archive.body(offset, end, self.progress));
        let request = request.build().map_err(ClientError::SetUp)?;
        let response = self.http.send_body(request, self.progress, end).await?;
        match response.status().as_u16() {
            200 if is_last => Ok(Some(response)),
            200..=299 => {
                self.offset = Some(self.offset_in(response.headers())?);
                Ok(None)
            }
            // Of a proxy: the server's own limit was kept to at the beginning.
            413 if self.part_bytes > SMALLEST_PART_BYTES => {
                self.part_bytes /= 2;
                self.offset = None;
                Ok(None)
            }
            _ => self.refused(response).await.map(|()| None),
        }
    }

    /// Goes on from where the server is, or anew if it has lost the attempt.
    async fn refused(&mut self, response: Response) -> Result<(), ClientError> {
        let status = response.status().as_u16();
        let offset = self.offset_in(response.headers());
        if status == 409
            && let Ok(offset) = offset
        {
            self.offset = Some(offset);
            return Ok(());
        }
        if status == 404 && self.beginnings < BEGINNINGS {
            self.progress
                .notice("the server has lost what it had; starting anew");
            self.attempt = None;
            self.offset = None;
            return Ok(());
        }
        Err(self.http.refusal(response).await)
    }

    fn offset_in(&self, headers: &HeaderMap) -> Result<u64, ClientError> {
        let offset = headers.get(UPLOAD_OFFSET);
        let offset = offset.and_then(|offset| offset.to_str().ok()?.parse().ok());
        let is_within = |offset: &u64| *offset <= self.archive.bytes;
        offset.filter(is_within).ok_or_else(|| ClientError::Parts {
            host: host_of(&self.link),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_read_whatever_else_it_says() {
        let offer = |limit_bytes, seconds: Option<u64>| Offer {
            limit_bytes,
            time_left: seconds.map(Duration::from_secs),
        };
        for (text, read) in [
            ("max-size=5, max-age=7", offer(Some(5), Some(7))),
            ("min-size=1,max-age=7", offer(None, Some(7))),
            ("max-size=x", offer(None, None)),
            ("", offer(None, None)),
        ] {
            assert_eq!(Offer::parse(text), read, "{text}");
        }
    }
}
