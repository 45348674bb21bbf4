//! What all parts of a store in a folder share: its settings and state, and the calls to the file system
//! that several of them make.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::fs::{Mode, OFlags};

use super::attempt_book::AttemptBook;
use super::faults::Faults;
use super::layout::{ExpirySecond, Layout};
use super::slot::Durable;
use super::threads::{Threads, Work};
use super::turns::Turns;
use crate::source::SourceId;
use crate::store::error::{Result, StoreError, settle};
use crate::store::journal::JournalKey;

/// Whether what is published outlives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sync {
    /// Files and folders are synced to the device before an upload is answered.
    On,
    /// They are written, and outlive the server's end by any signal, but not a power cut.
    Off,
}

/// A folder that keeps archives, documents and journals.
#[derive(Debug)]
pub struct FolderStore {
    pub(super) layout: Layout,
    sync: Sync,
    pub(super) faults: Faults,
    pub(super) threads: Threads,
    pub(super) keep_free_bytes: u64,
    /// What uploads have announced and not written yet.
    pub(super) reserved_bytes: Mutex<u64>,
    /// Seconds whose folder is there, durably, as far as this process knows.
    pub(super) durable_seconds: Mutex<HashSet<ExpirySecond>>,
    pub(super) turns: Arc<Turns<SourceId>>,
    pub(super) journal_turns: Arc<Turns<JournalKey>>,
    /// What is durable of the journals that this process appends to, or lately did.
    pub(super) known_journals: Mutex<HashMap<JournalKey, Durable>>,
    /// One request to an attempt at a time.
    pub(super) attempt_turns: Arc<Turns<SourceId>>,
    /// The attempts that can go on: one for a source.
    pub(super) attempt_book: Mutex<AttemptBook>,
    pub(super) claim: OnceLock<Claim>,
}

/// That this process is the store's server.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) id: (u64, u64),
    pub(super) _file: File,
}

/// What tells a file from all others.
pub(super) fn id_of(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// How files of the store are opened for writing: for its owner only.
pub(super) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Nobody waits for the other end of a pipe that somebody has put where a file should be.
pub(super) const TO_READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);

pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    Ok(rustix::fs::open(path, TO_READ, Mode::empty())?.into())
}

impl FolderStore {
    pub(super) fn new(root: PathBuf, sync: Sync, keep_free_bytes: u64, faults: Faults) -> Self {
        Self {
            layout: Layout::below(root),
            sync,
            faults,
            threads: Threads::default(),
            keep_free_bytes,
            reserved_bytes: Mutex::default(),
            turns: Arc::default(),
            journal_turns: Arc::default(),
            attempt_turns: Arc::default(),
            attempt_book: Mutex::default(),
            known_journals: Mutex::default(),
            durable_seconds: Mutex::default(),
            claim: OnceLock::new(),
        }
    }

    /// Where this store keeps its own key ring.
    pub fn key_file(&self) -> PathBuf {
        self.layout.keys()
    }

    /// Where a first start that nobody watches leaves the API token that it makes.
    pub fn first_token_file(&self) -> PathBuf {
        self.layout.first_token()
    }

    /// Runs work of this kind where it may wait for the disk.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        kind: Work,
        work: impl FnOnce(&Arc<Self>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = Arc::clone(self);
        let thread = self.threads.reserve(kind).await;
        settle(thread.start(move || work(&store)).await)
    }

