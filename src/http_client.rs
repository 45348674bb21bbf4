//! What the HTTP clients of this program have in common: whom they believe, that they follow no redirect by themselves, and
//! which URLs others on the network could read along.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Url};
use tokio_rustls::rustls::crypto::ring;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One for `url`, and for where that leads to, which believes `authorities` beside those of the system. `set_up` may be
/// asked twice.
pub(crate) fn build(
    url: &str,
    authorities: &[Certificate],
    set_up: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, reqwest::Error> {
    // The HTTP client uses the provider of the process. An error means that it has one already.
    let _ = ring::default_provider().install_default();
    let builder = || {
        let builder = Client::builder().referer(false).redirect(Policy::none());
        set_up(builder.connect_timeout(CONNECT_TIMEOUT))
    };
    let authorities = || authorities.iter().cloned();
    let built = builder().tls_certs_merge(authorities()).build();
    match built {
        // A machine without any authority can still speak plain HTTP.
        Err(_) if is_plain(url) => builder().tls_certs_only(authorities()).build(),
        built => built,
    }
}

fn is_plain(url: &str) -> bool {
    let url: Result<Url, _> = url.parse();
    url.is_ok_and(|url| url.scheme() == "http")
}

/// Could others on the network read what is sent there? Takes the sender's own URL type: another parser may see another
/// scheme or host in the same text.
pub(crate) fn is_exposed(url: &Url) -> bool {
    url.scheme() == "http" && !is_on_this_machine(url)
}

fn is_on_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address: Result<IpAddr, _> = host.parse();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
