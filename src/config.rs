//! Flags and environment to validated settings: every limit of the service, with its unit and
//! default. The only reader of the environment.
#![allow(
    clippy::doc_markdown,
    reason = "the comments of flags are the text of --help"
)]

use std::env;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::{ArgAction, Args, Command, value_parser};
use ipnet::IpNet;

use crate::ops::log::LogFormat;
use crate::public_url::PublicUrl;
use crate::secret::Secret;
use crate::service::sources::TransferMode;
use crate::source::MAX_LIFETIME;
use crate::store::folder::Sync;

mod client;
mod durations;
mod runner;
mod store;

pub use client::{
    AccessSettings, CheckSettings, ConnectionSettings, DeploySettings, LoginSettings,
    LogoutSettings, OperatorSettings, OutputSettings, PackSettings, PlaceSettings, PullSettings,
    PushSettings, RemoteSettings, UnpackSettings, arguments, logins_file, proxy_variables,
    temporary_folder, token_variable,
};
use durations::parse_duration;

pub use runner::{RunnerSettings, WORK_DIR};
pub use store::{StorePlace, StoreSettings};

/// The shortest lifetime of a source.
pub const MIN_LIFETIME: Duration = Duration::from_secs(1);

/// Gives each flag of a command, and of those below it, its environment variable: `--rate-limit` is
/// `WAYSTATION_RATE_LIMIT`. An empty one is not set.
pub fn with_environment(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let Some(variable) = arg.get_long().map(variable_of) else {
                return arg;
            };
            let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
            let arg = if is_switch {
                arg.value_parser(BoolishValueParser::new())
            } else {
                arg
            };
            match env::var_os(&variable) {
                Some(value) if value.is_empty() => arg,
                _ => arg.env(variable),
            }
        })
        .mut_subcommands(with_environment)
}

fn variable_of(flag: &str) -> String {
    format!("WAYSTATION_{}", flag.to_uppercase().replace('-', "_"))
}

/// Names the variables that the values of a refused command line come from: else its flags would be searched
/// for where they are not.
pub fn with_variables(mut error: clap::Error) -> clap::Error {
    let given = env::args_os().map(|word| word.to_string_lossy().into_owned());
    let given: Vec<_> = given.collect();
    let is_given = |flag: &str| {
        given
            .iter()
            .any(|word| word.split('=').next() == Some(flag))
    };
    let is_set = |variable: &String| env::var_os(variable).is_some_and(|value| !value.is_empty());
    let mut named = Vec::new();
    for kind in [ContextKind::InvalidArg, ContextKind::PriorArg] {
        match error.get(kind) {
            Some(ContextValue::String(argument)) => named.push(argument.clone()),
            Some(ContextValue::Strings(arguments)) => named.extend(arguments.clone()),
            _ => {}
        }
    }
    let flags = named
        .iter()
        .filter_map(|argument| argument.split(' ').next());
    let unseen = flags.filter_map(|flag| Some((flag, variable_of(flag.strip_prefix("--")?))));
    let tips = unseen
        .filter(|(flag, variable)| !is_given(flag) && is_set(variable))
        .map(|(flag, variable)| {
            format!("{flag} is set by the environment variable {variable}").into()
        })
        .collect();
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    error
}

/// Where commands are found: the only variable that a deployment's command has from its runner.
pub fn search_path() -> OsString {
    env::var_os("PATH").unwrap_or_default()
}

/// All that can be set for the server.
#[derive(Args, Clone, Debug)]
pub struct ServeSettings {
    #[command(flatten)]
    pub store: StoreSettings,

    /// Address and port to listen on, like 127.0.0.1:8080, or :8080 for all addresses; a port alone is one on
    /// loopback, and port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = parse_address)]
    pub listen: SocketAddr,

    /// Certificate chain in PEM, to serve HTTPS; reloaded when the file changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Allow plain HTTP on an address other than loopback, for use behind a TLS proxy
    #[arg(long)]
    pub plain_http: bool,

