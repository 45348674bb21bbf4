//! How a deployment ends: its last line, its end, what follows from it, and last of all its entry in the queue.
//!
//! Each step can be repeated. So any process that finds an entry whose deployment has ended does the remaining ones.

use bytes::Bytes;

use super::book::journal_of;
use super::names::{QueueEntry, Role, key_of};
use super::records::{Cancellation, Claim, ClaimedBy, Deployment, End};
use super::{APP_DELETED, DeploymentError, Deployments, Ended};
use crate::deployment::{DeploymentId, Status};
use crate::error_chain::chain;
use crate::service::apps::{AppId, LastDeployment};
use crate::service::events::{DeploymentEnd, Event, EventKind};
use crate::store::{Appended, Expected, StoreError, Versioned, Written};

/// How often others may come between before a step fails.
const ATTEMPTS: u32 = 5;
/// Why one is aborted that no runner had yet.
const CANCELLED: &str = "it was cancelled before a runner claimed it";

/// What became of the wish to end a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withdrawal {
    Done,
    /// A runner has confirmed that it has it.
    Running,
}

impl Deployments {
    /// Ends a deployment that waits, or asks the runner that has it to stop. Again, or at its end, nothing happens.
    pub async fn cancel(&self, deployment: &Deployment) -> Result<Deployment, DeploymentError> {
        if deployment.end.is_none() {
            self.stop(deployment.id, CANCELLED).await?;
        }
        let now = self.get(deployment.id).await?;
        now.ok_or(DeploymentError::Unknown)
    }

    /// Ends all deployments of an application that is being deleted. What belongs to them goes with the last.
    pub async fn end_all_of(&self, app: AppId) -> Result<(), StoreError> {
        let id = *app.as_bytes();
        let roster = self.roster(id).await?;
        for number in roster.unfinished() {
            let id = DeploymentId { app: id, number };
            self.stop(id, APP_DELETED).await?;
        }
        // If the application is not deleted after all, its next deployment has the next number.
        let kept = match self.apps.get(app).await? {
            Some(_) => roster.last_number(),
            None => None,
        };
        self.delete_all_of(id, kept).await
    }

    async fn stop(&self, id: DeploymentId, reason: &str) -> Result<(), StoreError> {
        if self.withdraw(id, reason).await? == Withdrawal::Done {
            return Ok(());
        }
        let cancellation = Cancellation {
            at: self.clock.now(),
        };
        let key = key_of(id, Role::Cancellation);
        let write = self
            .store
            .write_document(&key, &cancellation, Expected::Absent);
        match write.await? {
            Written::Done | Written::Conflict => Ok(()),
        }
    }

    /// Aborts what no runner has confirmed: from now on none can.
    pub(super) async fn withdraw(
        &self,
        id: DeploymentId,
        reason: &str,
    ) -> Result<Withdrawal, StoreError> {
        for _ in 0..ATTEMPTS {
            let found: Option<Versioned<Claim>> = self.read(id, Role::Claim).await?;
            let expected = match found {
                None => Expected::Absent,
                Some(found) if found.value.is_unconfirmed() => Expected::Version(found.version),
                Some(found) => match found.value.by {
                    ClaimedBy::Runner(_) => return Ok(Withdrawal::Running),
                    ClaimedBy::Withdrawn { reason } => {
                        self.end_by_server(id, Status::Aborted, reason).await?;
                        return Ok(Withdrawal::Done);
                    }
                },
            };
            let claim = Claim {
                by: ClaimedBy::Withdrawn {
                    reason: reason.to_owned(),
                },
                at: self.clock.now(),
            };
            if self.write_claim(id, &claim, expected).await? == Written::Done {
                let reason = reason.to_owned();
                self.end_by_server(id, Status::Aborted, reason).await?;
                return Ok(Withdrawal::Done);
            }
        }
        Err(StoreError::Contended)
    }

    /// Why one is aborted that waited for too long.
    pub(super) fn queued_too_long(&self) -> String {
        let limit = humantime::format_duration(self.limits.queue_timeout);
        format!("no runner claimed it within {limit}")
    }

    /// Writes the reason into the log, and ends it.
    pub(super) async fn end_by_server(
        &self,
        id: DeploymentId,
        status: Status,
        reason: String,
    ) -> Result<(), StoreError> {
        let log_bytes = self.write_line(id, &reason).await?;
        let end = End {
            status,
            reason: Some(reason),
            at: self.clock.now(),
            log_bytes,
            reported_by: None,
        };
        self.end(id, end).await.map(drop)
    }

    /// Appends a line of the server's own to a log, unless it is its last. Returns how long the log is then.
    async fn write_line(&self, id: DeploymentId, text: &str) -> Result<u64, StoreError> {
        let journal = journal_of(id);
        let line = format!("waystation: {text}\n");
        for _ in 0..ATTEMPTS {
            let length = self.store.journal_length(&journal).await?;
            let start = length.saturating_sub(line.len() as u64);
            let last = self.read_all(id, start, length).await?;
            if last == line.as_bytes() {
                return Ok(length);
            }
            let is_within_a_line = last.last().is_some_and(|byte| *byte != b'\n');
            let line = if is_within_a_line {
                format!("\n{line}")
            } else {
                line.clone()
            };
            let append = self
                .store
                .append_journal(&journal, length, Bytes::from(line));
            match append.await? {
                Appended::Done { length } | Appended::Repeated { length } => return Ok(length),
                Appended::Mismatch { .. } => {}
            }
        }
        Err(StoreError::Contended)
    }

