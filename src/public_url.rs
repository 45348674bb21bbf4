//! What the links that are handed out begin with, and how they are put together. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::Uri;
use http::uri::Authority;

use crate::secret::Secret;
use crate::source::SourceId;

/// Whether a connection is encrypted, as URLs say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that URLs leave out.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Scheme, host and, behind a proxy, a path prefix: `https://x.example/deploy`, without a slash at
/// its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a public URL is http:// or https://, a host, maybe a port and a path, and nothing after it, like https://deploy.example.com/sources"
)]
pub struct NotAPublicUrl;

impl PublicUrl {
    /// The URL of a server that is asked for as `host`, below `prefix` (empty, or a path that begins
    /// with a slash); `None` if these are more than that.
    pub fn of_host(scheme: Scheme, host: &Authority, prefix: &str) -> Option<Self> {
        format!("{}://{host}{prefix}", scheme.name()).parse().ok()
    }

    /// The URL of a server as programs on its own machine can reach it.
    pub fn of_address(scheme: Scheme, mut address: SocketAddr) -> Self {
        if address.ip().is_unspecified() {
            let loopback = match address {
                SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            };
            address.set_ip(loopback);
        }
        Self(format!("{}://{address}", scheme.name()))
    }

    /// A pre-authenticated link for a runner, to its `kind` of thing. It is as secret as the grant in it.
    pub fn runner_link(&self, kind: &str, grant: &Secret) -> Secret {
        Secret::new(format!("{self}/v1/runner/{kind}/{}", grant.reveal()))
    }

    /// Where the log of a deployment is.
    pub fn deployment_output(
        &self,
        app: &dyn fmt::Display,
        deployment: &dyn fmt::Display,
    ) -> String {
        format!("{self}/v1/apps/{app}/deployments/{deployment}/output")
    }

    /// Does `url` lie below this one, by whichever scheme?
    pub fn is_above(&self, url: &Uri) -> bool {
        let base: Uri = self.0.parse().expect("it was read as one");
        let path = url.path().strip_prefix(base.path().trim_end_matches('/'));
        let is_below = path.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        is_below && origin_of(&base) == origin_of(url)
    }

    /// A pre-authenticated link to a source. It is as secret as the token in it.
    pub fn link(&self, source: SourceId, token: &Secret) -> Secret {
        Secret::new(format!(
            "{self}/v1/sources/{source}?token={}",
            token.reveal()
        ))
    }

    /// Where the deployments of an application are followed, by WebSocket.
    pub fn deployments_stream(&self, app: &impl fmt::Display) -> String {
        let (scheme, rest) = self.0.split_once("://").expect("it has a scheme");
        let is_https = scheme.eq_ignore_ascii_case(Scheme::Https.name());
        let scheme = if is_https { "wss" } else { "ws" };
        format!("{scheme}://{rest}/v1/apps/{app}/deployments/stream")
    }
}

impl FromStr for PublicUrl {
    type Err = NotAPublicUrl;

    fn from_str(text: &str) -> Result<Self, NotAPublicUrl> {
        let url: Uri = text.parse().map_err(|_| NotAPublicUrl)?;
        if is_plain(&url) && !text.contains('#') {
            Ok(Self(text.trim_end_matches('/').to_owned()))
        } else {
            Err(NotAPublicUrl)
        }
    }
}

/// Host and port, as they are compared.
fn origin_of(url: &Uri) -> Option<(String, u16)> {
    let default_port = match url.scheme_str()? {
        "https" => Scheme::Https.default_port(),
        _ => Scheme::Http.default_port(),
    };
    let port = url.port_u16().unwrap_or(default_port);
    Some((url.host()?.to_ascii_lowercase(), port))
}

/// Is that `http://` or `https://`, a host, maybe a port and a path, and no more?
pub(crate) fn is_plain(url: &Uri) -> bool {
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    let has_plain_host = url
        .authority()
        .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    is_http && has_plain_host && url.query().is_none()
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prefix_is_kept_and_a_last_slash_is_not() {
        for (text, url) in [
            ("https://x.example", "https://x.example"),
            ("https://x.example/", "https://x.example"),
            ("http://[::1]:8080/deploy/", "http://[::1]:8080/deploy"),
        ] {
            assert_eq!(text.parse::<PublicUrl>().unwrap().to_string(), url);
        }
    }

    #[test]
    fn a_stream_is_encrypted_where_links_are() {
        for (url, stream) in [
            (
                "http://x.example",
                "ws://x.example/v1/apps/1/deployments/stream",
            ),
            (
                "HTTPS://x.example/deploy",
                "wss://x.example/deploy/v1/apps/1/deployments/stream",
            ),
        ] {
            let url: PublicUrl = url.parse().unwrap();
            assert_eq!(url.deployments_stream(&1), stream);
        }
    }

    #[test]
    fn what_lies_below_is_told_from_what_only_looks_so() {
        let base: PublicUrl = "https://x.example/deploy".parse().unwrap();
        for (url, is_below) in [
            ("https://x.example/deploy", true),
            ("https://X.example:443/deploy/v1", true),
            ("https://x.example/deployed", false),
            ("https://x.example/", false),
            ("https://x.example:444/deploy/v1", false),
            ("https://y.example/deploy/v1", false),
        ] {
            assert_eq!(base.is_above(&url.parse().unwrap()), is_below, "{url}");
        }
        let base: PublicUrl = "http://[::1]:8080".parse().unwrap();
        assert!(base.is_above(&"http://[::1]:8080/v1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_beginning_of_a_link_is_refused() {
        for text in [
            "",
            "x.example",
            "ftp://x.example",
            "https://",
            "https://user@x.example",
            "https://x.example/?a=b",
            "https://x.example/#top",
        ] {
            assert_eq!(text.parse::<PublicUrl>(), Err(NotAPublicUrl), "{text}");
        }
    }
}