    /// Address for /healthz, /readyz and /metrics; a port alone is one on loopback [default: none]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub admin_listen: Option<SocketAddr>,

    /// Network of proxies whose X-Forwarded-* headers are trusted; can be repeated [default: none]
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = parse_network)]
    pub trusted_proxy: Vec<IpNet>,

    /// API calls per user and minute, which may come all at once; 0 for no limit
    #[arg(long, value_name = "COUNT", default_value_t = 60)]
    pub rate_limit: u32,

    /// Failed authentications per address (IPv6: per /64) and minute, after which clients are asked to
    /// retry later; 0 for no limit
    #[arg(long, value_name = "COUNT", default_value_t = 60)]
    pub auth_failure_limit: u32,

    /// The beginning of all links [default: the scheme and host of the request]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<PublicUrl>,

    /// How long a source and its links live, 1s to 7d
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_lifetime)]
    pub lifetime: Duration,

    /// Size of the largest archive that is accepted; 0 for no limit
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub upload_limit: ByteSize,

    /// File of keys that sign and verify links: base64 of at least 32 bytes a line; the first
    /// signs, all verify [default: a folder makes and keeps its own; a bucket needs one]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// The keys themselves, separated by commas; in the environment only, since everybody on the machine
    /// can see a command line
    #[arg(long, hide = true, hide_env_values = true, conflicts_with = "key_file")]
    pub keys: Option<Secret>,

    /// File for the first API token, where standard output is no terminal [default: first-token in the store; for a
    /// bucket, waystation-first-token in the working folder]
    #[arg(long, value_name = "FILE")]
    pub first_token_file: Option<PathBuf>,

    /// Whether archives pass through this server, or links lead to the object store itself
    #[arg(long, value_name = "MODE", default_value = "proxy", value_enum)]
    pub transfers: TransferMode,

    /// Whether an answered upload survives a power cut (on), or only a crash of the server (off)
    #[arg(long, value_name = "WHEN", default_value = "on", value_enum)]
    pub sync: Sync,

    /// Free space that uploads leave on the store's file system
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub keep_free: ByteSize,

    /// Memory for uploads to a bucket, beyond 1MiB for each, 2MiB to 64GiB: the more there is, the fewer and larger
    /// the requests to the object store
    #[arg(long, value_name = "SIZE", default_value = "80MiB", value_parser = size_between("2MiB", "64GiB"))]
    pub upload_memory: ByteSize,

    /// How often expired sources are deleted, up to 5s; from a bucket every 15s to 20s
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_sweep)]
    pub sweep_every: Duration,

    /// Uploads and downloads that may run at once, together
    #[arg(long, value_name = "COUNT", default_value_t = 2048, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_transfers: u32,

    /// Transfers of one client address (IPv6: one /64) [default: half of --max-transfers]
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_transfers_per_address: Option<u32>,

    /// Uploads to one source that may run at once; only one of them can win
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_uploads_per_source: u32,

    /// Uploads in parts that may be open at once: begun, and neither ended nor expired
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_open_uploads: u32,

    /// Total size of all open uploads in parts, as announced or received; 0 for no limit
    #[arg(long, value_name = "SIZE", default_value = "100GiB")]
    pub max_open_upload_size: ByteSize,

    /// Connections that are served at once; more wait to be accepted
    #[arg(long, value_name = "COUNT", default_value_t = 4096, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Connections of one address (IPv6: one /64), except a --trusted-proxy; more are closed at once
    /// [default: half of --max-connections]
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_connections_per_address: Option<u32>,

    /// Time limit for the head of a request, for the body of an API call, and for an idle
    /// connection
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub header_timeout: Duration,

    /// Size of the largest head of a request, at least 8KiB
    #[arg(long, value_name = "SIZE", default_value = "32KiB", value_parser = size_between("8KiB", "1MiB"))]
    pub header_limit: ByteSize,

    /// Time after which a transfer without progress is cut off
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub idle_timeout: Duration,

    /// Minimum rate of a transfer over half a minute, in bytes per second; 0 for no limit
    #[arg(long, value_name = "SIZE", default_value = "1KiB")]
    pub min_rate: ByteSize,

    /// Size of the largest body of an API call, 1KiB to 16MiB (archives have --upload-limit)
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = size_between("1KiB", "16MiB"))]
    pub api_body_limit: ByteSize,

    /// Deployments of one app that may be queued
    #[arg(long, value_name = "COUNT", default_value_t = 25, value_parser = value_parser!(u32).range(1..=10_000))]
    pub max_queued_per_app: u32,

    /// Deployments of all apps that may be unfinished
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = value_parser!(u32).range(1..=100_000))]
    pub max_queued: u32,

    /// How long a deployment may wait for a runner
    #[arg(long, value_name = "DURATION", default_value = "60m", value_parser = parse_lifetime)]
    pub queue_timeout: Duration,

    /// How long a deployment may take once a runner has it
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = parse_lifetime)]
    pub deployment_timeout: Duration,

    /// Size of a deployment's log that is kept, besides its last 64KiB
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = size_between("1KiB", "1GiB"))]
    pub log_limit: ByteSize,

    /// Deployments of an app that are kept after their end, with their logs
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = value_parser!(u32).range(1..=1000))]
    pub keep_deployments: u32,

    /// Clients that may follow one app at once
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = value_parser!(u32).range(1..=100_000))]
    pub max_followers_per_app: u32,

    /// Turn off the page for browsers at /
    #[arg(long)]
    pub no_page: bool,

    /// Time for running transfers and followed deployments to finish on shutdown
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_drain)]
    pub drain: Duration,

    /// Command to run on the archive of each deployment, on this machine as the server's user. Only for trusted users:
    /// for others, use 'waystation runner' [default: none]
    #[arg(long, value_name = "COMMAND")]
    pub deploy: Option<String>,

    /// Folder of the runner of --deploy, private to this user
    #[arg(long, value_name = "DIR", default_value = WORK_DIR, requires = "deploy")]
    pub work_dir: PathBuf,

    /// Format of the log, on standard error
    #[arg(long, value_name = "FORMAT", default_value = "human", value_enum)]
    pub log: LogFormat,
}

