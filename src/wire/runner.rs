//! What a runner and the server say to each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::deployments::Deployment;
use crate::clock::Timestamp;
use crate::deployment::Status;

/// `{"claim":{…}}`: the answer to `POST /v1/runner/claims`.
#[derive(Clone, Serialize, Deserialize)]
pub struct ClaimAnswer {
    pub claim: Claim,
}

/// A deployment that is handed to a runner. It is to start nothing before its first report has been answered with 200.
#[derive(Clone, Serialize, Deserialize)]
pub struct Claim {
    pub deployment: Deployment,
    pub app: ClaimedApp,
    /// Secrets of the application's owner.
    pub variables: BTreeMap<String, String>,
    /// Where the archive is. A secret.
    pub source_url: String,
    /// What the paths of reports begin with. A secret.
    pub report_url: String,
    /// When the runner is to have ended it.
    pub deadline_at: Timestamp,
    /// How long that is from now, whatever the runner's clock says.
    pub timeout_seconds: u64,
    /// How much of its log is taken, and then its last 64 KiB.
    pub log_limit_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedApp {
    pub id: String,
    pub name: String,
}

/// The answer to `PUT …/log?offset=N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogAnswer {
    pub log_bytes: u64,
    /// The command is to be stopped.
    pub cancel: bool,
}

/// The body of `PUT …/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    pub status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    pub status: Status,
    pub cancel: bool,
}
