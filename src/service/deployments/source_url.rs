//! What a `source_url` names: an archive of this service, or one elsewhere. Pure: nothing is fetched here, and only a
//! runner judges the addresses that a host has.

use http::Uri;

use crate::clock::Timestamp;
use crate::grant::{GrantError, GrantKeys};
use crate::public_url::PublicUrl;
use crate::source::{Expired, SourceId};

/// The longest `source_url`, in bytes.
pub const MAX_SOURCE_URL_BYTES: usize = 4096;
/// What the path of a link to a source has before its id.
const SOURCES: &str = "/v1/sources/";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceUrlError {
    #[error("it is not a URL")]
    NotAUrl,
    #[error("it is longer than {MAX_SOURCE_URL_BYTES} bytes")]
    TooLong,
    #[error("its scheme is neither https nor http")]
    Scheme,
    #[error("it holds credentials")]
    Credentials,
    /// It is of this service, and no link to a source.
    #[error("it is no download link of this service")]
    NoSource,
    #[error("it is an upload link")]
    UploadLink,
    #[error("its token is not valid")]
    InvalidToken,
    /// It looks like a link to a source, and was not given out here.
    #[error("it is a link of another server")]
    OtherServer,
    #[error(transparent)]
    Expired(#[from] Expired),
    #[error("nothing has been uploaded there")]
    NothingUploaded,
}

/// Where an archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ArchiveLocation {
    Own(SourceId),
    Elsewhere { host: String },
}

/// What `text` names. A link of ours is known by its token, so it does not matter by which of our names the client
/// reached us; `bases` are those that are known.
pub(super) fn locate(
    text: &str,
    keys: &GrantKeys,
    bases: &[PublicUrl],
    now: Timestamp,
) -> Result<ArchiveLocation, SourceUrlError> {
    if text.len() > MAX_SOURCE_URL_BYTES {
        return Err(SourceUrlError::TooLong);
    }
    check_scheme(text)?;
    let url: Uri = text.parse().map_err(|_| SourceUrlError::NotAUrl)?;
    let authority = url.authority().ok_or(SourceUrlError::NotAUrl)?;
    if authority.as_str().contains('@') {
        return Err(SourceUrlError::Credentials);
    }
    let host = authority.host();
    if host.is_empty() {
        return Err(SourceUrlError::NotAUrl);
    }
    let is_here = bases.iter().any(|base| base.is_above(&url));
    match link_in(&url) {
        Some((source, token)) => match verify(source, token, keys, now) {
            Err(SourceUrlError::InvalidToken) if !is_here => Err(SourceUrlError::OtherServer),
            verified => verified.map(|()| ArchiveLocation::Own(source)),
        },
        None if is_here => Err(SourceUrlError::NoSource),
        None => Ok(ArchiveLocation::Elsewhere {
            host: host.to_ascii_lowercase(),
        }),
    }
}

fn check_scheme(text: &str) -> Result<(), SourceUrlError> {
    let (scheme, rest) = text.split_once(':').ok_or(SourceUrlError::NotAUrl)?;
    let is_web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    if !is_web {
        return Err(SourceUrlError::Scheme);
    }
    // Else a library would take the scheme for a host.
    if !rest.starts_with("//") {
        return Err(SourceUrlError::NotAUrl);
    }
    Ok(())
}

/// The source and the token of what has the form of our links.
fn link_in(url: &Uri) -> Option<(SourceId, &str)> {
    let (_, id) = url.path().rsplit_once(SOURCES)?;
    let source = id.parse().ok()?;
    let mut pairs = url.query()?.split('&');
    let token = pairs.find_map(|pair| pair.strip_prefix("token="))?;
    let is_only = !pairs.any(|pair| pair.starts_with("token="));
    Some((source, if is_only { token } else { "" }))
}

