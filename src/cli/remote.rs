//! Which server a command asks, and as whom.

use reqwest::Url;

use super::error::CliError;
use super::logins::{Login, Logins};
use super::trust::{check_privacy, read_authorities};
use crate::client::{Http, HttpParts, Server};
use crate::config::{ConnectionSettings, RemoteSettings, proxy_variables, token_variable};
use crate::public_url::PublicUrl;

/// The platform exchanges API tokens at another host than that of its API.
const PLATFORM: (&str, &str) = (".scalingo.com", "https://auth.scalingo.com");

/// The server that is meant, by flag, environment or login.
pub(super) fn connect(settings: &RemoteSettings) -> Result<Server, CliError> {
    let logins = match (&settings.url, token_variable()) {
        // Nothing is wanted of it, so it may be whatever it is.
        (Some(_), Some(_)) => Logins::default(),
        _ => Logins::read()?,
    };
    let current = || logins.current().ok_or(CliError::NoServer);
    let url = settings.url.clone().map_or_else(current, Ok)?;
    let kept = logins.of(&url);
    let kept_auth_url = kept.as_ref().and_then(|login| login.auth_url.clone());
    let kept = kept.map(|login| login.token);
    let token = token_variable().or(kept).ok_or_else(|| {
        let url = url.clone();
        CliError::NotLoggedIn { url }
    })?;
    let auth_url = settings.auth_url.clone().or(kept_auth_url);
    let login = Login { token, auth_url };
    connect_as(&url, login, &settings.connection)
}

pub(super) fn connect_as(
    url: &PublicUrl,
    login: Login,
    settings: &ConnectionSettings,
) -> Result<Server, CliError> {
    let auth_url = login.auth_url.unwrap_or_else(|| usual_auth_url(url));
    check_privacy(url, settings.plain_http)?;
    check_privacy(&auth_url, settings.plain_http)?;
    let http = http(&url.to_string(), settings)?;
    Ok(Server::new(http, url.clone(), auth_url, login.token))
}

/// A client for `url`, which may be a link.
pub(super) fn http(url: &str, settings: &ConnectionSettings) -> Result<Http, CliError> {
    let authorities = settings.cacert.as_deref();
    let parts = HttpParts {
        authorities: authorities.map_or(Ok(Vec::new()), read_authorities)?,
        proxies: proxy_variables(),
        idle_timeout: settings.idle_timeout,
    };
    Ok(Http::new(url, &parts)?)
}

fn usual_auth_url(url: &PublicUrl) -> PublicUrl {
    let (domain, auth_url) = PLATFORM;
    let is_platform = |url: Url| {
        let host = url.host_str().unwrap_or_default();
        url.scheme() == "https" && host.ends_with(domain)
    };
    if url.to_string().parse().is_ok_and(is_platform) {
        auth_url.parse().unwrap_or_else(|_| url.clone())
    } else {
        url.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token must not go where only the name looks like the platform's.
    #[test]
    fn the_platform_is_known_by_its_own_hosts_alone() {
        for (url, auth_url) in [
            (
                "https://api.osc-fr1.scalingo.com",
                "https://auth.scalingo.com",
            ),
            (
                "HTTPS://API.osc-fr1.Scalingo.com:443/",
                "https://auth.scalingo.com",
            ),
            (
                "https://api.scalingo.com.example.org",
                "https://api.scalingo.com.example.org",
            ),
            ("https://notscalingo.com", "https://notscalingo.com"),
            ("http://api.scalingo.com", "http://api.scalingo.com"),
            (
                "https://x.example/a.scalingo.com",
                "https://x.example/a.scalingo.com",
            ),
        ] {
            let found = usual_auth_url(&url.parse().unwrap()).to_string();
            assert_eq!(found, auth_url, "{url}");
        }
    }
}
