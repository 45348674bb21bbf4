//! All that can be set for the client's commands, and what of the environment counts for them.
#![allow(
    clippy::doc_markdown,
    reason = "the comments of flags are the text of --help"
)]

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, value_parser};

use super::durations::parse_duration;
use super::store::{StorePlace, StoreSettings, parse_store};
use crate::client::ProxyRules;
use crate::pack::{Compression, UnpackLimits};
use crate::public_url::PublicUrl;
use crate::secret::Secret;
use crate::store::bucket::EndpointUrl;

/// The longest name that file systems take.
const NAME_BYTES: usize = 255;

/// How servers are reached.
#[derive(Args, Clone, Debug)]
pub struct ConnectionSettings {
    /// PEM file of certificate authorities to trust besides the system's
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// Allow plain HTTP to another machine, where others could read token and links
    #[arg(long)]
    pub plain_http: bool,

    /// Time after which a transfer without progress is retried
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub idle_timeout: Duration,
}

/// The server to ask. The API token is from WAYSTATION_TOKEN, or from 'waystation login'.
#[derive(Args, Clone, Debug)]
pub struct RemoteSettings {
    /// Address of the server [default: the one of the last 'waystation login']
    #[arg(long, value_name = "URL")]
    pub url: Option<PublicUrl>,

    /// Address that exchanges API tokens [default: the server; for the hosted platform, its own]
    #[arg(long, value_name = "URL")]
    pub auth_url: Option<PublicUrl>,

    #[command(flatten)]
    pub connection: ConnectionSettings,
}

/// What a command prints.
#[derive(Args, Clone, Copy, Debug)]
pub struct OutputSettings {
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,

    /// Print only the result, warnings and errors
    #[arg(long, short)]
    pub quiet: bool,
}

/// What most commands have in common.
#[derive(Args, Clone, Debug)]
pub struct AccessSettings {
    #[command(flatten)]
    pub remote: RemoteSettings,

    #[command(flatten)]
    pub output: OutputSettings,
}

/// What is packed of a folder, and how.
#[derive(Args, Clone, Debug)]
pub struct PackSettings {
    /// Also pack ignored files; .git is never packed
    #[arg(long)]
    pub no_ignore: bool,

    /// Pack this commit, branch or tag instead of the working tree; ignore files do not apply
    #[arg(long, value_name = "REF", conflicts_with = "no_ignore")]
    pub git: Option<String>,

    /// Name of the folder at the root of the archive [default: that of the folder that is packed]
    #[arg(long, value_name = "NAME", value_parser = parse_root)]
    pub root: Option<String>,

    /// Compression: gzip, gzip:1 to gzip:9, zstd, zstd:1 to zstd:19, or none
    #[arg(long, value_name = "HOW", default_value = "gzip")]
    pub compress: Compression,

    /// Treat warnings as errors: links to nothing, or out of the folder
    #[arg(long)]
    pub strict: bool,
}

fn parse_root(text: &str) -> Result<String, String> {
    let is_name = !matches!(text, "" | "." | "..") && !text.contains(['/', '\0']);
    if is_name && text.len() <= NAME_BYTES {
        return Ok(text.to_owned());
    }
    Err(format!(
        "it is a name of up to {NAME_BYTES} bytes, without a slash, and neither . nor .."
    ))
}

#[derive(Args, Clone, Debug)]
pub struct LoginSettings {
    /// Address of the server
    pub url: PublicUrl,

    /// File with the API token, instead of being asked for it
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Address that exchanges API tokens [default: the server; for the hosted platform, its own]
    #[arg(long, value_name = "URL")]
    pub auth_url: Option<PublicUrl>,

    #[command(flatten)]
    pub connection: ConnectionSettings,

    #[command(flatten)]
    pub output: OutputSettings,
}

#[derive(Args, Clone, Debug)]
pub struct LogoutSettings {
    /// Address of the server [default: the one of the last 'waystation login']
    #[arg(long, value_name = "URL")]
    pub url: Option<PublicUrl>,

    #[command(flatten)]
    pub output: OutputSettings,
}

#[derive(Args, Clone, Debug)]
pub struct PushSettings {
    /// A folder to pack, an archive, or - for an archive on standard input
    #[arg(default_value = ".")]
    pub path: PathBuf,

    #[command(flatten)]
    pub pack: PackSettings,

    #[command(flatten)]
    pub access: AccessSettings,
}

#[derive(Args, Clone, Debug)]
pub struct PullSettings {
    /// A download link, or - for one on standard input
    pub link: Secret,

    /// File for the archive, or - for standard output [default: the server's name for it, in the working folder]
    #[arg(long, short, value_name = "FILE", conflicts_with = "unpack")]
    pub output: Option<PathBuf>,

    /// Unpack the archive into this folder, which must be new or empty
    #[arg(long, value_name = "DIR")]
    pub unpack: Option<PathBuf>,

