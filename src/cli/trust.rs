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

/// Far more than a token has.
pub(super) const TOKEN_BYTES: usize = 4096;
/// Longer than any link, and it fits into a pipe that nobody reads yet.
pub(super) const LINK_BYTES: usize = 16 * 1024;

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

/// The user of the link checks that it is a URL.
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
    word_in(file, TOKEN_BYTES)?.ok_or_else(|| {
        io::Error::other(format!(
            "it has to hold one token and nothing else, in {TOKEN_BYTES} bytes"
        ))
    })
}

/// The one link that there is to read.
pub(super) fn link_in(file: impl io::Read) -> io::Result<Secret> {
    word_in(file, LINK_BYTES)?.ok_or_else(|| {
        io::Error::other(format!(
            "it has to be one link and nothing else, of up to {LINK_BYTES} bytes"
        ))
    })
}

/// The one word in a text of up to `limit` bytes. It is not cut: a part of it is another one.
fn word_in(file: impl io::Read, limit: usize) -> io::Result<Option<Secret>> {
    let mut text = String::new();
    file.take(limit as u64 + 1).read_to_string(&mut text)?;
    let word = text.trim();
    let is_word = !word.is_empty() && word.chars().all(|c| c.is_ascii_graphic());
    let is_whole = text.len() <= limit;
    Ok((is_word && is_whole).then(|| Secret::new(word.to_owned())))
}

pub(super) fn read_authorities(path: &Path) -> Result<Vec<Certificate>, CliError> {
    let failed = |source| CliError::Authorities {
        path: path.to_owned(),
        source,
    };
    let pem = fs::read(path).map_err(failed)?;
    Certificate::from_pem_bundle(&pem).map_err(|error| failed(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_whole_or_not_at_all() {
        let link_of = |bytes: usize| "x".repeat(bytes);
        for (text, is_link, is_token) in [
            (link_of(1), true, true),
            (format!(" {}\n", link_of(1)), true, true),
            (link_of(TOKEN_BYTES), true, true),
            (link_of(TOKEN_BYTES + 1), true, false),
            (link_of(LINK_BYTES), true, false),
            (link_of(LINK_BYTES + 1), false, false),
            (format!("{} x", link_of(LINK_BYTES - 1)), false, false),
            (String::new(), false, false),
            ("x y".to_owned(), false, false),
        ] {
            let read =
                |word: io::Result<Secret>| word.is_ok_and(|word| word.reveal() == text.trim());
            let what = text.len();
            assert_eq!(read(link_in(text.as_bytes())), is_link, "{what}");
            assert_eq!(read(token_in(text.as_bytes())), is_token, "{what}");
        }
    }
}
