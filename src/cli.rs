//! The command line: which commands there are, and what goes wrong with them.
#![allow(
    clippy::doc_markdown,
    reason = "the comments of commands are the text of --help"
)]

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::config::{
    CheckSettings, LoginSettings, LogoutSettings, PullSettings, PushSettings, RunnerSettings,
    ServeSettings, StoreSettings, WhoamiSettings, with_environment, with_variables,
};
use crate::error_chain::chain;
use crate::ops::log::{Log, LogFormat};
use crate::service::api_tokens::{TokenId, TokenKind};
use crate::service::users::FIRST_USER;

mod app;
mod archive;
mod audit;
mod check;
mod deploy;
mod deployment;
mod env;
mod error;
mod hidden_link;
mod login;
mod logins;
mod open_files;
mod parts;
mod print;
mod pull;
mod push;
mod remote;
mod runner;
mod screen;
mod serve;
mod signals;
mod store;
mod supervise;
mod sweep;
mod token;
mod trust;
mod user;
mod welcome;

use error::CliError;
use signals::until_interrupted;

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
    pub fn read() -> Self {
        let matches = with_environment(Self::command()).try_get_matches();
        let read = matches.and_then(|matches| Self::from_arg_matches(&matches));
        read.unwrap_or_else(|error| with_variables(error).exit())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    ///
    /// Works with no flag at all: creates what it needs on its first start, and shows an API token
    /// and curl lines to try it with.
    Serve(Box<ServeSettings>),
    /// Run deployments: ask a server for them, unpack their archives, and run a command on each
    ///
    /// Runs on any machine that reaches the server, as another user than the server's. The command finds the unpacked
    /// archive in its working folder, and WAYSTATION_APP, _APP_ID, _DEPLOYMENT, _GIT_REF, _USER, _ARCHIVE (a file),
    /// _ARCHIVE_SHA256, _SOURCE_URL, _REPORT_URL, _VARIABLES (a file of lines; beside it, with .json behind its name, the
    /// same as JSON), SOURCE_VERSION, PATH and HOME in its environment. What it prints is the log; exit code 0 is success; SIGTERM means that it is to stop.
    Runner(Box<RunnerSettings>),
    /// Run a command for a runner, and stop it when that is gone
    #[command(hide = true)]
    Supervise {
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Log in to a server: try an API token, and keep it for the commands below
    ///
    /// It is read from the terminal, from standard input or from --token-file, never from an argument, which every user
    /// of the machine could read. It is kept in a file that only you can read. WAYSTATION_URL and WAYSTATION_TOKEN win
    /// over it.
    Login(LoginSettings),
    /// Forget the API token of a server
    Logout(LogoutSettings),
    /// Show whose API token is used, and where
    Whoami(WhoamiSettings),
    /// Pack a folder, upload it, and print the download link
    ///
    /// What .gitignore, .git/info/exclude and git's own rules for all repositories leave out is not packed; .waystationignore,
    /// in the same format, has the last word. The same files make the same archive on any machine. An archive is sent as
    /// it is.
    Push(Box<PushSettings>),
    /// Fetch an archive by its download link, and check it
    ///
    /// After a break it goes on where it was. The file, or the folder, is there once all of it is whole and right.
    Pull(Box<PullSettings>),
    /// Show what an archive holds, or what push would send, and what a build would trip over
    ///
    /// Exits with 1 if a runner would refuse it.
    Check(Box<CheckSettings>),
    /// Create, list and revoke API tokens, with effect on a running server at once
    #[command(subcommand)]
    Token(TokenCommand),
    /// Add and list users
    #[command(subcommand)]
    User(UserCommand),
    /// List and show applications
    #[command(subcommand)]
    App(AppCommand),
    /// Show the variables of an application
    #[command(subcommand)]
    Env(EnvCommand),
    /// List, show and cancel the deployments of an application
    #[command(subcommand)]
    Deployment(DeploymentCommand),
    /// Delete what has expired, once; a running server does so by itself
    Sweep(StoreSettings),
    /// Read and check everything in the store; exits with 1 if anything is wrong
    Audit(StoreSettings),
}

impl Command {
    /// A link in the arguments is there for a moment only.
    fn hide_link(&self) {
        if let Self::Pull(settings) = self
            && settings.link.reveal() != "-"
        {
            // Where that cannot be, the link is seen, and works.
            let _ = hidden_link::hide(&settings.link, "-");
        }
    }
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Create an API token and print it alone; it cannot be shown again
    Create {
        /// Name of the token in lists, up to 255 bytes
        name: String,
        /// The user who owns the token
        #[arg(long, default_value = FIRST_USER)]
        user: String,
        /// Make a token for runners: it claims the deployments of all users, and opens nothing else
        #[arg(long, conflicts_with = "user")]
        runner: bool,
        #[command(flatten)]
        store: StoreSettings,
    },
    /// List the API tokens: id, name, user, creation time, kind (user or runner)
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
        /// The user's e-mail address
        #[arg(
            long,
            value_name = "ADDRESS",
            default_value = "",
            hide_default_value = true
        )]
        email: String,
        #[command(flatten)]
        store: StoreSettings,
    },
    /// List the users: id, name, e-mail address, creation time
    List(StoreSettings),
}

