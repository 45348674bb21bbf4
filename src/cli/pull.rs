//! `waystation pull`: fetches an archive by its link, checks it, and unpacks it if that is asked for.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytesize::ByteSize;
use serde::Serialize;
use tempfile::{NamedTempFile, TempDir};

use super::archive::{blocking, copy_to_standard_output};
use super::error::CliError;
use super::print::{print, print_json};
use super::remote::http;
use super::screen::Screen;
use super::trust::{check_link_privacy, link_in};
use crate::client::{Downloaded, download};
use crate::clock::Clock;
use crate::config::{PullSettings, temporary_folder};
use crate::error_chain::printable;
use crate::pack::{UnpackLimits, unpack};
use crate::secret::Secret;

/// What an archive is called of which nothing is said.
const USUAL_NAME: &str = "archive";
/// What a file or folder is called that is not whole yet.
const PARTIAL: &str = ".waystation-";
const TREE: &str = "tree";

/// What was fetched, as `--json` prints it.
#[derive(Serialize)]
struct PullAnswer {
    download: PulledArchive,
}

#[derive(Serialize)]
struct PulledArchive {
    /// The file, or the folder that it was unpacked to; null for standard output.
    path: Option<String>,
    size: u64,
    sha256: String,
    /// The server said which digest it has to be.
    is_checked: bool,
}

pub(super) async fn pull(settings: PullSettings) -> Result<(), CliError> {
    let screen = Screen::new(settings.print.quiet);
    let link = link_of(&settings.link).await?;
    check_link_privacy(&link, settings.connection.plain_http)?;
    let to_terminal = settings.output.as_deref() == Some(Path::new("-"));
    if to_terminal && (settings.print.json || io::stdout().is_terminal()) {
        return Err(CliError::NotToTerminal);
    }
    let pulled = if let Some(folder) = &settings.unpack {
        pull_and_unpack(&settings, &link, folder, &screen).await?
    } else if to_terminal {
        let file = tempfile::tempfile_in(temporary_folder());
        let mut file = file.map_err(CliError::TemporaryFile)?;
        let fetched = fetch(&settings, &link, &mut file, &screen).await?;
        blocking(move || copy_to_standard_output(&mut file).map_err(CliError::Print)).await?;
        Pulled::to(None, fetched)
    } else {
        pull_to_file(&settings, &link, &screen).await?
    };
    pulled.print(settings.print.json)
}

struct Pulled {
    path: Option<PathBuf>,
    fetched: Downloaded,
}

impl Pulled {
    fn to(path: Option<PathBuf>, fetched: Downloaded) -> Self {
        Self { path, fetched }
    }

    fn print(self, as_json: bool) -> Result<(), CliError> {
        let path = self.path.map(|path| path.to_string_lossy().into_owned());
        if as_json {
            return print_json(&PullAnswer {
                download: PulledArchive {
                    path,
                    size: self.fetched.bytes,
                    sha256: self.fetched.sha256.to_string(),
                    is_checked: self.fetched.is_checked,
                },
            });
        }
        path.map_or(Ok(()), |path| print(&printable(&path)))
    }
}

/// The link, from the command line or from standard input.
async fn link_of(link: &Secret) -> Result<Secret, CliError> {
    if link.reveal() != "-" {
        return Ok(link.clone());
    }
    blocking(|| link_in(io::stdin().lock()).map_err(CliError::Link)).await
}

async fn fetch(
    settings: &PullSettings,
    link: &Secret,
    into: &mut File,
    screen: &Arc<Screen>,
) -> Result<Downloaded, CliError> {
    let http = http(link.reveal(), &settings.connection)?;
    let (progress, bar) = screen.transfer("downloading");
    let fetched = download(&http, link, into, &progress).await;
    drop(bar);
    let fetched = fetched?;
    if !fetched.is_checked {
        screen.warn("the server named no digest, so what came cannot be checked");
    }
    Ok(fetched)
}

