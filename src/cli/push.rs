//! `waystation push`: packs, uploads, prints the download link.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytesize::ByteSize;
use serde::Serialize;

use super::archive::{Made, make};
use super::error::CliError;
use super::print::{print, print_json};
use super::remote::connect;
use super::screen::{Screen, transfer_line};
use crate::client::{ClientError, Progress, Server, upload};
use crate::config::{PackSettings, PushSettings};
use crate::pack::named;
use crate::secret::Secret;
use crate::wire::sources::UploadReport;

/// What was pushed, as `--json` prints it.
#[derive(Serialize)]
struct PushAnswer<'a> {
    source: PushedSource<'a>,
    upload: PushedUpload,
}

#[derive(Serialize)]
struct PushedSource<'a> {
    download_url: &'a str,
}

#[derive(Serialize)]
struct PushedUpload {
    size: u64,
    sha256: String,
    /// Files that were packed; null if it was an archive already.
    files: Option<usize>,
    /// When the link ends; null if the server does not say.
    expires_at: Option<String>,
}

pub(super) async fn push(settings: PushSettings) -> Result<(), CliError> {
    let screen = Screen::new(settings.output.quiet);
    let server = connect(&settings.remote)?;
    let pushed = send(&server, &settings.path, &settings.pack, &screen).await?;
    if !settings.output.json {
        return print(pushed.download_link.reveal());
    }
    let expires_at = pushed.report.map(|report| report.expires_at.to_string());
    print_json(&PushAnswer {
        source: PushedSource {
            download_url: pushed.download_link.reveal(),
        },
        upload: PushedUpload {
            size: pushed.made.archive.bytes,
            sha256: pushed.made.archive.sha256.to_string(),
            files: pushed.made.files,
            expires_at,
        },
    })
}

/// An archive that is at the server.
pub(super) struct Pushed {
    pub(super) download_link: Secret,
    made: Made,
    report: Option<UploadReport>,
}

/// Packs and uploads.
pub(super) async fn send(
    server: &Server,
    path: &Path,
    settings: &PackSettings,
    screen: &Arc<Screen>,
) -> Result<Pushed, CliError> {
    // A token that is refused is refused before all the work.
    server.sign_in().await?;
    let made = make(path, settings, u64::MAX, screen).await?;
    let links = server.create_source().await?;
    let (upload_link, download_link) = (links.upload_url.into(), links.download_url.into());
    let noted = Arc::clone(screen);
    let progress = Arc::new(Progress::new(move |text| noted.note(text)));
    let (watched, started_at) = (Arc::clone(&progress), Instant::now());
    let bar =
        screen.bar(move || transfer_line("uploading", watched.done(), watched.total(), started_at));
    let sent = upload(server.http(), &upload_link, &made.archive, &progress).await;
    drop(bar);
    let report = sent.map_err(|error| explain(error, &made))?;
    let size = ByteSize(made.archive.bytes);
    screen.note(&match made.files {
        Some(files) => format!("pushed {files} files, {size}"),
        None => format!("pushed {size}"),
    });
    Ok(Pushed {
        download_link,
        made,
        report,
    })
}

/// An archive that is too large is so because of something.
fn explain(error: ClientError, made: &Made) -> CliError {
    if error.status() == Some(413) && !made.largest.is_empty() {
        let largest = named(&made.largest);
        return CliError::TooLarge {
            source: error,
            largest,
        };
    }
    error.into()
}