#[derive(Debug, Subcommand)]
enum AppCommand {
    /// List the applications of all users: id, name, owner, status, creation time
    List(StoreSettings),
    /// Show an application
    Show {
        /// Its name or id
        app: String,
        #[command(flatten)]
        store: StoreSettings,
    },
}

#[derive(Debug, Subcommand)]
enum EnvCommand {
    /// List the variables of an application as NAME=value; values may be secrets
    List {
        /// Name or id of the application
        app: String,
        /// List the names alone
        #[arg(long)]
        names: bool,
        #[command(flatten)]
        store: StoreSettings,
    },
}

#[derive(Debug, Subcommand)]
enum DeploymentCommand {
    /// List the deployments of an application, the newest first: id, status, git ref, creation time
    List {
        /// Name or id of the application
        app: String,
        #[command(flatten)]
        store: StoreSettings,
    },
    /// Show a deployment: its status, and why it ended
    Show(OneDeployment),
    /// Print the log of a deployment, as far as it has come
    Log(OneDeployment),
    /// End a deployment that waits, or have the runner that has it stop its command
    Cancel(OneDeployment),
}

#[derive(Debug, Args)]
struct OneDeployment {
    /// Name or id of the application
    app: String,
    /// Id of the deployment, as shown by 'deployment list'
    id: String,
    #[command(flatten)]
    store: StoreSettings,
}

/// Runs a command to its end, reports what went wrong, and returns the exit code.
pub fn run(cli: Cli) -> ExitCode {
    cli.command.hide_link();
    let mut log = Log::start(match &cli.command {
        Command::Serve(settings) => settings.log,
        Command::Runner(settings) => settings.log,
        // Others have something to log only if they could not do all that they are for.
        Command::Supervise { .. }
        Command::Login(_)
        | Command::Logout(_)
        | Command::Whoami(_)
        | Command::Push(_)
        | Command::Pull(_)
        | Command::Check(_)
        | Command::Token(_)
        | Command::User(_)
        | Command::App(_)
        | Command::Env(_)
        | Command::Deployment(_)
        | Command::Sweep(_)
        | Command::Audit(_) => LogFormat::Human,
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
        Err(CliError::CutOff | CliError::RunnerCutOff) => runtime.shutdown_background(),
        _ => runtime.shutdown_timeout(RUNTIME_END),
    }
    done
}

fn dispatch(command: Command) -> impl Future<Output = Result<(), CliError>> {
    Box::pin(async move {
        match command {
            Command::Serve(settings) => serve::serve(*settings).await,
            Command::Runner(settings) => runner::run(*settings).await,
            Command::Supervise { command } => supervise::run(&command).await,
            Command::Login(settings) => until_interrupted(login::login(settings)).await,
            Command::Logout(settings) => login::logout(&settings),
            Command::Whoami(settings) => until_interrupted(login::whoami(settings)).await,
            Command::Push(settings) => until_interrupted(push::push(*settings)).await,
            Command::Check(settings) => until_interrupted(check::check(*settings)).await,
            Command::Pull(settings) => until_interrupted(pull::pull(*settings)).await,
            Command::Token(TokenCommand::Create {
                name,
                user,
                runner,
                store,
            }) => {
                let kind = if runner {
                    TokenKind::Runner
                } else {
                    TokenKind::User
                };
                token::create(&store, &name, kind, &user).await
            }
            Command::Token(TokenCommand::List(store)) => token::list(&store).await,
            Command::Token(TokenCommand::Revoke { id, store }) => token::revoke(&store, id).await,
            Command::User(UserCommand::Add { name, email, store }) => {
                user::add(&store, &name, &email).await
            }
            Command::User(UserCommand::List(store)) => user::list(&store).await,
            Command::App(AppCommand::List(store)) => app::list(&store).await,
            Command::App(AppCommand::Show { app, store }) => app::show(&store, &app).await,
            Command::Env(EnvCommand::List { app, names, store }) => {
                let shown = if names {
                    env::Shown::NamesAlone
                } else {
                    env::Shown::Values
                };
                env::list(&store, &app, shown).await
            }
            Command::Deployment(command) => dispatch_deployment(command).await,
            Command::Sweep(store) => sweep::sweep(&store).await,
            Command::Audit(store) => audit::audit(&store).await,
        }
    })
}

async fn dispatch_deployment(command: DeploymentCommand) -> Result<(), CliError> {
    match command {
        DeploymentCommand::List { app, store } => deployment::list(&store, &app).await,
        DeploymentCommand::Show(OneDeployment { app, id, store }) => {
            deployment::show(&store, &app, &id).await
        }
        DeploymentCommand::Log(OneDeployment { app, id, store }) => {
            deployment::log(&store, &app, &id).await
        }
        DeploymentCommand::Cancel(OneDeployment { app, id, store }) => {
            deployment::cancel(&store, &app, &id).await
        }
    }
}
