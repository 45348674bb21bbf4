//! What the documents of a deployment hold. Pure; `names.rs` says how they are called.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::deployment::{DeploymentId, Nonce, Status};
use crate::digest::Sha256Digest;
use crate::service::api_tokens::TokenId;
use crate::service::users::UserId;
use crate::source::SourceId;
use crate::store::Pin;

/// What was asked for. It never changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub pusher: UserId,
    pub git_ref: Option<String>,
    pub created_at: Timestamp,
    pub source: SourceRecord,
}

/// Where the archive is. Never a link.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceRecord {
    /// In this service.
    Own {
        source: SourceId,
        /// None of one that was uploaded to the object store directly.
        sha256: Option<Sha256Digest>,
        size_bytes: u64,
        /// What keeps the archive.
        pin: Pin,
    },
    /// Elsewhere; only a runner learns where.
    Elsewhere { host: String, sealed_url: String },
}

/// The holder of a deployment. Creating this document, or replacing an unconfirmed one, decides what becomes of the
/// deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub by: ClaimedBy,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimedBy {
    Runner(Run),
    /// No runner will get it: it is to end as aborted, for this reason.
    Withdrawn {
        reason: String,
    },
}

/// What a runner makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The runner's API token.
    pub runner: TokenId,
    pub nonce: Nonce,
    /// When the runner was last heard of, to some seconds; `None` if it was not: it may never have learned of its
    /// claim, and has started nothing.
    pub heard_at: Option<Timestamp>,
    pub status: Status,
    /// The size of its log, and its time: as announced to the runner, whatever the settings of the servers that it reports
    /// to are now. `None` if an older version handed it out.
    pub log_limit_bytes: Option<u64>,
    pub timeout_seconds: Option<u64>,
}

impl Claim {
    pub const fn run(&self) -> Option<&Run> {
        match &self.by {
            ClaimedBy::Runner(run) => Some(run),
            ClaimedBy::Withdrawn { .. } => None,
        }
    }

    /// The run, once its runner has confirmed it.
    pub fn confirmed(&self) -> Option<(&Run, Timestamp)> {
        let run = self.run()?;
        Some((run, run.heard_at?))
    }

    /// Is it handed to a runner that has not said that it has it?
    pub fn is_unconfirmed(&self) -> bool {
        matches!(&self.by, ClaimedBy::Runner(run) if run.heard_at.is_none())
    }

    /// The same, heard of at `now`, if it is that attempt's.
    pub fn heard(mut self, nonce: Nonce, now: Timestamp) -> Option<Self> {
        match &mut self.by {
            ClaimedBy::Runner(run) if run.nonce == nonce => {
                run.heard_at = Some(now);
                Some(self)
            }
            ClaimedBy::Runner(_) | ClaimedBy::Withdrawn { .. } => None,
        }
    }
}

/// It is to be cancelled. Its runner learns it with its next report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cancellation {
    pub(super) at: Timestamp,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub status: Status,
    pub reason: Option<String>,
    pub at: Timestamp,
    /// How much of the journal is its log: what a late runner may still have appended is not.
    pub log_bytes: u64,
    /// The attempt that reported it; `None` if the server ended it.
    pub reported_by: Option<Nonce>,
}

/// A deployment, as its documents say.
#[derive(Clone, Debug)]
pub struct Deployment {
    pub id: DeploymentId,
    pub record: Record,
    pub claim: Option<Claim>,
    pub end: Option<End>,
}

impl Deployment {
    pub fn status(&self) -> Status {
        let run = self.claim.as_ref().and_then(Claim::confirmed);
        match (&self.end, run) {
            (Some(end), _) => end.status,
            (None, Some((run, _))) => run.status,
            (None, None) => Status::Queued,
        }
    }

    /// When a runner began with it.
    pub fn started_at(&self) -> Option<Timestamp> {
        let claim = self.claim.as_ref()?;
        claim.confirmed().map(|_| claim.at)
    }

    /// From its start to its end, or to `now`.
    pub fn duration(&self, now: Timestamp) -> Duration {
        let until = self.end.as_ref().map_or(now, |end| end.at);
        self.started_at()
            .map_or(Duration::ZERO, |started_at| until.since(started_at))
    }
}