    /// Drops what removes a file when it is dropped, where that may block.
    pub(super) async fn drop_waiting<T: Send + 'static>(self: &Arc<Self>, dropped: T) {
        let removal = move |_: &Arc<Self>| {
            drop(dropped);
            Ok(())
        };
        // Only the server's end can keep it from running, and that drops it as well.
        let _ = self.run(Work::Write, removal).await;
    }

    /// Makes a call to the file system, known to tests as `name`. An error says what it was for. What is not
    /// found is only missing if the store is there.
    pub(super) fn call<T>(
        &self,
        name: &'static str,
        doing: &'static str,
        path: &Path,
        call: impl FnOnce() -> io::Result<T>,
    ) -> Result<T> {
        let error = match self.faults.call(name, call) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if error.kind() == io::ErrorKind::NotFound {
            self.check_there()?;
        }
        Err(StoreError::of_system(name, doing, path, error))
    }

    /// Is this still the store that this server has claimed? Its file system may have been unmounted, or its
    /// folder moved away, and another server may have made a store in its place.
    pub(super) fn check_there(&self) -> Result<()> {
        let Some(claim) = self.claim.get() else {
            return Ok(());
        };
        let path = self.layout.lock();
        match self
            .faults
            .call("stat", || fs::metadata(&path).map(|file| id_of(&file)))
        {
            Ok(id) if id == claim.id => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::of_system("stat", "inspect", &path, error))
            }
            Ok(_) | Err(_) => Err(StoreError::Gone {
                path: self.layout.root().to_owned(),
            }),
        }
    }

    /// Makes a folder, and those above it that are missing.
    pub(super) fn make_with_parents(&self, path: &Path) -> Result<()> {
        let parent = parent_of(path);
        if !parent.exists() {
            self.make_with_parents(parent)?;
        }
        self.make_folder(path)
    }

    pub(super) fn make_folders(&self) -> Result<()> {
        let folders = self.layout.folders();
        folders.iter().try_for_each(|path| self.make_folder(path))
    }

    /// Makes a folder, durably, unless it is there. Each that is made needs its name synced in the one
    /// above, or a power cut takes all that is below it.
    pub(super) fn make_folder(&self, path: &Path) -> Result<()> {
        if self.make_name(path)? {
            self.sync_folder(parent_of(path))?;
        }
        Ok(())
    }

    /// Makes a folder, but not its name durable; says whether it was not there.
    pub(super) fn make_name(&self, path: &Path) -> Result<bool> {
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        let made = self.call("mkdir", "make the folder", path, || builder.create(path));
        match made {
            Err(error) if error.io_kind() == Some(io::ErrorKind::AlreadyExists) => {
                let there = self.call("stat", "inspect", path, || fs::metadata(path))?;
                if there.is_dir() {
                    Ok(false)
                } else {
                    Err(error)
                }
            }
            made => made.map(|()| true),
        }
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync_folder(&self, path: &Path) -> Result<()> {
        self.sync("fsync", "sync the folder", path, || {
            File::open(path)?.sync_all()
        })
    }

    /// Makes everything durable that is on the store's file system.
    pub(super) fn sync_file_system(&self) -> Result<()> {
        let root = self.layout.root();
        self.sync("syncfs", "sync the file system of", root, || {
            Ok(rustix::fs::syncfs(File::open(root)?)?)
        })
    }

    /// Makes a file's bytes durable.
    pub(super) fn sync_file(&self, file: &File, path: &Path) -> Result<()> {
        self.sync("fdatasync", "sync", path, || file.sync_data())
    }

    fn sync(
        &self,
        name: &'static str,
        doing: &'static str,
        path: &Path,
        call: impl FnOnce() -> io::Result<()>,
    ) -> Result<()> {
        match self.sync {
            Sync::On => self.call(name, doing, path, call),
            Sync::Off => Ok(()),
        }
    }

    /// Opens a file that is there to be locked.
    pub(super) fn open_lock(&self, path: &Path) -> Result<File> {
        let mut options = private_file();
        options.create(true).truncate(false);
        self.call("open", "open", path, || options.open(path))
    }

    /// The right that goes with a file, given back when it is dropped, or by the system when the process ends.
    pub(super) fn take_lock(&self, path: &Path) -> Result<File> {
        let file = self.open_lock(path)?;
        self.call("flock", "lock", path, || file.lock())?;
        Ok(file)
    }

    /// Removes a file; says whether it was there.
    pub(super) fn remove_file(&self, path: &Path) -> Result<bool> {
        match self.faults.call("unlink", || fs::remove_file(path)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::of_system("unlink", "delete", path, error)),
        }
    }

    /// Removes a folder; that it is not empty yet, or gone already, is no failure.
    pub(super) fn remove_if_empty(&self, folder: &Path) -> Result<()> {
        match self.call("rmdir", "remove", folder, || fs::remove_dir(folder)) {
            Err(error)
                if !matches!(
                    error.io_kind(),
                    Some(io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty)
                ) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// The names in a folder; none if it is not there. One that is no text is none of ours.
    pub(super) fn list_names(&self, folder: &Path) -> Result<Vec<String>> {
        let list = || {
            let entries = fs::read_dir(folder)?;
            let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.collect()
        };
        match self.call("getdents", "list", folder, list) {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            names => names,
        }
    }
}

/// The folder in which a path has its name.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
