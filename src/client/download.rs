//! Downloading an archive by a link: an interrupted download resumes if the archive is unchanged; the digest is checked at
//! the end.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{
    CONTENT_DISPOSITION, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE,
};
use reqwest::{Response, Url};
use sha2::{Digest as _, Sha256};

use super::error::ClientError;
use super::http::{Http, MAX_REDIRECTS, Pauses, host_of, parse_link, redirect};
use super::progress::Progress;
use super::upload::announce_retry;
use crate::digest::Sha256Digest;
use crate::secret::Secret;

/// How often it is tried without a byte more, once it has begun.
const TRIES: u32 = 10;
/// How often it is tried to begin.
const FIRST_TRIES: u32 = 4;
const HEX_DIGITS: usize = 64;

#[derive(Clone, Debug)]
pub struct Downloaded {
    pub bytes: u64,
    pub sha256: Sha256Digest,
    /// The server said which digest it has to be, and it is that one.
    pub is_checked: bool,
    /// What the server calls it.
    pub file_name: Option<String>,
}

/// What the first answer says of the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    /// A strong one only: others do not promise the same bytes.
    etag: Option<HeaderValue>,
    sha256: Option<[u8; 32]>,
    file_name: Option<String>,
}

/// Fetches what is at the link into the empty file `into`.
pub async fn download(
    http: &Http,
    link: &Secret,
    into: &mut File,
    progress: &Progress,
) -> Result<Downloaded, ClientError> {
    let mut fetch = Fetch {
        http,
        url: parse_link(link)?,
        into,
        progress,
        hash: Sha256::new(),
        bytes: 0,
        facts: None,
    };
    let mut pauses = Pauses::new();
    let mut tries = 0;
    loop {
        let before = fetch.bytes;
        let error = match fetch.go_on().await {
            Ok(()) => return fetch.finish(),
            Err(error) => error,
        };
        if fetch.bytes > before {
            pauses.reset();
            tries = 0;
        }
        tries += 1;
        let most = if fetch.facts.is_some() {
            TRIES
        } else {
            FIRST_TRIES
        };
        if !error.is_passing() || tries >= most {
            return Err(error);
        }
        let pause = pauses.after(&error);
        announce_retry(progress, &error, pause);
        tokio::time::sleep(pause).await;
    }
}

struct Fetch<'a> {
    http: &'a Http,
    url: Url,
    into: &'a mut File,
    progress: &'a Progress,
    hash: Sha256,
    bytes: u64,
    facts: Option<Facts>,
}

impl Fetch<'_> {
    /// Asks for what is missing, and takes it in.
    async fn go_on(&mut self) -> Result<(), ClientError> {
        let response = self.ask().await?;
        let facts = Facts::of(response.headers());
        if response.status().as_u16() == 206 {
            let host = host_of(response.url());
            if self.facts.as_ref().is_some_and(|known| *known != facts) {
                return Err(ClientError::Changed { host });
            }
            if self.facts.is_none() || !is_rest(response.headers(), self.bytes) {
                return Err(ClientError::OtherRange { host });
            }
        } else {
            self.start_anew(facts).map_err(ClientError::Write)?;
        }
        let left = response.content_length();
        self.progress
            .set_total(left.map_or(0, |left| self.bytes + left));
        self.receive(response).await
    }

    async fn ask(&mut self) -> Result<Response, ClientError> {
        let mut url = self.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.http.client.get(url.clone());
            let etag = self.facts.as_ref().and_then(|facts| facts.etag.clone());
            if let Some(etag) = etag.filter(|_| self.bytes > 0) {
                request = request.header(RANGE, format!("bytes={}-", self.bytes));
                request = request.header(IF_RANGE, etag);
            }
            let request = request.build().map_err(ClientError::SetUp)?;
            let response = self.http.send(request).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            url = match redirect(&response) {
                Some(to) => to?,
                None => return Err(self.http.refusal(response).await),
            };
        }
        Err(ClientError::Redirect {
            host: host_of(&url),
            limit: MAX_REDIRECTS,
        })
    }

    fn start_anew(&mut self, facts: Facts) -> io::Result<()> {
        self.into.rewind()?;
        self.into.set_len(0)?;
        self.hash = Sha256::new();
        self.bytes = 0;
        self.facts = Some(facts);
        Ok(())
    }

    async fn receive(&mut self, mut response: Response) -> Result<(), ClientError> {
        self.progress.set_done(self.bytes);
        while let Some(chunk) = self.http.next_chunk(&mut response).await? {
            self.into.write_all(&chunk).map_err(ClientError::Write)?;
            self.hash.update(&chunk);
            self.bytes += chunk.len() as u64;
            self.progress.set_done(self.bytes);
        }
        Ok(())
    }

    fn finish(self) -> Result<Downloaded, ClientError> {
        let sha256 = Sha256Digest(self.hash.finalize().into());
        let facts = self.facts.unwrap_or_default();
        match facts.sha256 {
            Some(expected) if expected != sha256.0 => Err(ClientError::OtherDownload {
                host: host_of(&self.url),
                expected: Sha256Digest(expected).to_string(),
                found: sha256.to_string(),
            }),
            expected => Ok(Downloaded {
                bytes: self.bytes,
                sha256,
                is_checked: expected.is_some(),
                file_name: facts.file_name,
            }),
        }
    }
}

