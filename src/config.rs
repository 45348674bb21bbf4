//! Flags and environment to validated settings: every limit of the service, with its unit and
//! default. The only reader of the environment.
#![allow(
    clippy::doc_markdown,
    reason = "the comments of flags are the text of --help"
)]

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use ipnet::IpNet;

use crate::ops::log::LogFormat;
use crate::public_url::PublicUrl;
use crate::secret::Secret;
use crate::service::account::FIRST_USER;
use crate::service::sources::TransferMode;
use crate::store::bucket::{BucketUrl, EndpointUrl};
use crate::store::folder::Sync;

/// The shortest lifetime of a source.
pub const MIN_LIFETIME: Duration = Duration::from_secs(1);
/// The longest lifetime of a source.
pub const MAX_LIFETIME: Duration = Duration::from_hours(7 * 24);

/// Where the store is; every command needs to know.
#[derive(Args, Clone, Debug)]
pub struct StoreSettings {
    /// Where archives and accounts are kept: a folder, made if it is not there, or a bucket, as
    /// s3://bucket/prefix, gs://bucket/prefix or az://container/prefix
    #[arg(
        long,
        value_name = "STORE",
        default_value = "./waystation-data",
        env = "WAYSTATION_STORE",
        value_parser = parse_store
    )]
    pub store: StorePlace,

    /// The object store that speaks S3, if it is not Amazon's; credentials and region are in the usual
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION
    #[arg(long, value_name = "URL", env = "WAYSTATION_S3_ENDPOINT")]
    pub s3_endpoint: Option<EndpointUrl>,

    /// Go on with an object store that cannot create a key only where none is: of two uploads to one
    /// source that finish at once, either may then stay
    #[arg(long, env = "WAYSTATION_ALLOW_OVERWRITE")]
    pub allow_overwrite: bool,
}

/// The kinds of place that a store can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A bucket of an object store.
    Bucket(BucketUrl),
}

impl fmt::Display for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => fmt::Display::fmt(&folder.display(), f),
            Self::Bucket(url) => fmt::Display::fmt(url, f),
        }
    }
}

/// Whose a new API token is.
#[derive(Args, Clone, Debug)]
pub struct OwnerSettings {
    /// Whose the token is
    #[arg(long, value_name = "USER", default_value = FIRST_USER, env = "WAYSTATION_USER")]
    pub user: String,
}

/// What is known of a new user besides the name.
#[derive(Args, Clone, Debug)]
pub struct ContactSettings {
    /// The e-mail address at which the user can be reached
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true,
        env = "WAYSTATION_EMAIL"
    )]
    pub email: String,
}

/// All that can be set for the server.
#[derive(Args, Clone, Debug)]
pub struct ServeSettings {
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreSettings,