/// To a name beside the file, which takes its place once it is whole.
async fn pull_to_file(
    settings: &PullSettings,
    link: &Secret,
    screen: &Arc<Screen>,
) -> Result<Pulled, CliError> {
    let named = settings.output.as_deref();
    let folder = named.and_then(Path::parent).unwrap_or(Path::new(""));
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let failed = |path: &Path, source| CliError::Path {
        path: path.to_owned(),
        source,
    };
    let partial = tempfile::Builder::new()
        .prefix(PARTIAL)
        .make_in(folder, create);
    let mut partial: NamedTempFile = partial.map_err(|error| failed(folder, error))?;
    let fetched = fetch(settings, link, partial.as_file_mut(), screen).await?;
    let path = match named {
        Some(path) => path.to_owned(),
        None => PathBuf::from(fetched.file_name.as_deref().unwrap_or(USUAL_NAME)),
    };
    // What has the name that nobody gave is not replaced.
    let put = match named {
        Some(_) => partial.persist(&path),
        None => partial.persist_noclobber(&path),
    };
    put.map_err(|error| failed(&path, error.error))?;
    let size = ByteSize(fetched.bytes);
    screen.note(&format!("fetched {size}, SHA-256 {}", fetched.sha256));
    Ok(Pulled::to(Some(path), fetched))
}

/// As any other file that is fetched: the umask says who may read it.
fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true).open(path)
}

/// Into a folder beside it, which takes its place once all is there.
async fn pull_and_unpack(
    settings: &PullSettings,
    link: &Secret,
    folder: &Path,
    screen: &Arc<Screen>,
) -> Result<Pulled, CliError> {
    check_empty(folder)?;
    let file = tempfile::tempfile_in(temporary_folder());
    let mut file = file.map_err(CliError::TemporaryFile)?;
    let fetched = fetch(settings, link, &mut file, screen).await?;
    let limits = settings.limits.limits();
    let started_at = Instant::now();
    let bar = screen.bar(move || format!("unpacking, {}s", started_at.elapsed().as_secs()));
    let is_stopped = Arc::new(AtomicBool::new(false));
    let stop = StopUnpacking(Arc::clone(&is_stopped));
    let archive = Stoppable { file, is_stopped };
    let into = folder.to_owned();
    let unpacked = blocking(move || unpack_to(archive, &into, limits)).await?;
    drop((bar, stop));
    screen.note(&format!("unpacked {unpacked} files, links and folders"));
    Ok(Pulled::to(Some(folder.to_owned()), fetched))
}

fn check_empty(folder: &Path) -> Result<(), CliError> {
    let failed = |source| CliError::Path {
        path: folder.to_owned(),
        source,
    };
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(failed(io::ErrorKind::DirectoryNotEmpty.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn unpack_to(archive: Stoppable, folder: &Path, limits: UnpackLimits) -> Result<usize, CliError> {
    let failed = |source| CliError::Path {
        path: folder.to_owned(),
        source,
    };
    let beside = folder
        .parent()
        .filter(|above| !above.as_os_str().is_empty());
    let beside = beside.unwrap_or(Path::new("."));
    let partial = tempfile::Builder::new().prefix(PARTIAL).tempdir_in(beside);
    let partial: TempDir = partial.map_err(failed)?;
    let tree = partial.path().join(TREE);
    fs::create_dir(&tree).map_err(failed)?;
    let unpacked = unpack(archive, &tree, limits, Clock::System.now())?;
    // An empty folder may be in its place, and goes.
    fs::rename(&tree, folder).map_err(failed)?;
    Ok(unpacked.entries)
}

/// An archive that cannot be read any more once nobody waits for what is in it.
struct Stoppable {
    file: File,
    is_stopped: Arc<AtomicBool>,
}

impl Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        self.file.read(buffer)
    }
}

impl Seek for Stoppable {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

struct StopUnpacking(Arc<AtomicBool>);

impl Drop for StopUnpacking {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
