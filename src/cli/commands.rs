//! The table of commands: their words and arguments, with the text of their help.
#![allow(
    clippy::doc_markdown,
    reason = "the comments of commands are the text of --help"
)]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;

use super::hidden_link;
use crate::config::{
    AccessSettings, CheckSettings, DeploySettings, LoginSettings, LogoutSettings, OperatorSettings,
    OutputSettings, PlaceSettings, PullSettings, PushSettings, RunnerSettings, ServeSettings,
};
use crate::service::api_tokens::TokenId;
use crate::service::users::FIRST_USER;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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
    Sweep(OperatorSettings),
    /// Read and check everything in the store; exits with 1 if anything is wrong
    Audit(OperatorSettings),
}

impl Command {
    /// A link in the arguments is there for a moment only.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "all commands but two are alike"
    )]
    pub(super) fn hide_link(&self) {
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
    pub(super) const fn wants_json(&self) -> bool {
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
            Self::Token(
                TokenCommand::Create { operator, .. }
                | TokenCommand::List(operator)
                | TokenCommand::Revoke { operator, .. },
            )
            | Self::User(UserCommand::Add { operator, .. } | UserCommand::List(operator))
            | Self::Sweep(operator)
            | Self::Audit(operator) => operator.output,
            Self::Serve(_) | Self::Runner(_) | Self::Supervise { .. } => return false,
        };
        output.json
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
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
        operator: OperatorSettings,
    },
    /// List the API tokens: id, name, user, creation time, kind (user or runner)
    List(OperatorSettings),
    /// Revoke an API token
    Revoke {
        /// Id of the token, as shown by 'token list'
        id: TokenId,
        #[command(flatten)]
        operator: OperatorSettings,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
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
        operator: OperatorSettings,
    },
    /// List the users: id, name, e-mail address, creation time
    List(OperatorSettings),
}

#[derive(Debug, Subcommand)]
pub(super) enum AppCommand {
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
pub(super) enum EnvCommand {
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
pub(super) enum DeploymentCommand {
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
pub(super) struct OneDeployment {
    /// Name or id of the application
    pub(super) app: String,
    /// Id of the deployment, as shown by 'deployment list'
    pub(super) id: String,
    #[command(flatten)]
    pub(super) place: PlaceSettings,
}