fn verify(
    source: SourceId,
    token: &str,
    keys: &GrantKeys,
    now: Timestamp,
) -> Result<(), SourceUrlError> {
    match keys.verify_download(source, token, now) {
        Ok(_) => Ok(()),
        Err(GrantError::Expired(expired)) => Err(expired.into()),
        Err(GrantError::InvalidToken) => match keys.verify_upload(source, token, now) {
            Ok(_) | Err(GrantError::Expired(_)) => Err(SourceUrlError::UploadLink),
            Err(GrantError::InvalidToken) => Err(SourceUrlError::InvalidToken),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::Action;
    use crate::keys::KeyRing;

    const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

    fn keys() -> GrantKeys {
        GrantKeys::derive(&KeyRing::of(&[[1; 32]]))
    }

    fn located(url: &str) -> Result<ArchiveLocation, SourceUrlError> {
        let bases = ["https://x.example:8443/way".parse().unwrap()];
        locate(url, &keys(), &bases, NOW)
    }

    fn link(base: &str, action: Action, expires_at: Timestamp) -> (SourceId, String) {
        let source = SourceId::mint(expires_at, [5; 10]);
        let token = keys().mint(action, source);
        let link = format!("{base}/v1/sources/{source}?token={}", token.reveal());
        (source, link)
    }

    #[test]
    fn a_link_of_ours_is_known_by_whatever_name_we_were_reached() {
        let later = NOW.after(std::time::Duration::from_mins(1));
        for base in [
            "https://x.example:8443/way",
            "http://127.0.0.1:8080",
            "http://[::1]",
            "HTTPS://X.EXAMPLE:8443/way",
        ] {
            let (source, url) = link(base, Action::Download, later);
            assert_eq!(located(&url), Ok(ArchiveLocation::Own(source)), "{base}");
            let (_, url) = link(base, Action::Upload, later);
            assert_eq!(located(&url), Err(SourceUrlError::UploadLink));
            let (_, url) = link(base, Action::Download, NOW);
            assert!(matches!(located(&url), Err(SourceUrlError::Expired(_))));
            let (_, url) = link(base, Action::Upload, NOW);
            assert_eq!(located(&url), Err(SourceUrlError::UploadLink));
        }
    }

    #[test]
    fn what_looks_like_our_links_and_is_none_is_refused() {
        let later = NOW.after(std::time::Duration::from_mins(1));
        let (_, here) = link("https://x.example:8443/way", Action::Download, later);
        let (_, there) = link("https://other.example", Action::Download, later);
        let twice = format!("{here}&token=0");
        for (url, error) in [
            (&here[..here.len() - 1], SourceUrlError::InvalidToken),
            (&twice, SourceUrlError::InvalidToken),
            (&there[..there.len() - 1], SourceUrlError::OtherServer),
            ("https://x.example:8443/way/", SourceUrlError::NoSource),
            (
                "https://X.example:8443/way/v1/apps",
                SourceUrlError::NoSource,
            ),
        ] {
            assert_eq!(located(url), Err(error), "{url}");
        }
    }

    #[test]
    fn an_archive_elsewhere_needs_a_plain_web_address() {
        for (url, host) in [
            ("https://github.com/a/b/archive/c.tar.gz", "github.com"),
            ("http://Example.com:81/?a=b@c", "example.com"),
            ("https://x.example/way", "x.example"),
            ("https://[::1]/a", "[::1]"),
        ] {
            let host = host.to_owned();
            assert_eq!(
                located(url),
                Ok(ArchiveLocation::Elsewhere { host }),
                "{url}"
            );
        }
        let long = format!("https://a.example/{}", "a".repeat(MAX_SOURCE_URL_BYTES));
        for (url, error) in [
            ("", SourceUrlError::NotAUrl),
            ("/v1/sources/x", SourceUrlError::NotAUrl),
            ("https:", SourceUrlError::NotAUrl),
            ("https://", SourceUrlError::NotAUrl),
            ("https:///a", SourceUrlError::NotAUrl),
            ("https://a b/", SourceUrlError::NotAUrl),
            ("file:///etc/passwd", SourceUrlError::Scheme),
            ("git@github.com:a/b", SourceUrlError::Scheme),
            ("ssh://git@github.com/a", SourceUrlError::Scheme),
            ("https://u:p@a.example/", SourceUrlError::Credentials),
            (&long, SourceUrlError::TooLong),
        ] {
            assert_eq!(located(url), Err(error), "{url}");
        }
        let longest = &long[..MAX_SOURCE_URL_BYTES];
        assert!(located(longest).is_ok());
    }
}
