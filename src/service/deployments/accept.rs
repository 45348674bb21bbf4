//! Accepting a deployment: its archive is pinned, then its place in the queue is taken, then its record written.
//!
//! If it is cut short in between, the pin ends by itself, and the upkeep deletes an entry that has no record. A
//! deployment is there from its record on.

use std::collections::BTreeSet;

use super::known_queue::Freshness;
use super::names::{QueueEntry, QueueNote, Role, Roster, key_of};
use super::records::{Deployment, Record, SourceRecord};
use super::source_url::{ArchiveLocation, SourceUrlError, locate};
use super::{DeploymentError, Deployments, LOOK_EVERY, MAX_GIT_REF_BYTES};
use crate::clock::Timestamp;
use crate::deployment::DeploymentId;
use crate::error_chain::chain;
use crate::public_url::PublicUrl;
use crate::secret::Secret;
use crate::service::users::UserId;
use crate::source::SourceId;
use crate::store::{Expected, LinkState, StoreError, Written};

/// How often other nodes may take the number that was next before accepting fails.
const NUMBER_ATTEMPTS: u32 = 10;

/// Several nodes at once may accept a few more than are allowed.
const EXACT_ENOUGH: Freshness = Freshness {
    busy: LOOK_EVERY,
    idle: LOOK_EVERY,
};

/// What a client asks for.
pub struct DeploymentRequest {
    pub app: [u8; 16],
    pub pusher: UserId,
    pub source_url: Secret,
    pub git_ref: Option<String>,
}

impl Deployments {
    /// Accepts a deployment into the queue; `bases` are the names by which this service is known.
    pub async fn accept(
        &self,
        request: DeploymentRequest,
        bases: &[PublicUrl],
    ) -> Result<Deployment, DeploymentError> {
        check_git_ref(request.git_ref.as_deref())?;
        let now = self.clock.now();
        let place = self.locate(&request.source_url, bases, now).await?;
        let _turn = self.accepting.turn_of(request.app).await;
        let _counted = self.accepting.count();
        self.check_room(request.app).await?;
        let source = match place {
            ArchiveLocation::Own(source) => self.pin(source, now).await?,
            ArchiveLocation::Elsewhere { host } => SourceRecord::Elsewhere {
                host,
                sealed_url: self.seals.seal(&request.app, &request.source_url),
            },
        };
        let record = Record {
            pusher: request.pusher,
            git_ref: request.git_ref,
            created_at: now,
            source,
        };
        // If that fails, the record may be there all the same, and needs its archive.
        let id = self.write(request.app, &record).await?;
        self.changes.note_state(id.app);
        Ok(Deployment {
            id,
            record,
            claim: None,
            end: None,
        })
    }

    /// A link of the object store itself is known by where it leads, all others by what they say.
    async fn locate(
        &self,
        url: &Secret,
        bases: &[PublicUrl],
        now: Timestamp,
    ) -> Result<ArchiveLocation, DeploymentError> {
        let Some(source) = self.store.linked_source(url).await? else {
            return Ok(locate(url.reveal(), &self.grants, bases, now)?);
        };
        source.check_expiry(now).map_err(SourceUrlError::from)?;
        match self.store.try_link(url).await? {
            LinkState::Opens => Ok(ArchiveLocation::Own(source)),
            LinkState::NothingThere => Err(SourceUrlError::NothingUploaded.into()),
            LinkState::Denied => Err(SourceUrlError::InvalidToken.into()),
        }
    }

    async fn check_room(&self, app: [u8; 16]) -> Result<(), DeploymentError> {
        let limit = self.limits.queue_per_app;
        if self.roster(app).await?.waiting() >= limit {
            return Err(DeploymentError::AppQueueFull { limit });
        }
        let limit = self.limits.queue;
        let others = self.accepting.under_way().saturating_sub(1);
        if self.with_queue(EXACT_ENOUGH, BTreeSet::len).await? + others >= limit {
            return Err(DeploymentError::QueueFull { limit });
        }
        Ok(())
    }

    /// Keeps an archive of ours for as long as it may be needed.
    async fn pin(&self, source: SourceId, now: Timestamp) -> Result<SourceRecord, DeploymentError> {
        let pin = self.store.pin(source, self.pinned_until(now)).await?;
        let Some(pin) = pin else {
            // It may have been there until just now.
            let expired = source.check_expiry(self.clock.now());
            return Err(expired
                .map_or_else(SourceUrlError::from, |()| SourceUrlError::NothingUploaded)
                .into());
        };
        let (sha256, size_bytes) = match self.store.open(source).await? {
            Some(archive) => {
                let facts = archive.facts();
                (Some(facts.sha256), facts.size_bytes)
            }
            None => match self.store.direct_size(source).await? {
                Some(size_bytes) => (None, size_bytes),
                None => return Err(SourceUrlError::NothingUploaded.into()),
            },
        };
        Ok(SourceRecord::Own {
            source,
            sha256,
            size_bytes,
            pin,
        })
    }

    /// Gives an archive back. If that fails, its pin ends by itself.
    pub(super) async fn unpin(&self, source: &SourceRecord) {
        let SourceRecord::Own { source, pin, .. } = source else {
            return;
        };
        if let Err(error) = self.store.unpin(*source, pin).await {
            tracing::warn!(error = chain(&error), source = %source, "an archive stays pinned");
        }
    }

    /// Takes the next number of the application, which makes it a deployment.
    async fn write(&self, app: [u8; 16], record: &Record) -> Result<DeploymentId, StoreError> {
        for _ in 0..NUMBER_ATTEMPTS {
            let roster: Roster = self.roster(app).await?;
            let id = DeploymentId {
                app,
                number: roster.next_number(),
            };
            let entry = QueueEntry {
                created_at: record.created_at,
                id,
            };
            self.enqueue(entry).await?;
            let key = key_of(id, Role::Record);
            let write = self.store.write_document(&key, record, Expected::Absent);
            match write.await? {
                Written::Done => return Ok(id),
                Written::Conflict => self.give_back(entry).await?,
            }
        }
        Err(StoreError::Contended)
    }

    /// Another node was faster. Its deployment has an entry of its own, unless both began within one millisecond.
    async fn give_back(&self, entry: QueueEntry) -> Result<(), StoreError> {
        let first = self.record_of(entry.id).await?;
        if first.is_some_and(|first| first.created_at == entry.created_at) {
            return Ok(());
        }
        self.dequeue(entry).await
    }

    pub(super) async fn dequeue(&self, entry: QueueEntry) -> Result<(), StoreError> {
        self.store.delete_document(&entry.key()).await?;
        self.queue.note_removed(entry);
        Ok(())
    }

    pub(super) async fn enqueue(&self, entry: QueueEntry) -> Result<(), StoreError> {
        let note = QueueNote {
            created_at: entry.created_at,
        };
        let key = entry.key();
        let write = self.store.write_document(&key, &note, Expected::Absent);
        match write.await? {
            Written::Done | Written::Conflict => {}
        }
        self.queue.note_added(entry);
        Ok(())
    }
}

fn check_git_ref(git_ref: Option<&str>) -> Result<(), DeploymentError> {
    let is_good = git_ref.is_none_or(|git_ref| {
        git_ref.len() <= MAX_GIT_REF_BYTES && !git_ref.chars().any(char::is_control)
    });
    if is_good {
        Ok(())
    } else {
        Err(DeploymentError::BadGitRef)
    }
}
