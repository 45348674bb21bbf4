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
use crate::pack::unpack;
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
        screen.warn("the server sent no digest, so the download cannot be verified");
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
    let folder = named.map_or(Path::new("."), above);
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

async fn pull_and_unpack(
    settings: &PullSettings,
    link: &Secret,
    folder: &Path,
    screen: &Arc<Screen>,
) -> Result<Pulled, CliError> {
    // What cannot be unpacked to is refused before anything is fetched.
    let partial = PartialFolder::make(folder)?;
    let file = tempfile::tempfile_in(temporary_folder());
    let mut file = file.map_err(CliError::TemporaryFile)?;
    let fetched = fetch(settings, link, &mut file, screen).await?;
    let limits = settings.limits.limits();
    let started_at = Instant::now();
    let bar = screen.bar(move || format!("unpacking, {}s", started_at.elapsed().as_secs()));
    let is_stopped = Arc::new(AtomicBool::new(false));
    let stop = StopUnpacking(Arc::clone(&is_stopped));
    let archive = Stoppable { file, is_stopped };
    let unpacked = blocking(move || {
        let unpacked = unpack(archive, &partial.tree(), limits, Clock::System.now())?;
        partial.put_in_place()?;
        Ok(unpacked.entries)
    });
    let entries = unpacked.await?;
    drop((bar, stop));
    screen.note(&format!("unpacked {entries} files, links and folders"));
    Ok(Pulled::to(Some(folder.to_owned()), fetched))
}

/// A folder that is not whole yet: beside the one that it is to be, whose name it takes at last. If that one is there already,
/// it is within it: nothing takes the place of a mount point, or of where somebody works.
struct PartialFolder {
    folder: PathBuf,
    is_there: bool,
    room: TempDir,
}

impl PartialFolder {
    fn make(folder: &Path) -> Result<Self, CliError> {
        let made = Self::try_make(folder);
        made.map_err(|source| CliError::Path {
            path: folder.to_owned(),
            source,
        })
    }

    fn try_make(folder: &Path) -> io::Result<Self> {
        let is_there = match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
            Ok(true) => true,
            Ok(false) => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        let place = if is_there { folder } else { above(folder) };
        let room = tempfile::Builder::new().prefix(PARTIAL).tempdir_in(place)?;
        let partial = Self {
            folder: folder.to_owned(),
            is_there,
            room,
        };
        fs::create_dir(partial.tree())?;
        Ok(partial)
    }

    fn tree(&self) -> PathBuf {
        self.room.path().join(TREE)
    }

    /// Nothing that has come meanwhile is mixed with what was fetched.
    fn check_alone(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            if Some(entry?.file_name().as_os_str()) != self.room.path().file_name() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
        }
        Ok(())
    }

    fn put_in_place(self) -> Result<(), CliError> {
        let put = self.try_put();
        put.map_err(|source| CliError::Path {
            path: self.folder.clone(),
            source,
        })
    }

    fn try_put(&self) -> io::Result<()> {
        if !self.is_there {
            return fs::rename(self.tree(), &self.folder);
        }
        self.check_alone()?;
        for entry in fs::read_dir(self.tree())? {
            let entry = entry?;
            fs::rename(entry.path(), self.folder.join(entry.file_name()))?;
        }
        Ok(())
    }
}

/// The folder that a path is in.
fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        Some(_) | None => Path::new("."),
    }
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
