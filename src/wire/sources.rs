//! The resource `source`, and the report of an upload.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::media::MediaType;

/// `{"source":{…}}`: the answer to `POST /v1/sources`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceAnswer {
    pub source: SourceLinks,
}

/// The two links of a source. Each is a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLinks {
    pub upload_url: String,
    pub download_url: String,
}

/// `{"upload":{…}}`: the answer to a `PUT` of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadAnswer {
    pub upload: UploadReport,
}

/// What is known of an archive that was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadReport {
    pub size: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
    pub media_type: MediaType,
    pub uploaded_at: Timestamp,
    pub expires_at: Timestamp,
}