/// `8080` and `localhost:8080` are on loopback, `:8080` on all addresses of IPv4.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let whole = match text.rsplit_once(':') {
        None => format!("127.0.0.1:{text}"),
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some((host, port)) if host.eq_ignore_ascii_case("localhost") => format!("127.0.0.1:{port}"),
        Some(_) => text.to_owned(),
    };
    whole.parse().map_err(|_| {
        "an address looks like 127.0.0.1:8080, [::1]:8080, localhost:8080, :8080 (all addresses) or 8080 (loopback)".to_owned()
    })
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let address = || text.parse().map(|address: IpAddr| IpNet::from(address));
    text.parse()
        .or_else(|_| address())
        .map_err(|_| "a network looks like 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1".to_owned())
}

fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = parse_duration(text)?;
    within(lifetime, MIN_LIFETIME..=MAX_LIFETIME, "it can be 1s to 7d")
}

fn parse_sweep(text: &str) -> Result<Duration, String> {
    let most = Duration::from_secs(5);
    let problem = "it can be up to 5s, so that expired sources are deleted in time";
    within(parse_duration(text)?, Duration::ZERO..=most, problem)
}

fn parse_drain(text: &str) -> Result<Duration, String> {
    if text == "0" || text == "0s" {
        return Ok(Duration::ZERO);
    }
    parse_duration(text)
}

/// Reads sizes of this range, both ends of which are taken.
fn size_between(
    least: &'static str,
    most: &'static str,
) -> impl Fn(&str) -> Result<ByteSize, String> + Clone + Send + std::marker::Sync {
    move |text: &str| {
        let range = least.parse::<ByteSize>()?..=most.parse()?;
        within(
            text.parse()?,
            range,
            &format!("it can be {least} to {most}"),
        )
    }
}

fn within<T: PartialOrd>(value: T, range: RangeInclusive<T>, problem: &str) -> Result<T, String> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(problem.to_owned())
    }
}
