//! Why a command failed, and the exit code that says so.

use std::io;
use std::net::SocketAddr;

use crate::keys::KeyError;
use crate::server::TlsError;
use crate::service::api_tokens::ApiTokenError;
use crate::service::first_start::FirstStartError;
use crate::service::sources::SourceError;
use crate::service::users::UserError;
use crate::store::StoreError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The asynchronous runtime did not start.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Users failed.
    #[error(transparent)]
    User(#[from] UserError),
    /// API tokens failed.
    #[error(transparent)]
    ApiToken(#[from] ApiTokenError),
    /// The first start failed.
    #[error(transparent)]
    FirstStart(#[from] FirstStartError),
    /// The key ring cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Links would cross a network in the clear.
    #[error(
        "refusing to serve plain HTTP on {address}, where others could read the links: give --tls-cert and --tls-key, or --plain-http if something in front of it speaks TLS"
    )]
    PlainHttp {
        /// The address.
        address: SocketAddr,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Not all that has expired was deleted.
    #[error("{failures} deletions failed, the first with: {first}")]
    Undeleted {
        /// How many.
        failures: u64,
        /// Why the first of them did.
        first: String,
    },
    /// Nothing is deleted any more.
    #[error("the task that deletes expired sources failed; the log says why")]
    Reaper,
    /// Somebody else listens on the address, or it is not ours.
    #[error("cannot listen on {address}; --listen takes another address, and port 0 a free port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Servers on a bucket need the same keys.
    #[error(
        "servers that share a bucket need the same keys: give each --key-file, or WAYSTATION_KEYS in the environment; one that made its own would refuse the links of the others"
    )]
    KeysNeeded,
    /// Only an object store can serve clients directly.
    #[error(
        "--transfers direct hands out links of the object store, so --store has to be a bucket"
    )]
    DirectNeedsBucket,
    /// No source could be made to show.
    #[error("cannot make the first source")]
    FirstSource(#[source] SourceError),
    /// Signals cannot be waited for.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    /// A second signal came while transfers were draining.
    #[error("a second signal: the transfers under way were cut off")]
    CutOff,
    /// An audit found faults.
    #[error("the store {store} has {faults} faults")]
    Faults {
        /// The store.
        store: String,
        /// How many.
        faults: usize,
    },
    /// The result cannot be printed.
    #[error("cannot print the result")]
    Print(#[source] io::Error),
}

impl CliError {
    /// 2 for wrong usage, as for a flag that cannot be read; else 1.
    pub(super) const fn exit_code(&self) -> u8 {
        if matches!(self, Self::Store(StoreError::Endpoint { .. })) {
            2
        } else {
            1
        }
    }
}
