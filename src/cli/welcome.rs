//! The first start on a store: an API token, and lines that can be pasted one after the other.
//!
//! They are printed to a terminal only. The standard output of a service ends up in a journal that others
//! can read, so there they go to a file.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::error::CliError;
use crate::api::App;
use crate::config::ServeSettings;
use crate::error_chain::chain;
use crate::public_url::PublicUrl;
use crate::secret::Secret;
use crate::service::Service;
use crate::service::first_start::make_first_token;
use crate::service::sources::Links;
use crate::store::Store;

/// How long a terminal that takes nothing (Ctrl-S) may hold up the start.
const PRINT_LIMIT: Duration = Duration::from_secs(1);

pub(super) async fn welcome(
    settings: &ServeSettings,
    store: &Store,
    app: &App,
) -> Result<(), CliError> {
    let token_line = token_line(settings);
    let Service {
        sources,
        users,
        api_tokens,
        clock,
        ..
    } = &app.service;
    let Some((token, secret)) = make_first_token(users, api_tokens, clock.now()).await? else {
        tracing::info!("to make an API token: {token_line}");
        return Ok(());
    };
    let base = app.public_url.as_ref().unwrap_or(&app.local_url);
    let links = sources.create(base).await.map_err(CliError::FirstSource)?;
    let text = first_start_text(&secret, base, &links);
    let shown = if io::stdout().is_terminal() {
        print(text).await
    } else {
        let file = settings.first_token_file.clone();
        let file = file.unwrap_or_else(|| match store {
            Store::Folder(store) => store.first_token_file(),
            Store::Bucket(_) => PathBuf::from("waystation-first-token"),
        });
        let file = std::path::absolute(&file).unwrap_or(file);
        write_private(&file, &text)
            .map(|()| tracing::info!("the first API token is in {}", file.display()))
            .map_err(|error| format!("cannot write {}: {error}", file.display()))
    };
    if let Err(why) = shown {
        // Nobody has seen it, so nobody would miss it, or revoke it.
        api_tokens.revoke(token.id).await?;
        tracing::warn!(
            "the first API token could not be shown: {why}; to make another: {token_line}"
        );
    }
    Ok(())
}

async fn print(text: String) -> Result<(), String> {
    match timeout(
        PRINT_LIMIT,
        spawn_blocking(move || super::print::print(&text)),
    )
    .await
    {
        Ok(Ok(printed)) => printed.map_err(|error| chain(&error)),
        Ok(Err(_)) | Err(_) => Err("the terminal takes nothing".to_owned()),
    }
}

/// Writes a new file that only its owner can read.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}

/// The three lines of the platform's documentation. The last two carry links of a source that was
/// made just now, so that they work as they stand.
fn first_start_text(api_token: &Secret, base: &PublicUrl, links: &Links) -> String {
    let expires_at = links.source.expires_at();
    let (upload_url, download_url) = (links.upload_url.reveal(), links.download_url.reveal());
    let api_token = api_token.reveal();
    format!(
        "This is the first start. An API token was made; it is shown only now:

  {api_token}

Create a source:

curl -H \"Accept: application/json\" -H \"Content-Type: application/json\" -H \"Authorization: Bearer {api_token}\" -X POST {base}/v1/sources

It answers with two links. These two are of a source made just now, and good until {expires_at}. Upload, then download:

curl -L -H \"Content-Type: application/x-gzip\" -X PUT --upload-file ./archive.tar.gz '{upload_url}'

curl -L -X GET -o archive.tar.gz '{download_url}'
"
    )
}

/// How to make a token for this store, as it can be pasted.
fn token_line(settings: &ServeSettings) -> String {
    let program = std::env::args_os().next();
    let program = program.unwrap_or_else(|| "waystation".into());
    let store = settings.store.store.to_string();
    let mut line = format!(
        "{} token create NAME --store {}",
        shell_word(&program.to_string_lossy()),
        shell_word(&store)
    );
    if let Some(endpoint) = &settings.store.s3_endpoint {
        write!(line, " --s3-endpoint {}", shell_word(&endpoint.to_string()))
            .expect("writing to a String does not fail");
    }
    line
}

/// A text as one word of a shell's line.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        for (text, word) in [
            ("./waystation-data", "./waystation-data"),
            ("my store", "'my store'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }
}