    async fn read_all(
        &self,
        id: DeploymentId,
        mut start: u64,
        end: u64,
    ) -> Result<Vec<u8>, StoreError> {
        let mut all = Vec::new();
        while start < end {
            let limit = usize::try_from(end - start).unwrap_or(usize::MAX);
            let piece = self.read_log(id, start, limit).await?;
            if piece.is_empty() {
                break;
            }
            start += piece.len() as u64;
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// Writes the end, if there is none. Returns the one that stands.
    pub(super) async fn end(&self, id: DeploymentId, end: End) -> Result<End, StoreError> {
        let key = key_of(id, Role::End);
        let write = self.store.write_document(&key, &end, Expected::Absent);
        if write.await? == Written::Conflict {
            let first = self.end_of(id).await?;
            return first.ok_or(StoreError::Contended);
        }
        self.changes.note_state(id.app);
        // If that fails, the upkeep does it: the entry is still there.
        if let Err(error) = self.finish(id).await {
            tracing::warn!(error = chain(&error), deployment = %id, "the end of a deployment is not complete yet");
        }
        Ok(end)
    }

    async fn finish(&self, id: DeploymentId) -> Result<(), StoreError> {
        let Some(deployment) = self.get(id).await? else {
            return Ok(());
        };
        let entry = QueueEntry {
            created_at: deployment.record.created_at,
            id,
        };
        self.note_end(&deployment);
        self.conclude(entry, Some(deployment)).await
    }

    /// For the metrics and the log of a server; a command says by itself what it has done.
    fn note_end(&self, deployment: &Deployment) {
        let (Some(end), Some(on_end)) = (&deployment.end, self.on_end.get()) else {
            return;
        };
        let (status, duration) = (end.status, deployment.duration(end.at));
        on_end(Ended { status, duration });
        tracing::info!(
            deployment = %deployment.id,
            status = status.name(),
            duration_ms = duration.as_millis(),
            "a deployment ended"
        );
    }

    /// Does what follows from an end, and deletes the entry.
    pub(super) async fn conclude(
        &self,
        entry: QueueEntry,
        deployment: Option<Deployment>,
    ) -> Result<(), StoreError> {
        if let Some(deployment) = deployment
            && let Some(end) = &deployment.end
        {
            self.unpin(&deployment.record.source).await;
            self.note_for_owner(&deployment, end).await?;
        }
        let app = AppId::from_bytes(entry.id.app);
        if self.apps.get(app).await?.is_some() {
            self.delete_obsolete(entry.id.app).await?;
        } else {
            self.delete_all_of(entry.id.app, None).await?;
        }
        self.dequeue(entry).await?;
        // The next one of the application can be claimed.
        self.changes.note_state(entry.id.app);
        Ok(())
    }

    /// What the application says of its last deployment, and an event.
    async fn note_for_owner(&self, deployment: &Deployment, end: &End) -> Result<(), StoreError> {
        let (id, record) = (deployment.id.to_string(), &deployment.record);
        let app = AppId::from_bytes(deployment.id.app);
        let pusher = self.pusher_of(deployment).await?;
        let last = LastDeployment {
            id: id.clone(),
            number: deployment.id.number,
            ended_at: end.at,
            by: pusher.clone(),
            has_succeeded: end.status == Status::Success,
        };
        self.apps.note_end(app, last).await?;
        if let Some(app) = self.apps.get(app).await? {
            let kind = EventKind::Deployment(DeploymentEnd {
                deployment_uuid: id.clone(),
                deployment_id: id,
                pusher,
                git_ref: record.git_ref.clone(),
                status: end.status.name().to_owned(),
                duration: deployment.duration(end.at).as_secs(),
                finished_at: end.at,
            });
            // By its id, it is one event although this may be done twice.
            let event = Event::of_app(&app, kind, end.at).with_id(deployment.id.as_uuid());
            self.events.record(event).await;
        }
        Ok(())
    }

    /// Deletes what ended before those that are kept.
    async fn delete_obsolete(&self, app: [u8; 16]) -> Result<(), StoreError> {
        let roster = self.roster(app).await?;
        for number in roster.obsolete(self.limits.kept) {
            self.delete(DeploymentId { app, number }).await?;
        }
        Ok(())
    }

    /// Deletes all deployments of an application that is gone, unless one has not ended. Of the one of the number that
    /// is kept its end stays, which shows that the number is taken.
    async fn delete_all_of(&self, app: [u8; 16], kept: Option<u64>) -> Result<(), StoreError> {
        let roster = self.roster(app).await?;
        if roster.unfinished().next().is_some() {
            return Ok(());
        }
        for (number, _) in roster.all() {
            let id = DeploymentId { app, number };
            if Some(number) == kept {
                self.delete_all_but_end(id).await?;
            } else {
                self.delete(id).await?;
            }
        }
        Ok(())
    }

    /// The end last: as long as anything is left, a list shows it, and the next end of its application deletes the
    /// rest.
    async fn delete(&self, id: DeploymentId) -> Result<(), StoreError> {
        self.delete_all_but_end(id).await?;
        self.store.delete_document(&key_of(id, Role::End)).await
    }

    /// The record first: from then on nobody sees it.
    async fn delete_all_but_end(&self, id: DeploymentId) -> Result<(), StoreError> {
        for role in [Role::Record, Role::Claim, Role::Cancellation] {
            self.store.delete_document(&key_of(id, role)).await?;
        }
        self.store.delete_journal(&journal_of(id)).await
    }
}
