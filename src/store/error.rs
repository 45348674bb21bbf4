//! What goes wrong in a store.

use std::io;
use std::path::PathBuf;

/// What goes wrong in a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Taking more in would leave less room than is to be kept free.
    #[error(
        "the store has {free_bytes} bytes free, of which {reserved_bytes} are for uploads under way and {keep_free_bytes} are kept free"
    )]
    NoRoom {
        /// What is free.
        free_bytes: u64,
        /// What uploads have announced and not written yet.
        reserved_bytes: u64,
        /// What has to stay free.
        keep_free_bytes: u64,
    },
    /// The file system, or the quota of the user that runs the server, is full.
    #[error("the disk is full: cannot {doing} {}", path.display())]
    DiskFull {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is stored is not what was once written.
    #[error("{} is corrupt: {problem}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A command expects a store where none is.
    #[error("{} is no store: check --store, or start 'waystation serve' with it, which makes one", path.display())]
    NoStore {
        /// Where it looked.
        path: PathBuf,
    },
    /// Another server runs on this store.
    #[error("another server is running on the store {}; stop it first, or give this one a store of its own with --store", path.display())]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// A bucket cannot be used as it is.
    #[error("cannot use the bucket {bucket}: {problem}")]
    Bucket {
        /// Which.
        bucket: String,
        /// What to look at.
        problem: &'static str,
        /// What the object store said.
        source: object_store::Error,
    },
    /// The environment names an object store by what is no URL.
    #[error("{variable} in the environment is no endpoint: {source}")]
    Endpoint {
        /// Where it stands.
        variable: &'static str,
        /// What one looks like.
        source: super::bucket::NotAnEndpoint,
    },
    /// The object store cannot keep two writers apart.
    #[error(
        "the object store of {bucket} has no conditional writes (If-None-Match, If-Match), so that of two uploads to one source, or two changes of one API token, that are made at once the later one would replace the first; --allow-overwrite goes on without this promise"
    )]
    NoConditionalWrites {
        /// Which bucket.
        bucket: String,
    },
    /// Another program has put a key below the prefix that no list can go past.
    #[error(
        "another program has put the key {key:?} below the prefix of this store, and nothing behind it is found: delete it, and give that program a prefix of its own"
    )]
    ForeignKey {
        /// Which.
        key: String,
    },
    /// The object store does not answer, or not as it should.
    #[error("the object store failed: cannot {doing}")]
    Unreachable {
        /// What was tried.
        doing: &'static str,
        /// What the object store said.
        source: object_store::Error,
    },
    /// A document that is too long to be kept, or to have been.
    #[error("a document of {bytes} bytes is longer than {limit_bytes}")]
    DocumentTooLong {
        /// Its length.
        bytes: usize,
        /// The longest that is kept.
        limit_bytes: usize,
    },
    /// A document is not what was once written.
    #[error("the document {key} is corrupt")]
    CorruptDocument {
        /// Which.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Others write the same at the same time, again and again.
    #[error("others write the same at the same time")]
    Contended,
    /// The threads that serve the store are being shut down.
    #[error("the server is ending")]
    Ending,
}
