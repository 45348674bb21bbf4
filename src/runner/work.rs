//! The runner's folder: private, of one runner at a time, and empty when it starts. Every path in it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::error_chain::chain;
use crate::ownership::{self, OwnershipError};

const PRIVATE_FOLDER: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error("cannot {doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("another runner works in {}: give each its own --work-dir", .0.display())]
    InUse(PathBuf),
    #[error(
        "other users can read {} (mode {mode:04o}), where archives and variables are stored: run 'chmod 700 {}', or give a --work-dir that does not exist yet",
        path.display(), path.display()
    )]
    Open { path: PathBuf, mode: u32 },
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
}

/// The folder of a runner, locked for as long as it runs.
pub(super) struct WorkFolder {
    jobs: PathBuf,
    next_job: u64,
    _lock: File,
}

/// The folder of one deployment, removed with its contents.
pub(super) struct JobFolder {
    /// The home of the command.
    pub(super) home: PathBuf,
}

/// Makes a runner's folder, if it is not there. Nobody else may look into it.
pub fn make_work_dir(path: &Path) -> Result<(), WorkError> {
    ownership::check_folder(path)?;
    make_private(path, true).map_err(failed("make", path))?;
    let metadata = fs::metadata(path).map_err(failed("inspect", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(WorkError::Open { path, mode });
    }
    Ok(())
}

/// Where a server that starts a runner puts the token for it.
pub fn token_file(work_dir: &Path) -> PathBuf {
    work_dir.join("token")
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WorkError {
    let path = path.to_owned();
    move |source| WorkError::Io {
        doing,
        path,
        source,
    }
}

impl WorkFolder {
    pub(super) fn open(path: &Path) -> Result<Self, WorkError> {
        let path = &std::path::absolute(path).map_err(failed("find", path))?;
        make_work_dir(path)?;
        let lock_path = path.join("lock");
        let lock = File::create(&lock_path).map_err(failed("make", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(WorkError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed("lock", &lock_path)(source)),
        }
        let jobs = path.join("jobs");
        make_private(&jobs, false).map_err(failed("make", &jobs))?;
        Ok(Self {
            jobs,
            next_job: 1,
            _lock: lock,
        })
    }

    /// Where the folders of deployments are.
    pub(super) fn jobs(&self) -> &Path {
        &self.jobs
    }

    /// An empty folder for the next deployment.
    pub(super) fn begin_job(&mut self) -> io::Result<JobFolder> {
        loop {
            let home = self.jobs.join(self.next_job.to_string());
            self.next_job += 1;
            match DirBuilder::new().mode(PRIVATE_FOLDER).create(&home) {
                Ok(()) => {
                    let job = JobFolder { home };
                    make_private(&job.tree(), false)?;
                    return Ok(job);
                }
                // What could not be removed is left alone.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes what deployments left, this runner's and those before it.
    pub(super) fn empty(&self) {
        if let Err(error) = empty(&self.jobs) {
            let path = self.jobs.display();
            tracing::error!(
                error = chain(&error),
                "cannot remove all that deployments left in {path}"
            );
        }
    }
}

impl JobFolder {
    pub(super) fn archive(&self) -> PathBuf {
        self.home.join("archive")
    }

    /// What the archive is unpacked to.
    pub(super) fn tree(&self) -> PathBuf {
        self.home.join("tree")
    }

    pub(super) fn variables(&self) -> PathBuf {
        self.home.join("variables")
    }

    pub(super) fn variables_as_json(&self) -> PathBuf {
        self.home.join("variables.json")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.home.join("log")
    }
}

/// A new file that only its owner can read.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(PRIVATE_FILE)
        .open(path)
}

fn make_private(path: &Path, with_parents: bool) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.mode(PRIVATE_FOLDER).recursive(with_parents);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Removes all that is in a folder, however deep it is: a build may nest folders until no path reaches the last
/// and no process can hold them all open. Each folder is first moved to the top, so that none is ever deep.
fn empty(top: &Path) -> io::Result<()> {
    let mut first_error = None;
    let mut number = 0u64;
    let mut left = VecDeque::from(names_in(top)?);
    while let Some(name) = left.pop_front() {
        let path = top.join(&name);
        let removed = fs::symlink_metadata(&path).and_then(|metadata| {
            if !metadata.is_dir() {
                return fs::remove_file(&path);
            }
            // A folder without rights keeps its own owner out.
            fs::set_permissions(&path, Permissions::from_mode(PRIVATE_FOLDER))?;
            for inner in names_in(&path)? {
                let inner = path.join(inner);
                if !fs::symlink_metadata(&inner)?.is_dir() {
                    fs::remove_file(&inner)?;
                    continue;
                }
                fs::set_permissions(&inner, Permissions::from_mode(PRIVATE_FOLDER))?;
                let flat = loop {
                    let flat = OsString::from(format!("removed-{number}"));
                    number += 1;
                    if fs::symlink_metadata(top.join(&flat)).is_err() {
                        break flat;
                    }
                };
                fs::rename(&inner, top.join(&flat))?;
                left.push_back(flat);
            }
            fs::remove_dir(&path)
        });
        if let Err(error) = removed {
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(()), Err)
}

fn names_in(folder: &Path) -> io::Result<Vec<OsString>> {
    let entries = fs::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.file_name())).collect()
}
