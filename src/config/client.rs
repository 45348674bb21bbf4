//! All that can be set for the client's commands, and what of the environment counts for them.
#![allow(
    clippy::doc_markdown,
    reason = "the comments of flags are the text of --help"
)]

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
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
    /// Certificates in PEM of authorities to trust beside those of the system
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// Speak plain HTTP to a server on another machine, where others could read token and links
    #[arg(long)]
    pub plain_http: bool,

    /// How long a transfer may make no progress before it is tried again
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub idle_timeout: Duration,
}

/// Which server is asked. The API token comes from WAYSTATION_TOKEN, or from 'waystation login'.
#[derive(Args, Clone, Debug)]
pub struct RemoteSettings {
    /// Address of the server [default: the one of the last 'waystation login']
    #[arg(long, value_name = "URL")]
    pub url: Option<PublicUrl>,

    /// Address that exchanges API tokens, where that is not the server [default: the server; the platform's own for
    /// the platform]
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

    /// Show no bars and no notes; warnings and errors stay
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
    /// Pack what ignore files leave out, too; .git is never packed
    #[arg(long)]
    pub no_ignore: bool,

    /// Pack this commit, branch or tag instead of the files as they are, whatever ignore files say
    #[arg(long, value_name = "REF", conflicts_with = "no_ignore")]
    pub git: Option<String>,

    /// Name of the folder at the root of the archive [default: that of the folder that is packed]
    #[arg(long, value_name = "NAME")]
    pub root: Option<RootName>,

    /// gzip, gzip:1 to gzip:9, zstd, zstd:1 to zstd:19, or none
    #[arg(long, value_name = "HOW", default_value = "gzip")]
    pub compress: Compression,

    /// Fail where there would be a warning: links to nothing, or out of the folder
    #[arg(long)]
    pub strict: bool,
}

/// The name of the folder at the root of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootName(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is a name of up to {NAME_BYTES} bytes, without a slash, and neither . nor ..")]
pub struct NoRootName;

impl FromStr for RootName {
    type Err = NoRootName;

    fn from_str(text: &str) -> Result<Self, NoRootName> {
        let is_name = !matches!(text, "" | "." | "..") && !text.contains(['/', '\0']);
        if is_name && text.len() <= NAME_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoRootName)
        }
    }
}

impl RootName {
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[derive(Args, Clone, Debug)]
pub struct LoginSettings {
    /// Address of the server
    pub url: PublicUrl,

    /// File with the API token, instead of being asked for it
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Address that exchanges API tokens, where that is not the server [default: the server; the platform's own for
    /// the platform]
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
    /// A folder, which is packed, an archive, or - for an archive on standard input
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

    /// Where to put the archive; - is standard output [default: what the server calls it, in the working folder]
    #[arg(long, short, value_name = "FILE", conflicts_with = "unpack")]
    pub output: Option<PathBuf>,

    /// Unpack the archive to this folder, which is made, or has to be empty
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
    /// A folder, as push would send it, or an archive
    #[arg(default_value = ".")]
    pub path: PathBuf,

    /// Print the names of what is in it, and nothing else
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
    /// Size of all files of the archive together, once unpacked
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    pub unpack_limit: ByteSize,

    /// Files, links and folders of the archive together
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

    /// Look into this store, as its operator, instead of asking a server: a folder, or a bucket, as 'serve' has it
    #[arg(long, value_parser = parse_store)]
    pub store: Option<StorePlace>,

    /// Address of an object store that speaks S3 and is not Amazon's
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

    /// A folder, which is packed, an archive, - for an archive on standard input, or the link to an archive
    #[arg(value_name = "PATH|URL", default_value = ".")]
    pub source: Secret,

    /// Print the id of the deployment, and do not follow it
    #[arg(long)]
    pub detach: bool,

    /// What the deployment is called, such as a version [default: that of --git]
    #[arg(long = "ref", value_name = "REF")]
    pub git_ref: Option<String>,

    /// Create the application if it is not there
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
