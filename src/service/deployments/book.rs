//! Reading the documents of deployments.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::try_join;
use futures_util::{StreamExt, stream};
use serde::de::DeserializeOwned;

use super::known_queue::Freshness;
use super::names::{PresentDocuments, QueueEntry, Role, Roster, key_of};
use super::records::{Claim, Deployment, End, Record};
use super::{DeploymentError, Deployments};
use crate::deployment::DeploymentId;
use crate::store::{Collection, JournalKey, StoreError, Versioned};

/// How many deployments are read at once.
const READ_AT_ONCE: usize = 8;

impl Deployments {
    /// Applies `look` to the queue, in the order of acceptance. `freshness` says how recent its knowledge of other nodes has
    /// to be.
    pub(super) async fn with_queue<T>(
        &self,
        freshness: Freshness,
        look: impl Fn(&BTreeSet<QueueEntry>) -> T,
    ) -> Result<T, StoreError> {
        if let Some(seen) = self.queue.look(freshness, &look) {
            return Ok(seen);
        }
        let _turn = self.queue.listing.lock().await;
        // Others may have waited for the same.
        if let Some(seen) = self.queue.look(freshness, &look) {
            return Ok(seen);
        }
        self.list_queue().await.map(|entries| look(&entries))
    }

    /// The same, as it is in the store just now.
    pub(super) async fn with_listed_queue<T>(
        &self,
        look: impl Fn(&BTreeSet<QueueEntry>) -> T,
    ) -> Result<T, StoreError> {
        let _turn = self.queue.listing.lock().await;
        self.list_queue().await.map(|entries| look(&entries))
    }

    async fn list_queue(&self) -> Result<BTreeSet<QueueEntry>, StoreError> {
        let at = self.queue.begin_list();
        let names = self.store.list_all_documents(Collection::Queue).await?;
        let entries = names.iter().filter_map(QueueEntry::parse).collect();
        Ok(self.queue.note_listed(at, entries))
    }

    pub(super) async fn roster(&self, app: [u8; 16]) -> Result<Roster, StoreError> {
        let names = self
            .store
            .list_all_documents(Collection::Deployments(app))
            .await?;
        let mut roster = Roster::default();
        for name in &names {
            roster.note(name);
        }
        Ok(roster)
    }

    /// Which documents one deployment has.
    pub(super) async fn present(&self, id: DeploymentId) -> Result<PresentDocuments, StoreError> {
        let before = DeploymentId {
            number: id.number.saturating_sub(1),
            ..id
        };
        let (collection, after) = (
            Collection::Deployments(id.app),
            key_of(before, Role::End).name,
        );
        let limit = Role::ALL.len();
        let names = self.store.list_documents(collection, Some(&after), limit);
        let mut roster = Roster::default();
        for name in &names.await? {
            roster.note(name);
        }
        Ok(roster.of(id.number))
    }

    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        id: DeploymentId,
        role: Role,
    ) -> Result<Option<Versioned<T>>, StoreError> {
        self.store.read_document(&key_of(id, role)).await
    }

    pub(super) async fn record_of(&self, id: DeploymentId) -> Result<Option<Record>, StoreError> {
        let found = self.read(id, Role::Record).await?;
        Ok(found.map(|found| found.value))
    }

    pub(super) async fn end_of(&self, id: DeploymentId) -> Result<Option<End>, StoreError> {
        let found = self.read(id, Role::End).await?;
        Ok(found.map(|found| found.value))
    }

    /// What there is of a deployment; `None` if it was never accepted, or is deleted.
    async fn load(
        &self,
        id: DeploymentId,
        present: PresentDocuments,
    ) -> Result<Option<Deployment>, StoreError> {
        if !present.has(Role::Record) {
            return Ok(None);
        }
        let claim = async {
            if present.has(Role::Claim) {
                self.read::<Claim>(id, Role::Claim).await
            } else {
                Ok(None)
            }
        };
        let end = async {
            if present.has(Role::End) {
                self.end_of(id).await
            } else {
                Ok(None)
            }
        };
        let (record, (claim, end)) = try_join(self.record_of(id), try_join(claim, end)).await?;
        Ok(record.map(|record| Deployment {
            id,
            record,
            claim: claim.map(|claim| claim.value),
            end,
        }))
    }

    pub(super) async fn get(&self, id: DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let present = self.present(id).await?;
        self.load(id, present).await
    }

    /// The deployment of `app` whose id has this text.
    pub async fn find(&self, app: [u8; 16], text: &str) -> Result<Deployment, DeploymentError> {
        let id = DeploymentId::parse(app, text).ok_or(DeploymentError::Unknown)?;
        self.get(id).await?.ok_or(DeploymentError::Unknown)
    }

    /// The deployments of `app`, the newest first.
    pub async fn list_of(&self, app: [u8; 16]) -> Result<Vec<DeploymentId>, StoreError> {
        let roster = self.roster(app).await?;
        let newest_first = roster.accepted().rev();
        Ok(newest_first
            .map(|number| DeploymentId { app, number })
            .collect())
    }

    /// Those of `ids`, all of `app`, that are still there.
    pub async fn get_all(
        &self,
        app: [u8; 16],
        ids: &[DeploymentId],
    ) -> Result<Vec<Deployment>, StoreError> {
        let roster = self.roster(app).await?;
        let numbers = ids.iter().map(|id| id.number).collect();
        self.load_all(app, &roster, numbers).await
    }

    /// The deployments of an application of these numbers, by the documents that have just been listed.
    pub(super) async fn load_all(
        &self,
        app: [u8; 16],
        roster: &Roster,
        numbers: Vec<u64>,
    ) -> Result<Vec<Deployment>, StoreError> {
        let loads = numbers.into_iter().map(|number| {
            let id = DeploymentId { app, number };
            self.load(id, roster.of(number))
        });
        let mut loads = stream::iter(loads).buffered(READ_AT_ONCE);
        let mut found = Vec::new();
        while let Some(loaded) = loads.next().await {
            found.extend(loaded?);
        }
        Ok(found)
    }

    /// The name of the user who asked for it.
    pub(super) async fn pusher_of(&self, deployment: &Deployment) -> Result<String, StoreError> {
        let user = self.users.get(deployment.record.pusher).await?;
        Ok(user.map(|user| user.name).unwrap_or_default())
    }

    /// How long the log of a deployment is.
    pub async fn log_bytes(&self, deployment: &Deployment) -> Result<u64, StoreError> {
        match &deployment.end {
            Some(end) => Ok(end.log_bytes),
            None => self.store.journal_length(&journal_of(deployment.id)).await,
        }
    }

    /// Some of the log of a deployment, from `offset` on; nothing at its end.
    pub async fn read_log(
        &self,
        id: DeploymentId,
        offset: u64,
        limit_bytes: usize,
    ) -> Result<Bytes, StoreError> {
        let journal = journal_of(id);
        self.store.read_journal(&journal, offset, limit_bytes).await
    }
}

pub(super) const fn journal_of(id: DeploymentId) -> JournalKey {
    JournalKey::new(id.app, id.number)
}
