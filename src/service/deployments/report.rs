//! What a runner reports of its attempt: its log, and how it goes.

use bytes::Bytes;

use super::book::journal_of;
use super::changes::Tail;
use super::names::{Role, key_of};
use super::records::{Claim, ClaimedBy, End, SourceRecord};
use super::{
    Deployments, HEARD_GRAIN, LOG_TAIL_BYTES, LOST_AFTER, LastReport, MAX_REASON_BYTES,
    ReportError, lock,
};
use crate::clock::Timestamp;
use crate::deployment::{Attempt, Status};
use crate::grant::{FetchGrant, ReportGrant};
use crate::source::SourceId;
use crate::store::{Appended, Updated};

/// What a runner learns with each report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    pub log_bytes: u64,
    /// It is to stop.
    pub is_cancelled: bool,
}

/// A report of an attempt that has not ended.
struct Report {
    is_cancelled: bool,
    log_limit_bytes: u64,
}

impl Deployments {
    /// Appends to the log. An empty piece at its end only says that the runner is there.
    pub async fn append_log(
        &self,
        grant: ReportGrant,
        offset: u64,
        bytes: Bytes,
    ) -> Result<LogState, ReportError> {
        let attempt = grant.attempt();
        let Report {
            is_cancelled,
            log_limit_bytes,
        } = self.hear(attempt).await?;
        let id = attempt.deployment;
        let limit_bytes = log_limit_bytes + LOG_TAIL_BYTES;
        if offset.saturating_add(bytes.len() as u64) > limit_bytes {
            return Err(ReportError::LogFull { limit_bytes });
        }
        let journal = journal_of(id);
        let append = self.store.append_journal(&journal, offset, bytes.clone());
        let log_bytes = match append.await? {
            Appended::Mismatch { length } => {
                return Err(ReportError::OtherOffset { log_bytes: length });
            }
            Appended::Repeated { length } => length,
            Appended::Done { length } => {
                let tail = Tail {
                    number: id.number,
                    offset,
                    bytes,
                };
                self.changes.note_log(id.app, tail);
                length
            }
        };
        Ok(LogState {
            log_bytes,
            is_cancelled,
        })
    }

    /// Notes how it goes: forward only, and one end. Returns whether it is to be cancelled.
    pub async fn report_status(
        &self,
        grant: ReportGrant,
        status: Status,
        reason: Option<String>,
    ) -> Result<bool, ReportError> {
        if reason
            .as_ref()
            .is_some_and(|reason| reason.len() > MAX_REASON_BYTES)
        {
            return Err(ReportError::LongReason);
        }
        let attempt = grant.attempt();
        let heard = self.hear(attempt).await;
        if status.is_end() {
            return self.report_end(attempt, heard, status, reason).await;
        }
        let is_cancelled = heard?.is_cancelled;
        self.advance(attempt, status).await?;
        Ok(is_cancelled)
    }

    /// The archive of an attempt, if it is in this service, for as long as the attempt lives.
    pub async fn archive_of(&self, grant: FetchGrant) -> Result<SourceId, ReportError> {
        let attempt = grant.attempt();
        let deployment = self.get(attempt.deployment).await?;
        let deployment = deployment.filter(|found| found.end.is_none());
        let deployment = deployment.ok_or(ReportError::Over)?;
        match (
            deployment.claim.map(|claim| claim.by),
            deployment.record.source,
        ) {
            (Some(ClaimedBy::Runner(run)), SourceRecord::Own { source, .. })
                if run.nonce == attempt.nonce =>
            {
                Ok(source)
            }
            _ => Err(ReportError::Over),
        }
    }

    /// The runner of an attempt is there.
    ///
    /// That is written now and then only: a runner is lost by what the store says, and that may be some seconds old.
    async fn hear(&self, attempt: Attempt) -> Result<Report, ReportError> {
        let id = attempt.deployment;
        let present = self.present(id).await?;
        if !present.is_unfinished() {
            lock(&self.heard).remove(&attempt);
            return Err(ReportError::Over);
        }
        let now = self.clock.now();
        let known = lock(&self.heard).get(&attempt).copied();
        let heard = match known {
            Some(heard) if now >= heard.at && now.since(heard.at) < HEARD_GRAIN => heard,
            _ => self.note_heard(attempt, now).await?,
        };
        Ok(Report {
            is_cancelled: present.has(Role::Cancellation),
            log_limit_bytes: heard.log_limit_bytes,
        })
    }

    async fn note_heard(
        &self,
        attempt: Attempt,
        now: Timestamp,
    ) -> Result<LastReport, ReportError> {
        let id = attempt.deployment;
        let hear = |claim: Claim| claim.heard(attempt.nonce, now);
        let key = key_of(id, Role::Claim);
        let claim = match self.store.update_document(&key, hear).await? {
            Updated::Done(claim) => claim,
            Updated::Missing | Updated::Declined => return Err(ReportError::Over),
        };
        let claimed_with = claim.run().and_then(|run| run.log_limit_bytes);
        let heard = LastReport {
            at: now,
            log_limit_bytes: claimed_with.unwrap_or(self.limits.log_bytes),
        };
        let is_new = lock(&self.heard).insert(attempt, heard).is_none();
        if is_new {
            self.forget_silent_runners();
            self.changes.note_state(id.app);
        }
        Ok(heard)
    }

    /// Attempts that end through another node would stay forever.
    fn forget_silent_runners(&self) {
        let now = self.clock.now();
        lock(&self.heard).retain(|_, heard| now.since(heard.at) < 2 * LOST_AFTER);
    }

    async fn advance(&self, attempt: Attempt, status: Status) -> Result<(), ReportError> {
        let mut from = status;
        let advance = |mut claim: Claim| {
            if let ClaimedBy::Runner(run) = &mut claim.by {
                from = run.status;
                run.status = status;
            }
            (from < status).then_some(claim)
        };
        let key = key_of(attempt.deployment, Role::Claim);
        match self.store.update_document(&key, advance).await? {
            Updated::Done(_) => {
                self.changes.note_state(attempt.deployment.app);
                Ok(())
            }
            Updated::Missing => Err(ReportError::Over),
            Updated::Declined if from == status => Ok(()),
            Updated::Declined => Err(ReportError::Backwards { from, to: status }),
        }
    }

    /// The end, or the same end again, whose answer was lost.
    async fn report_end(
        &self,
        attempt: Attempt,
        heard: Result<Report, ReportError>,
        status: Status,
        reason: Option<String>,
    ) -> Result<bool, ReportError> {
        let id = attempt.deployment;
        let is_repeated =
            |end: &End| end.reported_by == Some(attempt.nonce) && end.status == status;
        match heard {
            Ok(report) => {
                let end = End {
                    status,
                    reason,
                    at: self.clock.now(),
                    log_bytes: self.store.journal_length(&journal_of(id)).await?,
                    reported_by: Some(attempt.nonce),
                };
                if is_repeated(&self.end(id, end).await?) {
                    Ok(report.is_cancelled)
                } else {
                    Err(ReportError::Over)
                }
            }
            Err(ReportError::Over) => match self.end_of(id).await? {
                Some(end) if is_repeated(&end) => Ok(false),
                Some(_) | None => Err(ReportError::Over),
            },
            Err(error) => Err(error),
        }
    }
}
