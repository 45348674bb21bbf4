//! The command line: which commands there are, and what goes wrong with them.
#![allow(
    clippy::doc_markdown,
    reason = "the comments of commands are the text of --help"
)]

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use tokio::runtime::Runtime;

use crate::client::Server;
use crate::config::{
    AccessSettings, CheckSettings, DeploySettings, LoginSettings, LogoutSettings, OutputSettings,
    PlaceSettings, PullSettings, PushSettings, RunnerSettings, ServeSettings, StoreSettings,
    with_environment, with_variables,
};
use crate::error_chain::chain;
use crate::ops::log::{Log, LogFormat};
use crate::service::api_tokens::{TokenId, TokenKind};
use crate::service::users::FIRST_USER;

mod app;
mod apps;
mod archive;
mod audit;
mod calls;
mod check;
mod deploy;
mod deploy_runner;
mod deployment;
mod deployments;
mod env;
mod error;
mod generate;
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
mod shown;
mod signals;
mod store;
mod supervise;
mod sweep;
mod token;
mod trust;
mod user;
mod variables;
mod welcome;

use error::CliError;
use remote::connect;
use shown::VariableParts;
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
    /// _ARCHIVE_SHA256, _SOURCE_URL, _REPORT_URL, _VARIABLES (a file of lines; beside it, with .json behind its name,
    /// all of them as JSON, those of several lines too), SOURCE_VERSION, PATH and HOME in its environment. What it prints is
    /// the log; exit code 0 is success; SIGTERM means that it is to stop.
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
    Whoami(AccessSettings),
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
    /// Push, create a deployment of an application, and follow its log
    ///
    /// Prints the id of the deployment; its log goes to standard error. Exits with 3 if the deployment fails. Ctrl-C leaves
    /// it running.
    Deploy(Box<DeploySettings>),
    /// Print what makes a shell complete the words of this program
    Completions {
        #[arg(value_enum)]
        shell: Shell,
        #[command(flatten)]
        output: OutputSettings,
    },
    /// Write man pages of this program and its commands to a folder
    Man {
        /// Made if it is missing
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        #[command(flatten)]
        output: OutputSettings,
    },
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
    /// Create, list, show and delete applications
    #[command(subcommand)]
    App(AppCommand),
    /// List, set and unset the variables of an application
    #[command(subcommand)]
    Env(EnvCommand),
    /// List, show, follow and cancel the deployments of an application
    #[command(subcommand)]
    Deployment(DeploymentCommand),
    /// Delete what has expired, once; a running server does so by itself
    Sweep(StoreSettings),
    /// Read and check everything in the store; exits with 1 if anything is wrong
    Audit(StoreSettings),
}

impl Command {
    /// A link in the arguments is there for a moment only.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "all commands but two are alike"
    )]
    fn hide_link(&self) {
        let (link, instead) = match self {
            Self::Pull(settings) => (Some(&settings.link), "-"),
            Self::Deploy(settings) => (settings.link(), "--link-on-stdin"),
            _ => (None, ""),
        };
        if let Some(link) = link.filter(|link| link.reveal() != "-") {
            // Where that cannot be, the link is seen, and works.
            let _ = hidden_link::hide(link, instead);
        }
    }

    /// Is the result to be JSON?
    const fn wants_json(&self) -> bool {
        let output = match self {
            Self::Login(settings) => settings.output,
            Self::Logout(settings) => settings.output,
            Self::Whoami(settings) => settings.output,
            Self::Push(settings) => settings.access.output,
            Self::Pull(settings) => settings.print,
            Self::Deploy(settings) => settings.access.output,
            Self::Check(settings) => settings.output,
            Self::Completions { output, .. } | Self::Man { output, .. } => *output,
            Self::App(AppCommand::Create { access, .. } | AppCommand::Delete { access, .. })
            | Self::Env(EnvCommand::Set { access, .. } | EnvCommand::Unset { access, .. })
            | Self::Deployment(DeploymentCommand::Follow { access, .. }) => access.output,
            Self::App(AppCommand::List(place) | AppCommand::Show { place, .. })
            | Self::Env(EnvCommand::List { place, .. })
            | Self::Deployment(
                DeploymentCommand::List { place, .. }
                | DeploymentCommand::Show(OneDeployment { place, .. })
                | DeploymentCommand::Log(OneDeployment { place, .. })
                | DeploymentCommand::Cancel(OneDeployment { place, .. }),
            ) => place.access.output,
            Self::Serve(_)
            | Self::Runner(_)
            | Self::Supervise { .. }
            | Self::Token(_)
            | Self::User(_)
            | Self::Sweep(_)
            | Self::Audit(_) => return false,
        };
        output.json
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
    /// Create an application
    Create {
        /// 6 to 48 of a-z, 0-9 and -
        name: String,
        #[command(flatten)]
        access: AccessSettings,
    },
    /// List your applications, or with --store those of all users: id, name, owner, status, creation time
    List(PlaceSettings),
    /// Show an application
    Show {
        /// Its name or id
        app: String,
        #[command(flatten)]
        place: PlaceSettings,
    },
    /// Delete an application, its variables and its deployments; what runs is cancelled
    Delete {
        /// Its name or id
        app: String,
        #[command(flatten)]
        access: AccessSettings,
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
        place: PlaceSettings,
    },
    /// Set variables; the others stay
    ///
    /// Every user of the machine can read the arguments of a command while it runs: a value that is a secret is better
    /// in a file, or on standard input.
    Set {
        /// Name or id of the application
        app: String,
        #[arg(value_name = "NAME=VALUE")]
        variables: Vec<String>,
        /// File with a NAME=value in each line, or - for standard input
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
        #[command(flatten)]
        access: AccessSettings,
    },
    /// Unset variables
    Unset {
        /// Name or id of the application
        app: String,
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        #[command(flatten)]
        access: AccessSettings,
    },
}

