//! Archives elsewhere: where a link that a user gave may lead, and how it is followed.
//!
//! A name is looked up once, each of its addresses is judged, and the connection is made to those: a name that is
//! looked up again may lead elsewhere by then. Redirects are followed by hand, each judged like the first link.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response, Url};

use super::addresses::{Allowed, is_public};

/// How many redirects are followed.
const REDIRECTS: usize = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a host may take to begin its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
/// Asks for the addresses of a name.
pub type Resolver = Arc<dyn Fn(String) -> Lookup + Send + Sync>;

/// What the operator allows beside `https` on port 443 of the public internet.
#[derive(Clone)]
pub struct ForeignRules {
    pub allowed: Vec<Allowed>,
    pub plain_http: bool,
    /// Authorities to trust beside those of the system.
    pub authorities: Vec<Certificate>,
    pub resolver: Resolver,
}

/// Why a link is not followed. No message has the link: it may be a secret of its user.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    #[error("the source_url is not a URL with a host")]
    NoUrl,
    #[error("the source_url has the scheme {0}, and archives are fetched by https{hint}", hint = plain_http_hint(.0))]
    Scheme(String),
    #[error(
        "the source_url has a user or a password in it, which are not sent: give a link that works without"
    )]
    Credentials,
    #[error(
        "the source_url has the port {port} of {host}, and archives are fetched from port {expected}, unless the runner is started with --fetch-allow {host}"
    )]
    Port {
        host: String,
        port: u16,
        expected: u16,
    },
    #[error(
        "{host} is at {address}, which is not a public internet address: archives are fetched from there only if the runner is started with --fetch-allow {host}"
    )]
    Inside { host: String, address: IpAddr },
    #[error("the addresses of {host} cannot be found")]
    Lookup { host: String, source: io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("more than {REDIRECTS} redirects")]
    TooManyRedirects,
    #[error("a redirect without a valid location")]
    NoLocation,
    #[error("{host} answered {status}")]
    Status { host: String, status: u16 },
    #[error(
        "{host} did not answer within {}",
        humantime::format_duration(ANSWER_TIMEOUT)
    )]
    Silent { host: String },
    #[error("cannot reach {host}")]
    Unreachable {
        host: String,
        source: reqwest::Error,
    },
}

fn plain_http_hint(scheme: &str) -> &'static str {
    match scheme {
        "http" => ", unless the runner is started with --fetch-plain-http",
        _ => "",
    }
}

/// Looks names up as the system does.
pub fn system_resolver() -> Resolver {
    Arc::new(|host| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

impl ForeignRules {
    /// Asks for the archive at a link. The body of the answer is still to come.
    pub async fn open(&self, link: &str) -> Result<Response, ForeignError> {
        let mut url: Url = link.parse().map_err(|_| ForeignError::NoUrl)?;
        for _ in 0..=REDIRECTS {
            let response = self.ask(&url).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if !status.is_redirection() {
                let host = host_of(&url)?.to_owned();
                let status = status.as_u16();
                return Err(ForeignError::Status { host, status });
            }
            let location = response.headers().get(LOCATION);
            let location = location.and_then(|location| location.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok());
            url = next.ok_or(ForeignError::NoLocation)?;
        }
        Err(ForeignError::TooManyRedirects)
    }

    /// One request, to an address that has been judged.
    async fn ask(&self, url: &Url) -> Result<Response, ForeignError> {
        let addresses = self.judge(url).await?;
        let host = host_of(url)?;
        let unreachable = |source: reqwest::Error| ForeignError::Unreachable {
            host: host.to_owned(),
            source: source.without_url(),
        };
        let client = Client::builder()
            .no_proxy()
            .referer(false)
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .tls_certs_merge(self.authorities.iter().cloned())
            .resolve_to_addrs(host, &addresses)
            .build()
            .map_err(unreachable)?;
        match tokio::time::timeout(ANSWER_TIMEOUT, client.get(url.clone()).send()).await {
            Ok(answered) => answered.map_err(unreachable),
            Err(_) => Err(ForeignError::Silent {
                host: host.to_owned(),
            }),
        }
    }

    /// The addresses to connect to, if all is well with the link and with each of them.
    async fn judge(&self, url: &Url) -> Result<Vec<SocketAddr>, ForeignError> {
        let expected = match url.scheme() {
            "https" => 443,
            "http" if self.plain_http => 80,
            other => return Err(ForeignError::Scheme(other.to_owned())),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ForeignError::Credentials);
        }
        let host = host_of(url)?;
        let port = url.port_or_known_default().unwrap_or(expected);
        let is_named = self.allows_host(host);
        let addresses = self.addresses_of(host).await?;
        for &address in &addresses {
            if is_named || self.allows_address(address) {
                continue;
            }
            let host = host.to_owned();
            if !is_public(address) {
                return Err(ForeignError::Inside { host, address });
            }
            if port != expected {
                return Err(ForeignError::Port {
                    host,
                    port,
                    expected,
                });
            }
        }
        let to_socket = |address| SocketAddr::new(address, port);
        Ok(addresses.into_iter().map(to_socket).collect())
    }

    async fn addresses_of(&self, host: &str) -> Result<Vec<IpAddr>, ForeignError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Ok(vec![address]);
        }
        let found = (self.resolver)(host.to_owned()).await;
        let host = host.to_owned();
        match found {
            Ok(found) if found.is_empty() => Err(ForeignError::NoAddress { host }),
            Ok(found) => Ok(found),
            Err(source) => Err(ForeignError::Lookup { host, source }),
        }
    }

    fn allows_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        let is_it = |allowed: &Allowed| matches!(allowed, Allowed::Host(name) if name == host);
        self.allowed.iter().any(is_it)
    }

    fn allows_address(&self, address: IpAddr) -> bool {
        let has = |allowed: &Allowed| matches!(allowed, Allowed::Network(network) if network.contains(&address));
        self.allowed.iter().any(has)
    }
}

fn host_of(url: &Url) -> Result<&str, ForeignError> {
    url.host_str()
        .filter(|host| !host.is_empty())
        .ok_or(ForeignError::NoUrl)
}
