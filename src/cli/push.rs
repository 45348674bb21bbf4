//! `waystation push`: packs, uploads, prints the download link.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use serde::Serialize;

use super::archive::{Made, make};
use super::error::CliError;
use super::print::{print, print_json};
use super::remote::connect;
use super::screen::Screen;
use super::trust::check_link_privacy;
use crate::client::{ClientError, Server, ask, upload};
use crate::config::{ConnectionSettings, PackSettings, PushSettings};
use crate::pack::named;
use crate::secret::Secret;
use crate::wire::sources::UploadReport;

/// Links that are older are not used for an upload that is only to begin.
const FRESH: Duration = Duration::from_secs(30);

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
    let screen = Screen::new(settings.access.output.quiet);
    let server = connect(&settings.access.remote)?;
    let (connection, pack) = (&settings.access.remote.connection, &settings.pack);
    let pushed = send(&server, connection, &settings.path, pack, &screen).await?;
    if !settings.access.output.json {
        return print(pushed.download_link.reveal());
    }
    let expires_at = pushed.report.map(|report| report.expires_at.to_string());
    print_json(&PushAnswer {
        source: PushedSource {
            download_url: pushed.download_link.reveal(),
        },
        upload: PushedUpload {
            size: pushed.made.archive.bytes,
            sha256: pushed.made.archive.sha256().await?.to_string(),
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

/// The links of a source, which live for some minutes from when they are made.
struct Links {
    upload: Secret,
    download: Secret,
}

impl Links {
    /// The server may name another host than its own, so what it names is held to the same rule.
    async fn create(server: &Server, settings: &ConnectionSettings) -> Result<Self, CliError> {
        let links = server.create_source().await?;
        let upload = links.upload_url.into();
        check_link_privacy(&upload, settings.plain_http)?;
        Ok(Self {
            upload,
            download: links.download_url.into(),
        })
    }
}

/// Packs and uploads.
pub(super) async fn send(
    server: &Server,
    connection: &ConnectionSettings,
    path: &Path,
    settings: &PackSettings,
    screen: &Arc<Screen>,
) -> Result<Pushed, CliError> {
    // Refusals come before all the work: of the token, and of what is larger than the server takes.
    let started_at = Instant::now();
    let mut links = Links::create(server, connection).await?;
    let offer = ask(server.http(), &links.upload).await?;
    let limit_bytes = offer.and_then(|offer| offer.limit_bytes);
    let made = make(path, settings, limit_bytes.unwrap_or(u64::MAX), screen).await?;
    if offer.is_none() {
        // What is sent whole is sent with its digest, and the links must not age while that is computed.
        made.archive.sha256().await?;
    }
    if started_at.elapsed() > FRESH {
        links = Links::create(server, connection).await?;
    }
    let (progress, bar) = screen.transfer("uploading");
    let (http, link) = (server.http(), &links.upload);
    let sent = upload(http, link, &made.archive, offer, &progress).await;
    drop(bar);
    let report = sent.map_err(|error| explain(error, &made))?;
    let size = ByteSize(made.archive.bytes);
    screen.note(&match made.files {
        Some(files) => format!("pushed {files} files, {size}"),
        None => format!("pushed {size}"),
    });
    Ok(Pushed {
        download_link: links.download,
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
