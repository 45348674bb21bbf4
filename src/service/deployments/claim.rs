//! Handing work to runners: the first deployment in the queue whose application runs none.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use http::Method;
use tokio::time::{Instant, timeout_at};

use super::known_queue::Freshness;
use super::names::{QueueEntry, Role, Roster, key_of};
use super::records::{Claim, ClaimedBy, Deployment, Record, Run, SourceRecord};
use super::{APP_DELETED, CONFIRM_WITHIN, ClaimCache, Deployments, LOOK_EVERY, UPKEEP_EVERY};
use crate::clock::Timestamp;
use crate::deployment::{Attempt, DeploymentId, Nonce, Status};
use crate::grant::AttemptAction;
use crate::public_url::PublicUrl;
use crate::secret::Secret;
use crate::service::api_tokens::TokenId;
use crate::service::apps::{App, AppId};
use crate::store::{Expected, StoreError, Versioned, Written};

/// The reason for aborting a deployment whose archive no runner can reach.
const CANNOT_OPEN: &str = "its source_url was encrypted with a key that the server no longer has";

/// What another node accepts is found with the next list. Where nothing waits, the upkeep's is enough: an object store
/// charges for each.
const FRESH_ENOUGH: Freshness = Freshness {
    busy: LOOK_EVERY,
    idle: UPKEEP_EVERY.saturating_add(LOOK_EVERY),
};

/// What a runner gets.
pub struct Claimed {
    pub deployment: Deployment,
    pub app: App,
    pub report_url: Secret,
    pub source_url: Secret,
    /// The variables of the application: secrets of its owner.
    pub variables: BTreeMap<String, Secret>,
    pub deadline_at: Timestamp,
}

/// What stands where a claim is to be written.
enum Claimable {
    /// Nobody has it, or nobody who confirmed it: what has to be there still.
    Yes(Expected),
    /// Another may be about to confirm it.
    NotYet,
    /// It has a runner, or will get none.
    Never,
}

