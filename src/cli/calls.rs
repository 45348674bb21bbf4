//! API calls of the commands: paths with names in them, and answers as received.

use std::fmt::Write as _;

use http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::CliError;
use crate::client::{Retry, Server};

/// A name in a path, so that it is one part of it whatever it has.
pub(super) fn segment(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            text.push(byte.into());
        } else {
            write!(text, "%{byte:02X}").expect("a String takes all");
        }
    }
    text
}

/// Changes something, and reads the answer.
pub(super) async fn change<T: DeserializeOwned>(
    server: &Server,
    method: Method,
    path: &str,
    body: Option<Value>,
    retry: Retry,
) -> Result<T, CliError> {
    let answer = server.call(method, path, body, retry).await?;
    Ok(server.read_json(answer).await?)
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn a_name_stays_one_part_of_a_path() {
        for (name, written) in [
            ("my-shop", "my-shop"),
            ("../users/self", "%2E%2E%2Fusers%2Fself"),
            ("a?b#c", "a%3Fb%23c"),
            ("ü", "%C3%BC"),
        ] {
            assert_eq!(segment(name), written);
        }
    }
}