    #[command(flatten)]
    pub limits: UnpackSettings,

    #[command(flatten)]
    pub connection: ConnectionSettings,

    #[command(flatten)]
    pub print: OutputSettings,
}

#[derive(Args, Clone, Debug)]
pub struct CheckSettings {
    /// An archive, or a folder as push would send it
    #[arg(default_value = ".")]
    pub path: PathBuf,

    /// Print only the names of its entries
    #[arg(long)]
    pub list: bool,

    #[command(flatten)]
    pub pack: PackSettings,

    #[command(flatten)]
    pub limits: UnpackSettings,

    #[command(flatten)]
    pub output: OutputSettings,
}

/// What an archive may unpack to.
#[derive(Args, Clone, Copy, Debug)]
pub struct UnpackSettings {
    /// Total size of the unpacked files
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    pub unpack_limit: ByteSize,

    /// Number of files, links and folders in the archive
    #[arg(long, value_name = "COUNT", default_value_t = 200_000, value_parser = value_parser!(u32).range(1..=100_000_000))]
    pub entry_limit: u32,
}

impl UnpackSettings {
    pub fn limits(self) -> UnpackLimits {
        UnpackLimits {
            unpacked_bytes: self.unpack_limit.as_u64(),
            entries: self.entry_limit as usize,
            ..UnpackLimits::default()
        }
    }
}

/// A server, or the store of one as its operator sees it.
#[derive(Args, Clone, Debug)]
pub struct PlaceSettings {
    #[command(flatten)]
    pub access: AccessSettings,

    /// Use this store directly, as its operator, instead of a server: a folder or a bucket, as for 'serve'
    #[arg(long, value_parser = parse_store)]
    pub store: Option<StorePlace>,

    /// Address of an S3-compatible object store
    #[arg(long, value_name = "URL", requires = "store")]
    pub s3_endpoint: Option<EndpointUrl>,

    /// Accept an object store without conditional writes
    #[arg(long, requires = "store")]
    pub allow_overwrite: bool,
}

impl PlaceSettings {
    /// The store, if one is meant.
    pub fn store(&self) -> Option<StoreSettings> {
        Some(StoreSettings {
            store: self.store.clone()?,
            s3_endpoint: self.s3_endpoint.clone(),
            allow_overwrite: self.allow_overwrite,
        })
    }
}

/// What the commands of an operator have in common.
#[derive(Args, Clone, Debug)]
pub struct OperatorSettings {
    #[command(flatten)]
    pub store: StoreSettings,

    #[command(flatten)]
    pub output: OutputSettings,
}

#[derive(Args, Clone, Debug)]
pub struct DeploySettings {
    /// Name or id of the application
    pub app: String,

    /// A folder to pack, an archive, - for an archive on standard input, or the link to an archive
    #[arg(value_name = "PATH|URL", default_value = ".")]
    pub source: Secret,

    /// Print the id of the deployment, and do not follow it
    #[arg(long)]
    pub detach: bool,

    /// Name of the deployed version [default: that of --git]
    #[arg(long = "ref", value_name = "REF")]
    pub git_ref: Option<String>,

    /// Create the application if it does not exist
    #[arg(long)]
    pub create: bool,

    /// The link is on standard input
    #[arg(long, hide = true)]
    pub link_on_stdin: bool,

    #[command(flatten)]
    pub pack: PackSettings,

    #[command(flatten)]
    pub access: AccessSettings,
}

/// The API token of the environment, which wins over what login kept.
pub fn token_variable() -> Option<Secret> {
    variable("WAYSTATION_TOKEN").map(Secret::new)
}

/// The proxies of the variables that all clients know, in either case.
pub fn proxy_variables() -> ProxyRules {
    let either = |name: &str| variable(name).or_else(|| variable(&name.to_uppercase()));
    let all = either("all_proxy");
    ProxyRules {
        http: either("http_proxy")
            .or_else(|| all.clone())
            .map(Secret::new),
        https: either("https_proxy").or(all).map(Secret::new),
        exempt: either("no_proxy").unwrap_or_default(),
    }
}

fn variable(name: &str) -> Option<String> {
    let value = env::var(name).ok()?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// The file that login keeps API tokens in; none if the user has no folder for configuration.
pub fn logins_file() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from);
    let absolute = |folder: PathBuf| folder.is_absolute().then_some(folder);
    let configuration = folder("XDG_CONFIG_HOME").and_then(absolute);
    let home = || Some(folder("HOME").and_then(absolute)?.join(".config"));
    let configuration = configuration.or_else(home)?;
    Some(configuration.join("waystation").join("logins.json"))
}

/// Where archives are put that nobody is to see.
pub fn temporary_folder() -> PathBuf {
    env::temp_dir()
}

/// The words of the command line, without the program.
pub fn arguments() -> Vec<OsString> {
    env::args_os().skip(1).collect()
}