#[derive(Debug, Subcommand)]
enum DeploymentCommand {
    /// List the deployments of an application, the newest first: id, status, git ref, creation time
    List {
        /// Name or id of the application
        app: String,
        #[command(flatten)]
        place: PlaceSettings,
    },
    /// Show a deployment: its status, and why it ended
    Show(OneDeployment),
    /// Print the log of a deployment, as far as it has come
    Log(OneDeployment),
    /// Print the log of a deployment until it ends; exits with 3 if it fails
    Follow {
        /// Name or id of the application
        app: String,
        /// Id of the deployment, as shown by 'deployment list'
        id: String,
        #[command(flatten)]
        access: AccessSettings,
    },
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
    place: PlaceSettings,
}

/// Runs a command to its end, reports what went wrong, and returns the exit code.
pub fn run(cli: Cli) -> ExitCode {
    cli.command.hide_link();
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "all commands but two are alike"
    )]
    let mut log = Log::start(match &cli.command {
        Command::Serve(settings) => settings.log,
        Command::Runner(settings) => settings.log,
        // Others have something to log only if they could not do all that they are for.
        _ => LogFormat::Human,
    });
    let wants_json = cli.command.wants_json();
    let code = match run_command(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let said = chain(&error);
            if wants_json && !error.has_result() {
                // Whoever has closed standard output wants none of it.
                let _ = print::print_json(&serde_json::json!({"error": said}));
            }
            log.print(&format!("waystation: {said}"));
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
            Command::App(command) => until_interrupted(dispatch_app(command)).await,
            Command::Env(command) => until_interrupted(dispatch_env(command)).await,
            Command::Deployment(command) => {
                until_interrupted(Box::pin(dispatch_deployment(command))).await
            }
            Command::Deploy(settings) => until_interrupted(deploy::deploy(*settings)).await,
            Command::Completions { shell, output } => {
                generate::completions(Cli::command(), shell, output)
            }
            Command::Man { folder, output } => generate::man(Cli::command(), &folder, output),
            Command::Sweep(store) => sweep::sweep(&store).await,
            Command::Audit(store) => audit::audit(&store).await,
        }
    })
}

/// Where a command looks: a store, as its operator, or a server.
enum Place {
    Store(StoreSettings, OutputSettings),
    Server(Box<Server>, OutputSettings),
}

impl Place {
    fn of(settings: &PlaceSettings) -> Result<Self, CliError> {
        let output = settings.access.output;
        if let Some(store) = settings.store() {
            return Ok(Self::Store(store, output));
        }
        let server = Box::new(connect(&settings.access.remote)?);
        Ok(Self::Server(server, output))
    }
}

async fn dispatch_app(command: AppCommand) -> Result<(), CliError> {
    match command {
        AppCommand::Create { name, access } => {
            apps::create(&connect(&access.remote)?, &name, access.output).await
        }
        AppCommand::List(place) => match Place::of(&place)? {
            Place::Store(store, output) => app::list(&store, output).await,
            Place::Server(server, output) => apps::list(&server, output).await,
        },
        AppCommand::Show { app, place } => match Place::of(&place)? {
            Place::Store(store, output) => app::show(&store, &app, output).await,
            Place::Server(server, output) => apps::show(&server, &app, output).await,
        },
        AppCommand::Delete { app, access } => {
            apps::delete(&connect(&access.remote)?, &app, access.output).await
        }
    }
}

async fn dispatch_env(command: EnvCommand) -> Result<(), CliError> {
    match command {
        EnvCommand::List { app, names, place } => {
            let parts = if names {
                VariableParts::NameAlone
            } else {
                VariableParts::NameAndValue
            };
            match Place::of(&place)? {
                Place::Store(store, output) => env::list(&store, &app, parts, output).await,
                Place::Server(server, output) => {
                    variables::list(&server, &app, parts, output).await
                }
            }
        }
        EnvCommand::Set {
            app,
            variables,
            from_file,
            access,
        } => {
            let given = variables::read(&variables, from_file.as_deref()).await?;
            variables::set(&connect(&access.remote)?, &app, given, access.output).await
        }
        EnvCommand::Unset { app, names, access } => {
            variables::unset(&connect(&access.remote)?, &app, &names, access.output).await
        }
    }
}

async fn dispatch_deployment(command: DeploymentCommand) -> Result<(), CliError> {
    match command {
        DeploymentCommand::List { app, place } => match Place::of(&place)? {
            Place::Store(store, output) => deployment::list(&store, &app, output).await,
            Place::Server(server, output) => deployments::list(&server, &app, output).await,
        },
        DeploymentCommand::Show(OneDeployment { app, id, place }) => match Place::of(&place)? {
            Place::Store(store, output) => deployment::show(&store, &app, &id, output).await,
            Place::Server(server, output) => deployments::show(&server, &app, &id, output).await,
        },
        DeploymentCommand::Log(OneDeployment { app, id, place }) => match Place::of(&place)? {
            Place::Store(store, output) => deployment::log(&store, &app, &id, output).await,
            Place::Server(server, output) => deployments::log(&server, &app, &id, output).await,
        },
        DeploymentCommand::Follow { app, id, access } => {
            deployments::follow(&connect(&access.remote)?, &app, &id, access.output).await
        }
        DeploymentCommand::Cancel(OneDeployment { app, id, place }) => match Place::of(&place)? {
            Place::Store(store, output) => deployment::cancel(&store, &app, &id, output).await,
            Place::Server(server, output) => deployments::cancel(&server, &app, &id, output).await,
        },
    }
}
