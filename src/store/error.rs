//! What goes wrong in a store.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tokio::task::JoinError;

const NO_HARD_LINKS: &str = ": its file system has no hard links, without which nothing can be published whole; put --store on another, or in a bucket";
const NO_FOLDER_SYNC: &str = ": its file system does not sync folders, so that a power cut could undo what was answered; put --store on another, or go on without this promise with --sync off";

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Taking more in would leave less room than is to be kept free.
    #[error(
        "the store has {free_bytes} bytes free, of which {reserved_bytes} are for uploads under way and {keep_free_bytes} are kept free"
    )]
    NoRoom {
        free_bytes: u64,
        /// What uploads have announced and not written yet.
        reserved_bytes: u64,
        keep_free_bytes: u64,
    },
    /// The file system, or the quota of the user that runs the server, is full.
    #[error("the disk is full: cannot {doing} {}", path.display())]
    DiskFull { doing: &'static str, path: PathBuf },
    /// The file system, or a limit of this process, lets no file become so large.
    #[error("cannot {doing} {}: no file may be larger here (ulimit -f, or the file system)", path.display())]
    FileTooLarge { doing: &'static str, path: PathBuf },
    /// The system has no more open files, or no more memory, for this process or for all.
    #[error("cannot {doing} {}: the system has run out of open files or memory (ulimit -n)", path.display())]
    Exhausted {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot {doing} {}{hint}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        /// What the file system lacks, and the way out, or nothing.
        hint: &'static str,
        source: io::Error,
    },
    /// It was made read-only, by the system after an error of the device, or by its rights.
    #[error("the store can only be read: cannot {doing} {}", path.display())]
    ReadOnly {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Something else is now where the server found its store, or nothing.
    #[error("the store {} is not there any more: its file system was unmounted, or its folder moved away; put it back, or restart the server with the right --store", path.display())]
    Gone { path: PathBuf },
    /// What is stored is not what was once written.
    #[error("{} is corrupt: {problem}", path.display())]
    Corrupt {
        path: PathBuf,
        problem: &'static str,
    },
    #[error("{} is no store: check --store, or start 'waystation serve' with it, which makes one", path.display())]
    NoStore { path: PathBuf },
    #[error("another server is running on the store {}; stop it first, or give this one a store of its own with --store", path.display())]
    InUse { path: PathBuf },
    #[error("cannot use the bucket {bucket}: {problem}")]
    Bucket {
        bucket: String,
        problem: &'static str,
        source: object_store::Error,
    },
    /// The environment names an object store by what is no URL.
    #[error("{variable} in the environment is no endpoint: {source}")]
    Endpoint {
        variable: &'static str,
        source: super::bucket::NotAnEndpoint,
    },
    #[error("{variable} in the environment holds a control character; it is one line of text")]
    Variable { variable: String },
    #[error(
        "the object store of {bucket} has no conditional writes (If-None-Match, If-Match), so that of two uploads to one source, or two changes of one API token, that are made at once the later one would replace the first; --allow-overwrite goes on without this promise"
    )]
    NoConditionalWrites { bucket: String },
    /// Another program has put a key below the prefix that no list can go past.
    #[error(
        "another program has put the key {key:?} below the prefix of this store, and nothing behind it is found: delete it, and give that program a prefix of its own"
    )]
    ForeignKey { key: String },
    /// The object store does not answer, or not as it should.
    #[error("the object store failed: cannot {doing}")]
    Unreachable {
        doing: &'static str,
        source: object_store::Error,
    },
    #[error("the object store is full: cannot {doing}")]
    BucketFull {
        doing: &'static str,
        source: object_store::Error,
    },
    /// A document that is too long to be kept, or to have been.
    #[error("a document of {bytes} bytes is longer than {limit_bytes}")]
    DocumentTooLong { bytes: usize, limit_bytes: usize },
    /// Another writer has appended to an upload in parts, or replaced it.
    #[error("another request goes on with this upload in parts")]
    Superseded,
    #[error(
        "an upload in parts has too many parts of different lengths, of which {limit} are kept"
    )]
    TooManyParts { limit: usize },
    #[error("{bytes} bytes are more than the {limit_bytes} that are appended at once")]
    AppendTooLong { bytes: usize, limit_bytes: usize },
    /// A document is not what was once written.
    #[error("the document {key} is corrupt")]
    CorruptDocument {
        key: String,
        source: serde_json::Error,
    },
    /// Others write the same at the same time, again and again.
    #[error("others write the same at the same time")]
    Contended,
    /// The threads that serve the store are being shut down.
    #[error("the server is ending")]
    Ending,
}

impl StoreError {
    /// What an error of a system call means.
    pub(super) fn of_system(
        call: &'static str,
        doing: &'static str,
        path: &Path,
        source: io::Error,
    ) -> Self {
        let path = path.to_owned();
        let hint = match (call, Errno::from_io_error(&source)) {
            (_, Some(Errno::NOSPC | Errno::DQUOT)) => return Self::DiskFull { doing, path },
            (_, Some(Errno::FBIG)) => return Self::FileTooLarge { doing, path },
            (_, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
                return Self::Exhausted {
                    doing,
                    path,
                    source,
                };
            }
            (_, Some(Errno::ROFS))
            | ("create" | "link" | "mkdir" | "rename" | "unlink", Some(Errno::ACCESS)) => {
                return Self::ReadOnly {
                    doing,
                    path,
                    source,
                };
            }
            ("link", Some(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP)) => NO_HARD_LINKS,
            ("fsync", Some(Errno::INVAL | Errno::OPNOTSUPP)) => NO_FOLDER_SYNC,
            _ => "",
        };
        Self::Io {
            doing,
            path,
            hint,
            source,
        }
    }

    pub(super) fn is_for_want_of_links(&self) -> bool {
        matches!(self, Self::Io { hint, .. } if *hint == NO_HARD_LINKS)
    }

    /// What the system said, if it did.
    pub(super) fn io_kind(&self) -> Option<io::ErrorKind> {
        if let Self::Io { source, .. } = self {
            return Some(source.kind());
        }
        None
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::NotFound)
    }
}

/// What most of a store does may fail in these ways.
pub(super) type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What a task gave; its panic goes on in the one that asked for it.
pub fn settle<T, E: From<StoreError>>(joined: Result<Result<T, E>, JoinError>) -> Result<T, E> {
    match joined {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(StoreError::Ending.into()),
        },
    }
}