impl Deployments {
    /// Waits for work, for at most `patience`. Links begin with `base`.
    pub async fn wait_for_claim(
        &self,
        runner: TokenId,
        base: &PublicUrl,
        patience: Duration,
    ) -> Result<Option<Claimed>, StoreError> {
        let deadline = Instant::now() + patience;
        loop {
            let work = self.changes.work.notified();
            tokio::pin!(work);
            // From here on nothing is missed.
            work.as_mut().enable();
            if let Some(claimed) = self.look_for_work(runner, base).await? {
                return Ok(Some(claimed));
            }
            let next_look = Instant::now() + LOOK_EVERY;
            let woken = timeout_at(next_look.min(deadline), work).await;
            if woken.is_err() && Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    /// One look, unless another has just found nothing.
    async fn look_for_work(
        &self,
        runner: TokenId,
        base: &PublicUrl,
    ) -> Result<Option<Claimed>, StoreError> {
        let mut claiming = self.claiming.lock().await;
        let works = self.changes.works();
        let is_idle = claiming
            .idle
            .is_some_and(|(at, seen)| at.elapsed() < LOOK_EVERY && seen == works);
        if is_idle {
            return Ok(None);
        }
        let claimed = self.claim_first(runner, base, &mut claiming).await?;
        claiming.idle = claimed.is_none().then(|| (Instant::now(), works));
        Ok(claimed)
    }

    async fn claim_first(
        &self,
        runner: TokenId,
        base: &PublicUrl,
        claiming: &mut ClaimCache,
    ) -> Result<Option<Claimed>, StoreError> {
        let firsts = self.with_queue(FRESH_ENOUGH, first_of_each_app).await?;
        let ids: HashSet<_> = firsts.iter().map(|entry| entry.id).collect();
        claiming.confirmed.retain(|id| ids.contains(id));
        let mut failed = None;
        for entry in firsts {
            if claiming.confirmed.contains(&entry.id) {
                continue;
            }
            match self.claim(runner, base, entry.id).await {
                Ok(Some(claimed)) => return Ok(Some(claimed)),
                Ok(None) => {}
                Err(Skip::Confirmed) => {
                    claiming.confirmed.insert(entry.id);
                }
                // It must not keep the others from being claimed.
                Err(Skip::Failed(error)) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Claims that deployment; `None` if it cannot be claimed just now.
    async fn claim(
        &self,
        runner: TokenId,
        base: &PublicUrl,
        id: DeploymentId,
    ) -> Result<Option<Claimed>, Skip> {
        let roster = self.roster(id.app).await?;
        let present = roster.of(id.number);
        if !present.is_unfinished() || self.is_blocked(id, &roster).await? {
            return Ok(None);
        }
        let now = self.clock.now();
        let expected = match self.claimable(id, present.has(Role::Claim), now).await? {
            Claimable::Yes(expected) => expected,
            Claimable::NotYet => return Ok(None),
            Claimable::Never => return Err(Skip::Confirmed),
        };
        let Some(record) = self.record_of(id).await? else {
            return Ok(None);
        };
        let Some(app) = self.apps.get(AppId::from_bytes(id.app)).await? else {
            self.withdraw(id, APP_DELETED).await?;
            return Ok(None);
        };
        if now.since(record.created_at) >= self.limits.queue_timeout {
            self.withdraw(id, &self.queued_too_long()).await?;
            return Ok(None);
        }
        let run = Run {
            runner,
            nonce: Nonce(rand::random()),
            heard_at: None,
            status: Status::Building,
            log_limit_bytes: Some(self.limits.log_bytes),
            timeout_seconds: Some(self.limits.run_timeout.as_secs()),
        };
        let attempt = Attempt {
            deployment: id,
            nonce: run.nonce,
        };
        // Before the claim: one that cannot be handed out must not be made.
        let deadline_at = now.after(self.limits.run_timeout);
        let source_url = self.source_url(&record, base, attempt, deadline_at).await?;
        let Some(source_url) = source_url else {
            self.withdraw(id, CANNOT_OPEN).await?;
            return Ok(None);
        };
        let variables = self.variables.all(app.id).await?;
        let claim = Claim {
            by: ClaimedBy::Runner(run),
            at: now,
        };
        if self.write_claim(id, &claim, expected).await? == Written::Conflict {
            return Ok(None);
        }
        let report = self.grants.mint_for(AttemptAction::Report, attempt);
        Ok(Some(Claimed {
            deployment: Deployment {
                id,
                record,
                claim: Some(claim),
                end: None,
            },
            app,
            report_url: base.runner_link("reports", &report),
            source_url,
            variables,
            deadline_at,
        }))
    }

    /// Has an earlier deployment of the application not ended? One that is not in the queue, since the node that
    /// accepted it was cut short, is put there.
    async fn is_blocked(&self, id: DeploymentId, roster: &Roster) -> Result<bool, StoreError> {
        let earlier = roster.unfinished().take_while(|number| *number < id.number);
        let mut is_blocked = false;
        for number in earlier {
            is_blocked = true;
            let id = DeploymentId { number, ..id };
            if let Some(record) = self.record_of(id).await? {
                let created_at = record.created_at;
                self.enqueue(QueueEntry { created_at, id }).await?;
            }
        }
        Ok(is_blocked)
    }

    async fn claimable(
        &self,
        id: DeploymentId,
        is_claimed: bool,
        now: Timestamp,
    ) -> Result<Claimable, StoreError> {
        if !is_claimed {
            return Ok(Claimable::Yes(Expected::Absent));
        }
        let found: Option<Versioned<Claim>> = self.read(id, Role::Claim).await?;
        Ok(match found {
            None => Claimable::NotYet,
            Some(Versioned { value, version }) => match value.is_unconfirmed() {
                false => Claimable::Never,
                true if now.since(value.at) < CONFIRM_WITHIN => Claimable::NotYet,
                true => Claimable::Yes(Expected::Version(version)),
            },
        })
    }

    pub(super) async fn write_claim(
        &self,
        id: DeploymentId,
        claim: &Claim,
        expected: Expected,
    ) -> Result<Written, StoreError> {
        let key = key_of(id, Role::Claim);
        self.store.write_document(&key, claim, expected).await
    }

    /// Where the runner finds the archive; `None` if it cannot be led there any more.
    async fn source_url(
        &self,
        record: &Record,
        base: &PublicUrl,
        attempt: Attempt,
        deadline_at: Timestamp,
    ) -> Result<Option<Secret>, StoreError> {
        match &record.source {
            SourceRecord::Own {
                sha256: Some(_), ..
            } => {
                let fetch = self.grants.mint_for(AttemptAction::Fetch, attempt);
                Ok(Some(base.runner_link("sources", &fetch)))
            }
            SourceRecord::Own { source, .. } => {
                self.store.sign(*source, Method::GET, deadline_at).await
            }
            SourceRecord::Elsewhere { sealed_url, .. } => {
                let context = attempt.deployment.app;
                Ok(self.seals.open(&context, sealed_url).ok())
            }
        }
    }
}

/// Why the next one is looked at.
enum Skip {
    /// It has a runner, or will get none: that stays so.
    Confirmed,
    Failed(StoreError),
}

impl From<StoreError> for Skip {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// The first deployment in the queue of each application, since the others wait for it; the one that has waited longest is
/// the first.
pub(super) fn first_of_each_app(entries: &BTreeSet<QueueEntry>) -> Vec<QueueEntry> {
    let mut firsts = BTreeMap::new();
    for entry in entries {
        let first = firsts.entry(entry.id.app).or_insert(*entry);
        if entry.id.number < first.id.number {
            *first = *entry;
        }
    }
    let mut firsts: Vec<_> = firsts.into_values().collect();
    firsts.sort();
    firsts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_served_in_the_order_of_its_numbers_and_all_by_how_long_they_wait() {
        let entry = |ms, app, number| QueueEntry {
            created_at: Timestamp::from_ms(ms),
            id: DeploymentId {
                app: [app; 16],
                number,
            },
        };
        // The clock of the node that accepted number 2 was behind.
        let entries = [entry(1, 7, 2), entry(2, 8, 1), entry(3, 7, 1)];
        let firsts = first_of_each_app(&entries.into());
        assert_eq!(firsts, [entries[1], entries[2]]);
    }
}