    /// Address and port to accept connections on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        env = "WAYSTATION_LISTEN"
    )]
    pub listen: SocketAddr,

    /// Certificate in PEM, and those that vouch for it: serve HTTPS (read again when it changes)
    #[arg(
        long,
        value_name = "FILE",
        env = "WAYSTATION_TLS_CERT",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "WAYSTATION_TLS_KEY",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,

    /// Serve plain HTTP on an address other than loopback: something in front speaks TLS
    #[arg(long, env = "WAYSTATION_PLAIN_HTTP")]
    pub plain_http: bool,

    /// Address for /healthz, /readyz and /metrics; a port alone is one on loopback [default: none]
    #[arg(long, value_name = "ADDRESS", env = "WAYSTATION_ADMIN_LISTEN", value_parser = parse_admin)]
    pub admin_listen: Option<SocketAddr>,

    /// Network of proxies whose X-Forwarded-* headers are believed; may be given
    /// several times [default: none]
    #[arg(long, value_name = "CIDR", env = "WAYSTATION_TRUSTED_PROXY", value_delimiter = ',', value_parser = parse_network)]
    pub trusted_proxy: Vec<IpNet>,

    /// Calls to the API that a user may make in a minute, and at once; 0 for no limit
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 60,
        env = "WAYSTATION_RATE_LIMIT"
    )]
    pub rate_limit: u32,

    /// Failed authentications from one address (IPv6: one /64) that are answered in a minute, the
    /// others being told to retry later; 0 for no limit
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 60,
        env = "WAYSTATION_AUTH_FAILURE_LIMIT"
    )]
    pub auth_failure_limit: u32,

    /// What the links handed out begin with [default: the scheme, and the host that was asked]
    #[arg(long, value_name = "URL", env = "WAYSTATION_PUBLIC_URL")]
    pub public_url: Option<PublicUrl>,

    /// How long a source and its links live, 1s to 7d
    #[arg(long, value_name = "DURATION", default_value = "10m", env = "WAYSTATION_LIFETIME", value_parser = parse_lifetime)]
    pub lifetime: Duration,

    /// The largest archive that is taken, inclusive
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1GiB",
        env = "WAYSTATION_UPLOAD_LIMIT"
    )]
    pub upload_limit: ByteSize,

    /// A file of keys that sign and verify links: base64 of at least 32 bytes a line; the first
    /// signs, all verify [default: a folder makes and keeps its own; with a bucket, one is needed]
    #[arg(long, value_name = "FILE", env = "WAYSTATION_KEY_FILE")]
    pub key_file: Option<PathBuf>,

    /// The keys themselves, separated by commas; in the environment only, since a command line can be
    /// seen by everybody on the machine
    #[arg(
        long,
        hide = true,
        env = "WAYSTATION_KEYS",
        hide_env_values = true,
        conflicts_with = "key_file",
        value_parser = parse_secret
    )]
    pub keys: Option<Secret>,

    /// Whether archives pass through this server, or the links handed out are the object store's own
    #[arg(
        long,
        value_name = "MODE",
        default_value = "proxy",
        env = "WAYSTATION_TRANSFERS",
        value_enum
    )]
    pub transfers: TransferMode,

    /// Whether an answered upload outlives a power cut (on), or only the end of the server (off)
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "on",
        env = "WAYSTATION_SYNC",
        value_enum
    )]
    pub sync: Sync,

    /// Room that uploads leave free on the store's file system
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "256MiB",
        env = "WAYSTATION_KEEP_FREE"
    )]
    pub keep_free: ByteSize,

    /// How often expired sources are looked for and deleted, up to 5s
    #[arg(long, value_name = "DURATION", default_value = "1s", env = "WAYSTATION_SWEEP_EVERY", value_parser = parse_sweep)]
    pub sweep_every: Duration,

    /// Uploads and downloads that may run at once, together
    #[arg(long, value_name = "COUNT", default_value_t = 2048, env = "WAYSTATION_MAX_TRANSFERS", value_parser = parse_count)]
    pub max_transfers: u32,

    /// Those of one client's address (IPv6: one /64) [default: half of --max-transfers]
    #[arg(long, value_name = "COUNT", env = "WAYSTATION_MAX_TRANSFERS_PER_ADDRESS", value_parser = parse_count)]
    pub max_transfers_per_address: Option<u32>,

    /// Connections that are served at once; more wait to be accepted
    #[arg(long, value_name = "COUNT", default_value_t = 4096, env = "WAYSTATION_MAX_CONNECTIONS", value_parser = parse_count)]
    pub max_connections: u32,

    /// Those of one address (IPv6: one /64); more are closed at once. A --trusted-proxy has no such
    /// limit [default: half of --max-connections]
    #[arg(long, value_name = "COUNT", env = "WAYSTATION_MAX_CONNECTIONS_PER_ADDRESS", value_parser = parse_count)]
    pub max_connections_per_address: Option<u32>,

    /// Time for a request's head to arrive, and for the small body of a call to the API; an idle
    /// connection is closed after it as well
    #[arg(long, value_name = "DURATION", default_value = "30s", env = "WAYSTATION_HEADER_TIMEOUT", value_parser = parse_duration)]
    pub header_timeout: Duration,

    /// The largest head of a request, at least 8KiB
    #[arg(long, value_name = "SIZE", default_value = "32KiB", env = "WAYSTATION_HEADER_LIMIT", value_parser = parse_header_limit)]
    pub header_limit: ByteSize,

    /// How long nothing may come, or be taken, in the middle of a transfer
    #[arg(long, value_name = "DURATION", default_value = "60s", env = "WAYSTATION_IDLE_TIMEOUT", value_parser = parse_duration)]
    pub idle_timeout: Duration,

    /// The slowest that a transfer may be for half a minute, in bytes a second; 0 for no limit
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1KiB",
        env = "WAYSTATION_MIN_RATE"
    )]
    pub min_rate: ByteSize,

    /// The largest body of a request to the API (archives have --upload-limit)
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64KiB",
        env = "WAYSTATION_API_BODY_LIMIT"
    )]
    pub api_body_limit: ByteSize,

    /// Time for running transfers to finish when the server is told to stop
    #[arg(long, value_name = "DURATION", default_value = "30s", env = "WAYSTATION_DRAIN", value_parser = parse_drain)]
    pub drain: Duration,

    /// How the log is written, to standard error
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "human",
        env = "WAYSTATION_LOG",
        value_enum
    )]
    pub log: LogFormat,
}

fn parse_store(text: &str) -> Result<StorePlace, String> {
    if text.is_empty() {
        return Err("a folder's name or a bucket's URL is needed".to_owned());
    }
    if text.contains("://") {
        let url: Result<BucketUrl, _> = text.parse();
        return url
            .map(StorePlace::Bucket)
            .map_err(|error| error.to_string());
    }
    Ok(StorePlace::Folder(PathBuf::from(text)))
}

/// Never fails; what the keys are is seen when they are read.
#[allow(
    clippy::unnecessary_wraps,
    reason = "the command line's parser wants a Result"
)]
fn parse_secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text.to_owned()))
}

fn parse_admin(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    text.parse()
        .map_err(|_| "it looks like 127.0.0.1:9090, or 9090".to_owned())
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse().map(|address: IpAddr| IpNet::from(address));
    text.parse()
        .or_else(|_| address())
        .map_err(|_| "a network looks like 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1".to_owned())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; durations look like 500ms, 2s, 10m, 7d"))?;
    if duration.is_zero() {
        return Err("it must be longer than nothing".to_owned());
    }
    Ok(duration)
}

fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = parse_duration(text)?;
    if (MIN_LIFETIME..=MAX_LIFETIME).contains(&lifetime) {
        Ok(lifetime)
    } else {
        Err("links can live for 1s to 7d".to_owned())
    }
}

fn parse_sweep(text: &str) -> Result<Duration, String> {
    let every = parse_duration(text)?;
    if every <= Duration::from_secs(5) {
        Ok(every)
    } else {
        Err("expired sources are to be gone within 5s".to_owned())
    }
}

fn parse_drain(text: &str) -> Result<Duration, String> {
    if text == "0" || text == "0s" {
        return Ok(Duration::ZERO);
    }
    parse_duration(text)
}

fn parse_header_limit(text: &str) -> Result<ByteSize, String> {
    let limit: ByteSize = text.parse()?;
    if (ByteSize::kib(8)..=ByteSize::mib(1)).contains(&limit) {
        Ok(limit)
    } else {
        Err("it can be 8KiB to 1MiB".to_owned())
    }
}

fn parse_count(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(count) if (1..=1_000_000).contains(&count) => Ok(count),
        _ => Err("it can be 1 to 1000000".to_owned()),
    }
}
