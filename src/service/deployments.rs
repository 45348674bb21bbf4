//! Deployments: accepted into a queue, claimed by a runner, logged, ended once, kept for a while.
//!
//! All that is true of a deployment stands in the store (`names.rs` lists the documents), so any node takes the
//! POST, any runner asks any node, and any node streams. Three rules make that safe:
//!
//! * **The queue is the book of what is left to do.** An entry is written before the record of its deployment, and
//!   deleted after everything else. A process that is killed in between leaves an entry, which the next look or the
//!   upkeep completes.
//! * **The claim decides.** It is created where none is, or replaces one that was never confirmed. What a runner has
//!   confirmed only that runner ends, or the server after a deadline; what nobody has, the server may withdraw, by
//!   the same document.
//! * **The first end stands.** It says how much of the journal is the log, so that nothing is appended after it.

mod accept;
mod accepting;
mod book;
mod changes;
mod claim;
mod ending;
mod follow;
mod known_queue;
mod names;
mod records;
mod report;
mod source_url;
mod upkeep;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Clock, Timestamp};
use crate::deployment::{Attempt, DeploymentId, Status};
use crate::grant::GrantKeys;
use crate::keys::KeyRing;
use crate::limits::AtOnceLimit;
use crate::mutex::lock;
use crate::seal::SealKeys;
use crate::service::apps::Apps;
use crate::service::events::Events;
use crate::service::users::Users;
use crate::service::variables::Variables;
use crate::store::{Store, StoreError};
use accepting::Accepting;
use changes::Changes;
use known_queue::KnownQueue;

pub use accept::DeploymentRequest;
pub use claim::Claimed;
pub use follow::{DeploymentUpdate, Follower};
pub use records::{Deployment, Record, SourceRecord};
pub use report::LogState;
pub use source_url::{MAX_SOURCE_URL_BYTES, SourceUrlError};

/// The use for which links to archives elsewhere are sealed.
const SEAL_LABEL: &str = "waystation/source-urls/v1";
/// The longest `git_ref`, in bytes.
pub const MAX_GIT_REF_BYTES: usize = 255;
/// The longest reason for an end, in bytes.
pub const MAX_REASON_BYTES: usize = 4096;
/// How long a runner may be silent before it has lost its deployment.
pub const LOST_AFTER: Duration = Duration::from_mins(1);
/// The precision of the stored time of a runner's last report.
const HEARD_GRAIN: Duration = Duration::from_secs(10);
/// How long a claim waits for its first report before it is handed to the next runner.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(15);
/// What a log may have beyond its limit: the line that says so, and its last lines.
pub const LOG_TAIL_BYTES: u64 = 68 * 1024;
/// The time that a runner has after the deadline to stop the command, before the server ends the deployment.
const STOP_GRACE: Duration = Duration::from_mins(1);
/// Why a deployment of an application that is gone is aborted.
const APP_DELETED: &str = "the app was deleted";
/// How often to look for changes that others made in the store.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often to look for deadlines and unfinished steps.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The limits on deployments.
#[derive(Clone, Copy, Debug)]
pub struct DeploymentLimits {
    /// How many of an application may wait.
    pub queue_per_app: usize,
    /// How many of all applications may be unfinished.
    pub queue: usize,
    pub queue_timeout: Duration,
    /// How long one may take from its claim to its end.
    pub run_timeout: Duration,
    pub log_bytes: u64,
    /// How many of an application are kept after their end.
    pub kept: usize,
    pub followers_per_app: u32,
}

impl Default for DeploymentLimits {
    fn default() -> Self {
        Self {
            queue_per_app: 25,
            queue: 1000,
            queue_timeout: Duration::from_hours(1),
            run_timeout: Duration::from_mins(30),
            log_bytes: 16 * 1024 * 1024,
            kept: 20,
            followers_per_app: 100,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error(transparent)]
    SourceUrl(#[from] SourceUrlError),
    #[error("a git_ref has at most {MAX_GIT_REF_BYTES} bytes and no control characters")]
    BadGitRef,
    #[error("{limit} deployments of the app wait, and no more are allowed")]
    AppQueueFull { limit: usize },
    #[error("{limit} deployments are unfinished, and no more are allowed")]
    QueueFull { limit: usize },
    /// There is none, or none any more.
    #[error("there is no such deployment")]
    Unknown,
}

/// Why a report of a runner changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The deployment has ended, or another attempt has it.
    #[error("the attempt is over")]
    Over,
    /// The log does not end there.
    #[error("the log has {log_bytes} bytes")]
    OtherOffset { log_bytes: u64 },
    #[error("the log would be longer than {limit_bytes} bytes")]
    LogFull { limit_bytes: u64 },
    #[error("{from} does not go back to {to}")]
    Backwards { from: Status, to: Status },
    #[error("a reason has at most {MAX_REASON_BYTES} bytes")]
    LongReason,
}

/// A deployment that ended, for the metrics.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub status: Status,
    /// From its claim to its end.
    pub duration: Duration,
}

