//! What clients and runners trust, and with what: certificates, plain HTTP, files of tokens.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use reqwest::{Certificate, Url};

use super::error::CliError;
use crate::http_client;
use crate::ownership;
use crate::public_url::PublicUrl;
use crate::secret::Secret;

/// What a token file may have: far more than a token.
const TOKEN_FILE_BYTES: u64 = 4096;

/// Token and links cross a network within TLS only, unless it is said to be meant otherwise.
pub(super) fn check_privacy(server: &PublicUrl, plain_http: bool) -> Result<(), CliError> {
    if plain_http || !is_exposed(&server.to_string()) {
        Ok(())
    } else {
        let server = server.clone();
        Err(CliError::PlainServer { server })
    }
}

/// The same of a link, which is never shown.
pub(super) fn check_link_privacy(link: &Secret, plain_http: bool) -> Result<(), CliError> {
    if plain_http || !is_exposed(link.reveal()) {
        Ok(())
    } else {
        Err(CliError::PlainLink)
    }
}

/// What is no URL is refused by whoever uses it.
fn is_exposed(text: &str) -> bool {
    let url: Result<Url, _> = text.parse();
    url.is_ok_and(|url| http_client::is_exposed(&url))
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
