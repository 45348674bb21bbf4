//! Why a command failed, and the exit code that says so.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::client::ClientError;
use crate::deployment::Status;
use crate::error_chain::printable;
use crate::keys::KeyError;
use crate::ownership::OwnershipError;
use crate::pack::{PackError, UnpackError};
use crate::public_url::PublicUrl;
use crate::runner::{RunnerError, WorkError};
use crate::server::TlsError;
use crate::service::api_tokens::ApiTokenError;
use crate::service::deployments::DeploymentError;
use crate::service::first_start::FirstStartError;
use crate::service::sources::SourceError;
use crate::service::users::UserError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    ApiToken(#[from] ApiTokenError),
    #[error(transparent)]
    FirstStart(#[from] FirstStartError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(
        "refusing to serve plain HTTP on {address}, where others could read the links: give --tls-cert and --tls-key, or --plain-http if something in front of it speaks TLS"
    )]
    PlainHttp { address: SocketAddr },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    #[error(
        "the server of the store {store} runs as user {owner}, and could not read what user {own} writes: run this as that user, with 'setpriv --reuid={owner} --regid={group} --clear-groups' before it"
    )]
    NotTheOwner {
        store: String,
        owner: u32,
        group: u32,
        own: u32,
    },
    #[error("{failures} deletions failed, the first with: {first}")]
    Undeleted { failures: u64, first: String },
    #[error("the task that deletes expired sources failed; the log says why")]
    Reaper,
    #[error("cannot listen on {address}; --listen takes another address, and port 0 a free port")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(
        "servers that share a bucket need the same keys: give each --key-file, or WAYSTATION_KEYS in the environment; one that made its own would refuse the links of the others"
    )]
    KeysNeeded,
    #[error(
        "--transfers direct hands out links of the object store, so --store has to be a bucket"
    )]
    DirectNeedsBucket,
    #[error("cannot make the first source")]
    FirstSource(#[source] SourceError),
    #[error(transparent)]
    Runner(#[from] RunnerError),
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error(
        "refusing to speak plain HTTP to {server}, where others could read token and links: give an address of https, or --plain-http if the network is private"
    )]
    PlainServer { server: PublicUrl },
    #[error("cannot use the token file {}", path.display())]
    TokenFile { path: PathBuf, source: io::Error },
    #[error("cannot read the certificates in {}", path.display())]
    Authorities { path: PathBuf, source: io::Error },
    #[error("cannot watch the command")]
    Supervisor(#[source] io::Error),
    #[error("cannot find the command")]
    Command(#[source] io::Error),
    #[error("cannot find the folder of --work-dir")]
    DeployDir(#[source] io::Error),
    #[error("cannot start the runner of --deploy")]
    DeployRunner(#[source] io::Error),
    #[error("second signal: the running command was left behind")]
    RunnerCutOff,
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    #[error("second signal: the remaining transfers were cut off")]
    CutOff,
    #[error(
        "there is no app called {}; 'waystation app list' shows those there are",
        printable(asked)
    )]
    NoSuchApp { asked: String },
    #[error(
        "the app {app} has no deployment {}; 'waystation deployment list {app}' shows those it has",
        printable(id)
    )]
    NoSuchDeployment { app: String, id: String },
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error("{source}. The largest files: {largest}; a line in .waystationignore leaves one out")]
    TooLarge {
        source: ClientError,
        largest: String,
    },
    #[error(
        "no server is known: log in with 'waystation login URL', or give --url and WAYSTATION_TOKEN"
    )]
    NoServer,
    #[error(
        "no API token is known for {url}: log in with 'waystation login {url}', or set WAYSTATION_TOKEN"
    )]
    NotLoggedIn { url: PublicUrl },
    #[error(
        "refusing to use a link of plain HTTP to another machine, where others could read it: give --plain-http if the network is private"
    )]
    PlainLink,
    #[error("cannot use {}, where logins are kept", path.display())]
    Logins { path: PathBuf, source: io::Error },
    #[error("other users can read {} (mode {mode:04o}), where API tokens are stored: run 'chmod 600 {}', and log in with new ones", path.display(), path.display())]
    LoginsOpen { path: PathBuf, mode: u32 },
    #[error(
        "there is no folder for configuration: set HOME, or WAYSTATION_URL and WAYSTATION_TOKEN without a login"
    )]
    NoConfigurationFolder,
    #[error("cannot read the API token")]
    Prompt(#[source] io::Error),
    #[error("cannot read the link")]
    Link(#[source] io::Error),
    #[error("cannot use {}", path.display())]
    Path { path: PathBuf, source: io::Error },
    #[error("cannot make a temporary file; TMPDIR names the folder for them")]
    TemporaryFile(#[source] io::Error),
    #[error("{} is an archive already: --git, --root, --compress and --no-ignore are for folders", path.display())]
    PackedAlready { path: PathBuf },
    #[error(
        "the root of the file system has no name: --root says what it is called in the archive"
    )]
    NoRoot,
    #[error("{count} warnings, which are errors with --strict")]
    Strict { count: usize },
    #[error("an archive is not for a terminal, and not beside --json: give -o FILE")]
    NotToTerminal,
    #[error("the deployment {} is {status}{}", printable(id), because(reason))]
    DeploymentFailed {
        id: String,
        status: Status,
        reason: String,
    },
    #[error("variables are given as NAME=value, or line by line in --from-file")]
    NoVariable,
    #[error("there is no variable called {}", printable(name))]
    NoSuchVariable { name: String },
    #[error("interrupted")]
    Interrupted,
    #[error("the store {store} has {faults} faults")]
    Faults { store: String, faults: usize },
    #[error("cannot print the result")]
    Print(#[source] io::Error),
}

impl CliError {
    /// Was there a result all the same?
    pub(super) const fn has_result(&self) -> bool {
        matches!(
            self,
            Self::DeploymentFailed { .. }
                | Self::Faults { .. }
                | Self::Undeleted { .. }
                | Self::Print(_)
        )
    }

    /// 2 for wrong usage, as for a flag that cannot be read; 3 for a deployment that failed; 130 after Ctrl-C, as shells have it; else 1.
    pub(super) const fn exit_code(&self) -> u8 {
        let is_usage = matches!(
            self,
            Self::Store(StoreError::Endpoint { .. } | StoreError::Variable { .. })
                | Self::PackedAlready { .. }
                | Self::NotToTerminal
                | Self::NoVariable
        );
        if is_usage {
            2
        } else if matches!(self, Self::Interrupted) {
            130
        } else if matches!(self, Self::DeploymentFailed { .. }) {
            3
        } else {
            1
        }
    }
}

fn because(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(": {}", printable(reason))
    }
}