/// Called for each end that this process wrote.
pub type OnEnd = Box<dyn Fn(Ended) + Send + Sync>;

/// The deployments of a store.
pub struct Deployments {
    store: Store,
    apps: Apps,
    users: Users,
    variables: Variables,
    events: Events,
    grants: GrantKeys,
    seals: SealKeys,
    clock: Clock,
    limits: DeploymentLimits,
    on_end: OnceLock<OnEnd>,
    changes: Changes,
    queue: KnownQueue,
    followers: Arc<AtOnceLimit<[u8; 16]>>,
    accepting: Accepting,
    /// Held while work is looked for: of two runners of one node that look at once, one would have to lose.
    claiming: tokio::sync::Mutex<ClaimCache>,
    /// The runners that report to this process, as the store has it.
    heard: Mutex<HashMap<Attempt, LastReport>>,
    watch: Mutex<Watch>,
}

/// What is known of a runner that reports.
#[derive(Clone, Copy)]
struct LastReport {
    at: Timestamp,
    /// How much of its log is taken.
    log_limit_bytes: u64,
}

/// What this process knows of claims.
#[derive(Default)]
struct ClaimCache {
    /// Entries of the queue whose claims are confirmed, by whomever: that stays so.
    confirmed: HashSet<DeploymentId>,
    /// When there was nothing to claim, and what [`Changes::works`] was then.
    idle: Option<(Instant, u64)>,
}

/// Since when this process has looked at runners without a break, and what it saw last.
#[derive(Default)]
struct Watch {
    /// When it began, and the last time.
    unbroken: Option<(Timestamp, Timestamp)>,
    /// When runners were heard of, as the store says, and since when this process has seen just that.
    seen: HashMap<DeploymentId, (Timestamp, Timestamp)>,
    /// The entry of the queue after which the next look continues.
    next: usize,
    facts: QueueSummary,
}

/// What the queue looked like lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueSummary {
    pub unfinished: usize,
    /// How long the first of them has been there.
    pub oldest: Duration,
}

impl Deployments {
    pub fn new(store: &Store, keys: &KeyRing, clock: Clock, limits: DeploymentLimits) -> Self {
        Self {
            store: store.clone(),
            apps: Apps::new(store.clone()),
            users: Users::new(store.clone()),
            variables: Variables::new(store.clone()),
            events: Events::new(store.clone()),
            grants: GrantKeys::derive(keys),
            seals: SealKeys::derive(keys, SEAL_LABEL),
            clock,
            limits,
            on_end: OnceLock::new(),
            changes: Changes::default(),
            queue: KnownQueue::default(),
            followers: AtOnceLimit::new(limits.followers_per_app),
            accepting: Accepting::default(),
            claiming: tokio::sync::Mutex::default(),
            heard: Mutex::default(),
            watch: Mutex::default(),
        }
    }

    /// Calls `on_end` for each end that this process writes.
    pub fn note_ends(&self, on_end: OnEnd) {
        // The first stays: there is one for a process.
        let _ = self.on_end.set(on_end);
    }

    pub const fn limits(&self) -> &DeploymentLimits {
        &self.limits
    }

    /// What the upkeep saw last of the queue.
    pub fn queue_summary(&self) -> QueueSummary {
        lock(&self.watch).facts
    }

    /// Until when an archive is kept for a deployment that is accepted now.
    fn pinned_until(&self, now: Timestamp) -> Timestamp {
        let limits = &self.limits;
        now.after(limits.queue_timeout + limits.run_timeout + 2 * STOP_GRACE)
    }
}
