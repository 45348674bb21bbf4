//! Where a bucket is, and where its object store can be reached, as an operator writes it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;
use http::uri::Scheme;
use object_store::path::Path;

use crate::public_url::is_plain;

/// Where a bucket is: `s3://bucket/prefix`, `gs://…` or `az://container/prefix`. Credentials and region
/// come from the environment, by the names that each object store's own tools use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketUrl {
    pub(super) kind: Kind,
    pub(super) bucket: String,
    pub(super) prefix: Path,
    pub(super) endpoint: Option<EndpointUrl>,
}

/// Where an object store can be reached: `http://` or `https://` and a host, maybe a port and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointUrl(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an endpoint is http:// or https:// and a host, maybe a port and a path, and no user or query, like http://127.0.0.1:8333"
)]
pub struct NotAnEndpoint;

impl FromStr for EndpointUrl {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let url: Uri = text.parse().map_err(|_| NotAnEndpoint)?;
        if is_plain(&url) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAnEndpoint)
        }
    }
}

impl EndpointUrl {
    /// Can nobody else read or change what is sent there? TLS sees to that, or that it stays on this machine.
    pub(super) fn is_private(&self) -> bool {
        let url: Uri = self.0.parse().unwrap_or_default();
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let address: Option<IpAddr> = host.parse().ok();
        url.scheme() == Some(&Scheme::HTTPS) || address.is_some_and(|address| address.is_loopback())
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    S3,
    Google,
    Azure,
}

impl Kind {
    const fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a bucket is s3://bucket/prefix, gs://bucket/prefix or az://container/prefix; a prefix is ASCII, without control characters and ~ # * % ? [ ] {{ }} < > ^ | \\ ` \""
)]
pub struct NotABucketUrl;

impl FromStr for BucketUrl {
    type Err = NotABucketUrl;

    fn from_str(text: &str) -> Result<Self, NotABucketUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(NotABucketUrl)?;
        let kind = match scheme {
            "s3" => Kind::S3,
            "gs" => Kind::Google,
            "az" => Kind::Azure,
            _ => return Err(NotABucketUrl),
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if bucket.is_empty() || !bucket.chars().all(is_plain) {
            return Err(NotABucketUrl);
        }
        let prefix = Path::parse(prefix).map_err(|_| NotABucketUrl)?;
        // What the library escapes has two spellings, and keys that are written by one are listed by the other.
        if Path::from(prefix.as_ref()) != prefix {
            return Err(NotABucketUrl);
        }
        Ok(Self {
            kind,
            bucket: bucket.to_owned(),
            prefix,
            endpoint: None,
        })
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.kind.scheme(), self.bucket)?;
        if !self.prefix.is_root() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

impl BucketUrl {
    /// The same bucket, at an object store that speaks S3 under another address than Amazon's.
    pub fn at(self, endpoint: Option<EndpointUrl>) -> Self {
        Self { endpoint, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_tls_or_on_this_machine_is_private() {
        for (endpoint, is_private) in [
            ("https://objects.example.com", true),
            ("http://127.0.0.1:8333", true),
            ("http://[::1]:8333", true),
            ("http://10.0.0.1:8333", false),
            ("http://objects.example.com", false),
        ] {
            let endpoint: EndpointUrl = endpoint.parse().unwrap();
            assert_eq!(endpoint.is_private(), is_private, "{endpoint}");
        }
    }

    #[test]
    fn buckets_are_read_with_and_without_a_prefix() {
        for (text, printed) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("gs://b-1/a/b/", "gs://b-1/a/b"),
            ("az://container/p", "az://container/p"),
            ("s3://b/Team_1/a=b+c@d:e.f g", "s3://b/Team_1/a=b+c@d:e.f g"),
        ] {
            assert_eq!(text.parse::<BucketUrl>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn a_prefix_that_would_have_to_be_escaped_is_refused() {
        for letter in "~#*%?[]{}<>^|\\`\"\n\u{7f}é日".chars() {
            for text in [format!("s3://b/{letter}"), format!("gs://b/a/b{letter}c/d")] {
                assert_eq!(text.parse::<BucketUrl>(), Err(NotABucketUrl), "{text}");
            }
        }
    }

    #[test]
    fn what_names_no_bucket_is_refused() {
        for text in ["", "s3://", "s3:///p", "ftp://b", "s3://u@b", "s3://b/a//b"] {
            assert_eq!(text.parse::<BucketUrl>(), Err(NotABucketUrl), "{text}");
        }
    }
}
