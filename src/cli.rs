//! The command line: which commands there are, and what goes wrong with them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::config::{
    ContactSettings, OwnerSettings, ServeSettings, StorePlace, StoreSettings, with_environment,
};
use crate::error_chain::chain;
use crate::keys::KeyError;
use crate::ops::log::{Log, LogFormat};
use crate::server::TlsError;
use crate::service::api_tokens::{ApiTokenError, TokenId};
use crate::service::first_start::FirstStartError;
use crate::service::sources::SourceError;
use crate::service::users::UserError;
use crate::store::bucket::{BucketUrl, Overwrite};
use crate::store::{BucketStore, FolderStore, Store, StoreError};

mod audit;
mod open_files;
mod parts;
mod serve;
mod sweep;
mod token;
mod user;
mod welcome;

/// How long work that cannot be interrupted may hold up the end of a command.
const RUNTIME_END: Duration = Duration::from_secs(2);

/// Hands out pre-authenticated, short-lived URLs: an archive is uploaded to one, downloaded from the
/// other, and deleted when they expire.
#[derive(Debug, Parser)]
#[command(name = "waystation", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// Reads the command line and the environment. Wrong usage ends the program.
    #[must_use]
    pub fn read() -> Self {
        let matches = with_environment(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    ///
    /// Works with no flag at all: creates what it needs on its first start, and shows an API token
    /// and curl lines to try it with.
    Serve(Box<ServeSettings>),
    /// Create, list and revoke API tokens, with effect on a running server at once
    #[command(subcommand)]
    Token(TokenCommand),
    /// Add and list users
    #[command(subcommand)]
    User(UserCommand),
    /// Delete what has expired, once; a running server does so by itself
    Sweep(StoreSettings),
    /// Read and check everything in the store; exits with 1 if anything is wrong
    Audit(StoreSettings),
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Create an API token and print it alone; it cannot be shown again
    Create {
        /// Name of the token in lists, up to 255 bytes
        name: String,
        #[command(flatten)]
        owner: OwnerSettings,
        #[command(flatten)]
        store: StoreSettings,
    },
    /// List the API tokens: id, name, user, creation time
    List(StoreSettings),
    /// Revoke an API token
    Revoke {
        /// Id of the token, as shown by 'token list'
        id: TokenId,
        #[command(flatten)]
        store: StoreSettings,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add a user
    Add {
        /// Name of the user, up to 255 bytes
        name: String,
        #[command(flatten)]
        contact: ContactSettings,
        #[command(flatten)]
        store: StoreSettings,
    },
    /// List the users: id, name, e-mail address, creation time
    List(StoreSettings),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
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
    const fn exit_code(&self) -> u8 {
        if matches!(self, Self::Store(StoreError::Endpoint { .. })) {
            2
        } else {
            1
        }
    }
}

/// Runs a command to its end, reports what went wrong, and returns the exit code.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let mut log = Log::start(match &cli.command {
        Command::Serve(settings) => settings.log,
        // Others have something to log only if they could not do all that they are for.
        Command::Token(_) | Command::User(_) | Command::Sweep(_) | Command::Audit(_) => {
            LogFormat::Human
        }
    });
    let code = match run_command(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.print(&format!("waystation: {}", chain(&error)));
            ExitCode::from(error.exit_code())
        }
    };
    log.end();
    code
}

fn run_command(command: Command) -> Result<(), CliError> {
    let runtime = Runtime::new().map_err(CliError::Runtime)?;
    let done = runtime.block_on(dispatch(command));
    match &done {
        Err(CliError::CutOff) => runtime.shutdown_background(),
        _ => runtime.shutdown_timeout(RUNTIME_END),
    }
    done
}

fn dispatch(command: Command) -> impl Future<Output = Result<(), CliError>> {
    Box::pin(async move {
        match command {
            Command::Serve(settings) => serve::serve(*settings).await,
            Command::Token(TokenCommand::Create { name, owner, store }) => {
                token::create(&store, &name, &owner.user).await
            }
            Command::Token(TokenCommand::List(store)) => token::list(&store).await,
            Command::Token(TokenCommand::Revoke { id, store }) => token::revoke(&store, id).await,
            Command::User(UserCommand::Add {
                name,
                contact,
                store,
            }) => user::add(&store, &name, &contact.email).await,
            Command::User(UserCommand::List(store)) => user::list(&store).await,
            Command::Sweep(store) => sweep::sweep(&store).await,
            Command::Audit(store) => audit::audit(&store).await,
        }
    })
}

/// The store for a command that takes no archive in, and makes no store.
async fn open_store(settings: &StoreSettings) -> Result<Store, StoreError> {
    let store = match &settings.store {
        StorePlace::Folder(folder) => Store::Folder(FolderStore::open_existing(folder.clone())?),
        StorePlace::Bucket(url) => open_bucket(url, settings)?,
    };
    store.find().await?;
    Ok(store)
}

fn open_bucket(url: &BucketUrl, settings: &StoreSettings) -> Result<Store, StoreError> {
    let url = url.clone().at(settings.s3_endpoint.clone());
    let overwrite = if settings.allow_overwrite {
        Overwrite::Allow
    } else {
        Overwrite::Refuse
    };
    BucketStore::open(&url, overwrite, Clock::System).map(Store::Bucket)
}

/// Prints a command's result.
fn print(text: &str) -> Result<(), CliError> {
    use io::Write as _;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .map_err(CliError::Print)
}
