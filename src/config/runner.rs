//! All that can be set for a runner.
#![allow(
    clippy::doc_markdown,
    reason = "the comments of flags are the text of --help"
)]

use std::ffi::OsString;
use std::path::PathBuf;

use bytesize::ByteSize;
use clap::Args;

use super::client::UnpackSettings;
use crate::ops::log::LogFormat;
use crate::public_url::PublicUrl;
use crate::runner::Allowed;

/// Where a runner works, if nothing else is said.
pub const WORK_DIR: &str = "./waystation-runner";

#[derive(Args, Clone, Debug)]
pub struct RunnerSettings {
    /// Address of the server to ask for work
    #[arg(long, value_name = "URL")]
    pub server: PublicUrl,

    /// File with a token for runners, as 'waystation token create NAME --runner' prints it
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,

    /// Folder for archives, trees and logs, private to this user; used by one runner at a time, and emptied when it
    /// starts
    #[arg(long, value_name = "DIR", default_value = WORK_DIR)]
    pub work_dir: PathBuf,

    /// PEM file of certificate authorities to trust besides the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Allow plain HTTP to another machine, where others could read token and links
    #[arg(long)]
    pub plain_http: bool,

    /// Host, address or network outside the public internet from which users' links may fetch archives, on any port;
    /// can be repeated [default: none]
    #[arg(long, value_name = "HOST|CIDR", value_delimiter = ',')]
    pub fetch_allow: Vec<Allowed>,

    /// Also fetch archives by plain HTTP
    #[arg(long)]
    pub fetch_plain_http: bool,

    /// Size of the largest archive that is fetched
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub archive_limit: ByteSize,

    #[command(flatten)]
    pub unpack: UnpackSettings,

    /// Format of the runner's own log, on standard error
    #[arg(long, value_name = "FORMAT", default_value = "human", value_enum)]
    pub log: LogFormat,

    /// End when standard input does: the server that has started this runner is gone
    #[arg(long, hide = true)]
    pub end_with_stdin: bool,

    /// Command to run on each archive, in the folder that it is unpacked to
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub command: Vec<OsString>,
}
