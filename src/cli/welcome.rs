//! What `serve` prints before it accepts: on the first start an API token, and lines that can be
//! pasted one after the other; later, how to make another token.

use std::fmt::Write as _;

use super::CliError;
use crate::api::App;
use crate::config::ServeSettings;
use crate::public_url::PublicUrl;
use crate::secret::Secret;
use crate::service::sources::Links;

pub(super) async fn print(settings: &ServeSettings, app: &App) -> Result<(), CliError> {
    let text = match app
        .service
        .accounts
        .make_first(app.service.clock.now())
        .await?
    {
        Some(api_token) => {
            let links = app
                .service
                .sources
                .create()
                .await
                .map_err(CliError::FirstSource)?;
            let base = app.public_url.as_ref().unwrap_or(&app.local_url);
            first_start_text(&api_token, base, &links)
        }
        None => format!(
            "API tokens are shown once, when they are made. To make another:\n\n  {}\n",
            token_line(settings)
        ),
    };
    super::print(&text)
}

/// The three lines of the platform's documentation. The last two carry links of a source that was
/// made just now, so that they work as they stand.
fn first_start_text(api_token: &Secret, base: &PublicUrl, links: &Links) -> String {
    let mut text = String::new();
    let expires_at = links.source.expires_at();
    let upload_url = links.upload_url(base);
    let download_url = links.download_url(base);
    let api_token = api_token.reveal();
    write!(
        text,
        "This is the first start. An API token was made; it is shown only now:

  {api_token}

Create a source:

curl -H \"Accept: application/json\" -H \"Content-Type: application/json\" -H \"Authorization: Bearer {api_token}\" -X POST {base}/v1/sources

It answers with two links. These two are of a source made just now, and good until {expires_at}. Upload, then download:

curl -L -H \"Content-Type: application/x-gzip\" -X PUT --upload-file ./archive.tar.gz '{upload_url}'

curl -L -X GET -o archive.tar.gz '{download_url}'
"
    )
    .expect("writing to a String does not fail");
    text
}

/// How to make a token for this store, as it can be pasted.
fn token_line(settings: &ServeSettings) -> String {
    let program = std::env::args().next();
    let program = program.as_deref().unwrap_or("waystation");
    let store = settings.store.store.to_string();
    let mut line = format!(
        "{} token create NAME --store {}",
        shell_word(program),
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
