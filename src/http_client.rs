//! What the HTTP clients of this program have in common: whom they believe, and that they follow no redirect by
//! themselves.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder};
use tokio_rustls::rustls::crypto::ring;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One for `url`, which believes `authorities` beside those of the system.
pub(crate) fn builder(url: &str, authorities: &[Certificate]) -> ClientBuilder {
    // The HTTP client uses the provider of the process. An error means that it has one already.
    let _ = ring::default_provider().install_default();
    let builder = Client::builder()
        .referer(false)
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT);
    // A machine without any authority can still speak plain HTTP.
    if url.starts_with("http://") {
        builder.tls_certs_only(authorities.iter().cloned())
    } else {
        builder.tls_certs_merge(authorities.iter().cloned())
    }
}
