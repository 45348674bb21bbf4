//! What clients and runners trust, and with what: certificates, plain HTTP, files of tokens.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use http::Uri;
use reqwest::Certificate;

use super::error::CliError;
use crate::ownership;
use crate::public_url::PublicUrl;
use crate::secret::Secret;

/// What a token file may have: far more than a token.
const TOKEN_FILE_BYTES: u64 = 4096;

/// Token and links cross a network within TLS only, unless it is said to be meant otherwise.
pub(super) fn check_privacy(server: &PublicUrl, plain_http: bool) -> Result<(), CliError> {
    let is_private = !is_plain(server) || is_on_this_machine(server);
    if is_private || plain_http {
        Ok(())
    } else {
        let server = server.clone();
        Err(CliError::PlainServer { server })
    }
}

/// The same of a link, which is never shown.
pub(super) fn check_link_privacy(link: &Secret, plain_http: bool) -> Result<(), CliError> {
    let (place, _query) = link.reveal().split_once('?').unwrap_or((link.reveal(), ""));
    match place.parse::<PublicUrl>() {
        Ok(url) if is_plain(&url) && !is_on_this_machine(&url) && !plain_http => {
            Err(CliError::PlainLink)
        }
        // What is no link is refused by whoever uses it.
        _ => Ok(()),
    }
}

fn is_plain(url: &PublicUrl) -> bool {
    url.to_string().starts_with("http://")
}

fn is_on_this_machine(url: &PublicUrl) -> bool {
    let url: Uri = url.to_string().parse().unwrap_or_default();
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address: Result<std::net::IpAddr, _> = host.parse();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A token that others could read, or replace, is none.
pub(super) fn read_token(path: &Path) -> Result<Secret, CliError> {
    let failed = |source| CliError::TokenFile {
        path: path.to_owned(),
        source,
    };
    ownership::check_path(path)?;
    let file = fs::File::open(path).map_err(failed)?;
    token_in(file).map_err(failed)
}

/// The one token that there is to read.
pub(super) fn token_in(file: impl io::Read) -> io::Result<Secret> {
    let mut text = String::new();
    file.take(TOKEN_FILE_BYTES).read_to_string(&mut text)?;
    let token = text.trim();
    if token.is_empty() || token.contains(|c: char| c.is_whitespace() || !c.is_ascii_graphic()) {
        return Err(io::Error::other(
            "it has to hold one token and nothing else",
        ));
    }
    Ok(Secret::new(token.to_owned()))
}

pub(super) fn read_authorities(path: &Path) -> Result<Vec<Certificate>, CliError> {
    let failed = |source| CliError::Authorities {
        path: path.to_owned(),
        source,
    };
    let pem = fs::read(path).map_err(failed)?;
    Certificate::from_pem_bundle(&pem).map_err(|error| failed(io::Error::other(error)))
}