impl Facts {
    fn of(headers: &HeaderMap) -> Self {
        let etag = headers.get(ETAG);
        let etag = etag
            .filter(|etag| etag.as_bytes().starts_with(b"\""))
            .cloned();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let of_etag = etag
            .as_ref()
            .and_then(|etag| hex_digest(etag.to_str().ok()?));
        Self {
            sha256: text("repr-digest").and_then(repr_digest).or(of_etag),
            etag,
            file_name: text(CONTENT_DISPOSITION.as_str()).and_then(file_name),
        }
    }
}

/// Is the answer the requested range: everything from the byte `from` on?
fn is_rest(headers: &HeaderMap, from: u64) -> bool {
    let range = headers
        .get(CONTENT_RANGE)
        .and_then(|range| range.to_str().ok());
    range
        .and_then(parse_range)
        .is_some_and(|(begin, last, length)| {
            begin == from && length.is_none_or(|length| last.checked_add(1) == Some(length))
        })
}

/// `bytes 5-9/10`: the first byte, the last one, and the length of the whole, which need not be known.
fn parse_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (begin, last) = range.split_once('-')?;
    let length = match length {
        "*" => None,
        length => Some(length.parse().ok()?),
    };
    Some((begin.parse().ok()?, last.parse().ok()?, length))
}

/// `sha-256=:…:` among other digests (RFC 9530).
fn repr_digest(text: &str) -> Option<[u8; 32]> {
    let mut digests = text.split(',').map(str::trim);
    let digest = digests.find_map(|digest| digest.strip_prefix("sha-256=:"))?;
    let digest = STANDARD.decode(digest.strip_suffix(':')?).ok()?;
    digest.try_into().ok()
}

/// An entity tag that is a SHA-256, as this service gives it.
fn hex_digest(etag: &str) -> Option<[u8; 32]> {
    let digits = etag.trim_matches('"');
    let mut digest = [0; 32];
    let is_digest = digits.len() == HEX_DIGITS && hex::decode_to_slice(digits, &mut digest).is_ok();
    is_digest.then_some(digest)
}

/// `attachment; filename="…"`: a name, and no path.
fn file_name(text: &str) -> Option<String> {
    let (_, name) = text.split_once("filename=")?;
    let name = name.split(';').next()?.trim().trim_matches('"');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain);
    is_name.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_among_others_and_only_whole() {
        let digest = STANDARD.encode([7; 32]);
        let both = format!("md5=:AAAA:, sha-256=:{digest}:");
        assert_eq!(repr_digest(&both), Some([7; 32]));
        for text in ["", "sha-256=:AAAA:", "sha-256=7", "sha-512=:AAAA:"] {
            assert_eq!(repr_digest(text), None, "{text}");
        }
        assert_eq!(
            hex_digest(&format!("\"{}\"", "07".repeat(32))),
            Some([7; 32])
        );
        assert_eq!(hex_digest("\"07\""), None);
    }

    #[test]
    fn an_answer_goes_on_only_with_all_that_was_asked_for() {
        for (range, is_all) in [
            ("bytes 5-9/10", true),
            ("bytes 5-9/*", true),
            ("bytes 0-9/10", false),
            ("bytes 4-9/10", false),
            ("bytes 6-9/10", false),
            ("bytes 5-8/10", false),
            ("bytes 5-18446744073709551615/10", false),
            ("bytes */10", false),
            ("5-9/10", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, range.parse().unwrap())]);
            assert_eq!(is_rest(&headers, 5), is_all, "{range}");
        }
        assert!(!is_rest(&HeaderMap::new(), 5));
    }

    #[test]
    fn a_file_name_leads_nowhere() {
        for (text, name) in [
            ("attachment; filename=\"a-1.tar.gz\"", Some("a-1.tar.gz")),
            ("attachment; filename=a; size=1", Some("a")),
            ("attachment; filename=\"../a\"", None),
            ("attachment; filename=\".bashrc\"", None),
            ("attachment; filename=\"\"", None),
            ("attachment", None),
        ] {
            assert_eq!(file_name(text).as_deref(), name, "{text}");
        }
    }
}
