//! From what a user names, a folder, a commit, an archive or standard input, to an archive that can be uploaded.

use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytesize::ByteSize;

use super::error::CliError;
use super::screen::Screen;
use crate::client::Archive;
use crate::config::{PackSettings, temporary_folder};
use crate::media::{MAGIC_BYTES, MediaType};
use crate::pack::{
    Compression, Culprit, IgnoreRules, PackProgress, Packed, Tree, Warning, list, list_commit,
    named, pack,
};

/// Above this size the largest files are named: something is probably there by mistake.
const LARGE_BYTES: u64 = 100 * 1024 * 1024;
/// How many warnings are shown.
const SHOWN_WARNINGS: usize = 20;

/// An archive, and what is known of what is in it.
pub(super) struct Made {
    pub(super) archive: Archive,
    /// How many files were packed; none if it was an archive already.
    pub(super) files: Option<usize>,
    pub(super) largest: Vec<Culprit>,
}

/// Makes the archive of `path`, of `limit_bytes` at most.
pub(super) async fn make(
    path: &Path,
    settings: &PackSettings,
    limit_bytes: u64,
    screen: &Arc<Screen>,
) -> Result<Made, CliError> {
    if path.as_os_str() == "-" {
        check_for_archive(settings, path)?;
        return blocking(read_standard_input).await;
    }
    let path = path.to_owned();
    let metadata = fs::metadata(&path).map_err(|source| CliError::Path {
        path: path.clone(),
        source,
    })?;
    if metadata.is_dir() {
        return make_of_folder(&path, settings, limit_bytes, screen).await;
    }
    check_for_archive(settings, &path)?;
    blocking(move || {
        let file = File::open(&path);
        file.and_then(finish)
            .map_err(|source| CliError::Path { path, source })
    })
    .await
}

/// What says how a folder is packed says nothing about an archive.
fn check_for_archive(settings: &PackSettings, path: &Path) -> Result<(), CliError> {
    let is_about_folders = settings.git.is_some()
        || settings.root.is_some()
        || settings.no_ignore
        || settings.compress != Compression::default();
    if is_about_folders {
        let path = path.to_owned();
        return Err(CliError::PackedAlready { path });
    }
    Ok(())
}

async fn make_of_folder(
    path: &Path,
    settings: &PackSettings,
    limit_bytes: u64,
    screen: &Arc<Screen>,
) -> Result<Made, CliError> {
    let (tree, root) = list_folder(path, settings, screen).await?;
    let file = tempfile::tempfile_in(temporary_folder()).map_err(CliError::TemporaryFile)?;
    let into = file.try_clone().map_err(CliError::TemporaryFile)?;
    let (files, largest, total) = (tree.files(), tree.largest(), tree.entries().len());
    let progress = Arc::new(PackProgress::default());
    let watched = Arc::clone(&progress);
    let stop = StopPacking(Arc::clone(&progress));
    let started_at = Instant::now();
    let bar = screen.bar(move || {
        let entries = watched.entries.load(Ordering::Relaxed);
        let written = ByteSize(watched.written.load(Ordering::Relaxed));
        let seconds = started_at.elapsed().as_secs();
        format!("packing {entries} of {total} files and folders, {written} so far, {seconds}s")
    });
    let compression = settings.compress;
    let packed = blocking(move || {
        let packed = pack(&tree, &root, compression, into, limit_bytes, &progress);
        packed.map_err(CliError::from)
    });
    let Packed { written, warnings } = packed.await?;
    drop((bar, stop));
    show_warnings(&warnings, settings, screen)?;
    if written.bytes > LARGE_BYTES {
        let size = ByteSize(written.bytes);
        screen.note(&format!(
            "the archive has {size}; the largest files: {}",
            named(&largest)
        ));
    }
    let media_type = upload_type(match compression {
        Compression::Gzip { .. } => MediaType::Gzip,
        Compression::Zstd { .. } => MediaType::Zstd,
        Compression::None => MediaType::Tar,
    });
    Ok(Made {
        archive: Archive::packed(file, written.bytes, written.sha256, media_type),
        files: Some(files),
        largest,
    })
}

/// What of a folder is packed, and what its root is called. Warnings are shown.
pub(super) async fn list_folder(
    path: &Path,
    settings: &PackSettings,
    screen: &Screen,
) -> Result<(Tree, Vec<u8>), CliError> {
    let failed = |source| CliError::Path {
        path: path.to_owned(),
        source,
    };
    // A folder that is a link is what it leads to.
    let folder = fs::canonicalize(path).map_err(failed)?;
    let root = match (&settings.root, folder.file_name()) {
        (Some(root), _) => root.as_bytes().to_vec(),
        (None, Some(name)) => name.as_bytes().to_vec(),
        (None, None) => return Err(CliError::NoRoot),
    };
    let rules = if settings.no_ignore {
        IgnoreRules::Pass
    } else {
        IgnoreRules::Follow
    };
    let git_ref = settings.git.clone();
    let tree = blocking(move || {
        let tree = match git_ref {
            Some(git_ref) => list_commit(&folder, &git_ref),
            None => list(&folder, rules),
        };
        tree.map_err(CliError::from)
    });
    let tree = tree.await?;
    show_warnings(tree.warnings(), settings, screen)?;
    Ok((tree, root))
}

fn show_warnings(
    warnings: &[Warning],
    settings: &PackSettings,
    screen: &Screen,
) -> Result<(), CliError> {
    for warning in warnings.iter().take(SHOWN_WARNINGS) {
        screen.warn(&warning.to_string());
    }
    if let Some(more @ 1..) = warnings.len().checked_sub(SHOWN_WARNINGS) {
        screen.warn(&format!("{more} more of that kind"));
    }
    if settings.strict && !warnings.is_empty() {
        let count = warnings.len();
        return Err(CliError::Strict { count });
    }
    Ok(())
}

/// Nobody waits any more for what is packed.
struct StopPacking(Arc<PackProgress>);

impl Drop for StopPacking {
    fn drop(&mut self) {
        self.0.is_stopped.store(true, Ordering::Relaxed);
    }
}

fn read_standard_input() -> Result<Made, CliError> {
    let kept = tempfile::tempfile_in(temporary_folder());
    let mut kept = kept.map_err(CliError::TemporaryFile)?;
    let path = || PathBuf::from("-");
    io::copy(&mut io::stdin().lock(), &mut kept)
        .and_then(|_| finish(kept))
        .map_err(|source| CliError::Path {
            path: path(),
            source,
        })
}

/// An archive that there was.
fn finish(file: File) -> io::Result<Made> {
    let mut head = vec![0; MAGIC_BYTES];
    let read = file.read_at(&mut head, 0)?;
    let media_type = MediaType::of(&head[..read]);
    Ok(Made {
        archive: Archive::of_file(file, upload_type(media_type))?,
        files: None,
        largest: Vec::new(),
    })
}

/// The platform documents its own name for gzip.
const fn upload_type(media_type: MediaType) -> &'static str {
    if matches!(media_type, MediaType::Gzip) {
        "application/x-gzip"
    } else {
        media_type.name()
    }
}

/// Does what waits for the disk on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CliError> + Send + 'static,
) -> Result<T, CliError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// Writes what was fetched to standard output.
pub(super) fn copy_to_standard_output(file: &mut File) -> io::Result<()> {
    file.rewind()?;
    let mut stdout = io::stdout().lock();
    io::copy(file, &mut stdout)?;
    stdout.flush()
}
