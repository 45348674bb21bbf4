//! Where the store is.
#![allow(
    clippy::doc_markdown,
    reason = "the comments of flags are the text of --help"
)]

use std::fmt;
use std::path::PathBuf;

use clap::Args;

use crate::store::bucket::{BucketUrl, EndpointUrl};

/// Where the store is; every command needs to know.
#[derive(Args, Clone, Debug)]
pub struct StoreSettings {
    /// Where archives and accounts are kept: a folder, created if missing, or a bucket, as
    /// s3://bucket/prefix, gs://bucket/prefix or az://container/prefix
    #[arg(long, default_value = "./waystation-data", value_parser = parse_store)]
    pub store: StorePlace,

    /// Address of an S3-compatible object store; credentials and region come from
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION
    #[arg(long, value_name = "URL")]
    pub s3_endpoint: Option<EndpointUrl>,

    /// Accept an object store without conditional writes: of two concurrent uploads to one source, or
    /// changes of one API token, either may win
    #[arg(long)]
    pub allow_overwrite: bool,
}

/// The kinds of place that a store can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    Folder(PathBuf),
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

pub(super) fn parse_store(text: &str) -> Result<StorePlace, String> {
    if text.starts_with('~') {
        // Only an unquoted word is expanded by a shell, and no environment variable is.
        return Err(
            "'~' is not expanded here: write the folder out, or ./~ if it is called that"
                .to_owned(),
        );
    }
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if rest.starts_with("//") => (scheme.to_ascii_lowercase(), rest),
        Some(("file", _)) => {
            return Err("a folder is written as /folder or file:///folder".to_owned());
        }
        _ if text.is_empty() => return Err("it must be a folder or the URL of a bucket".to_owned()),
        _ => return Ok(StorePlace::Folder(PathBuf::from(text))),
    };
    if scheme == "file" {
        return match rest.strip_prefix("//") {
            Some(path) if path.starts_with('/') && !path.contains(['%', '?', '#']) => {
                Ok(StorePlace::Folder(PathBuf::from(path)))
            }
            _ => Err(
                "a folder is written as /folder or file:///folder, nothing in it escaped"
                    .to_owned(),
            ),
        };
    }
    let url: Result<BucketUrl, _> = format!("{scheme}:{rest}").parse();
    url.map(StorePlace::Bucket)
        .map_err(|error| error.to_string())
}
