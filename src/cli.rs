//! The command line: what each command runs, and what goes wrong with it.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use tokio::runtime::Runtime;

use crate::client::Server;
use crate::config::{
    OutputSettings, PlaceSettings, StoreSettings, with_environment, with_variables,
};
use crate::error_chain::chain;
use crate::ops::log::{Log, LogFormat};
use crate::service::api_tokens::TokenKind;

mod app;
mod apps;
mod archive;
mod audit;
mod calls;
mod check;
mod commands;
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

use commands::{
    AppCommand, Command, DeploymentCommand, EnvCommand, OneDeployment, TokenCommand, UserCommand,
};
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
                operator,
            }) => {
                let kind = if runner {
                    TokenKind::Runner
                } else {
                    TokenKind::User
                };
                token::create(&operator, &name, kind, &user).await
            }
            Command::Token(TokenCommand::List(operator)) => token::list(&operator).await,
            Command::Token(TokenCommand::Revoke { id, operator }) => {
                token::revoke(&operator, id).await
            }
            Command::User(UserCommand::Add {
                name,
                email,
                operator,
            }) => user::add(&operator, &name, &email).await,
            Command::User(UserCommand::List(operator)) => user::list(&operator).await,
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
            Command::Sweep(operator) => sweep::sweep(&operator).await,
            Command::Audit(operator) => audit::audit(&operator).await,
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
