//! The resource `source`, and the report of an upload.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::media::MediaType;

/// `{"source":{…}}`: the answer to `POST /v1/sources`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceAnswer {
    /// The new source.
    pub source: SourceLinks,
}

/// The two links of a source. Each is a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLinks {
    /// Where its archive can be put.
    pub upload_url: String,
    /// Where its archive can be fetched.
    pub download_url: String,
}

/// `{"upload":{…}}`: the answer to a `PUT` of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UploadAnswer {
    /// What was received.
    pub upload: UploadReport,
}

/// What is known of an archive that was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UploadReport {
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// What its first bytes say it is.
    pub media_type: MediaType,
    /// When all of it had been received.
    pub uploaded_at: Timestamp,
    /// When it is deleted.
    pub expires_at: Timestamp,
}
