//! What time does to deployments: deadlines, lost runners, and what somebody who was killed left half done.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::claim::first_of_each_app;
use super::names::QueueEntry;
use super::records::{Claim, ClaimedBy, Deployment};
use super::{Deployments, HEARD_GRAIN, LOST_AFTER, QueueSummary, STOP_GRACE, lock};
use crate::clock::Timestamp;
use crate::deployment::{DeploymentId, Status};
use crate::store::StoreError;

/// A look that is later than this after the last one was delayed, by a store that was away or a machine that slept: no
/// report could arrive meanwhile.
const BREAK: Duration = Duration::from_secs(30);
/// How long an entry may be without its record: no request takes so long.
const ACCEPT_WITHIN: Duration = Duration::from_mins(10);
/// How many applications are looked at each time, besides those whose runners report here.
const APPS_AT_ONCE: usize = 50;

impl Deployments {
    /// Looks at the queue once.
    pub async fn keep_up(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let listed = self.with_listed_queue(|entries| {
            let watched_since = self.note_look(entries, now);
            (watched_since, self.to_look_at(entries, now))
        });
        let (watched_since, chosen) = listed.await.inspect_err(|_| self.break_watch())?;
        let mut failed = None;
        for entry in chosen {
            // One that cannot be read must not keep the others from being looked at.
            if let Err(error) = self.look_at(entry, now, watched_since).await {
                if !matches!(error, StoreError::CorruptDocument { .. }) {
                    self.break_watch();
                }
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn break_watch(&self) {
        lock(&self.watch).unbroken = None;
    }

    /// Since when this process has been looking without a break.
    fn note_look(&self, entries: &BTreeSet<QueueEntry>, now: Timestamp) -> Timestamp {
        let mut watch = lock(&self.watch);
        watch.facts = QueueSummary {
            unfinished: entries.len(),
            oldest: entries
                .first()
                .map_or(Duration::ZERO, |first| now.since(first.created_at)),
        };
        let since = match watch.unbroken {
            Some((since, last)) if last <= now && now.since(last) < BREAK => since,
            Some(_) | None => now,
        };
        watch.unbroken = Some((since, now));
        let queued: HashSet<_> = entries.iter().map(|entry| entry.id).collect();
        watch.seen.retain(|id, _| queued.contains(id));
        since
    }

    /// Since when this process has seen that a runner was heard of then, and not later. Clocks of servers differ, so what
    /// another wrote is not held against the own clock.
    fn seen_since(&self, id: DeploymentId, heard_at: Timestamp, now: Timestamp) -> Timestamp {
        let mut watch = lock(&self.watch);
        let seen = watch.seen.entry(id).or_insert((heard_at, now));
        if seen.0 != heard_at {
            *seen = (heard_at, now);
        }
        seen.1
    }

    /// What has waited for too long, and of each application the first in the queue, of which only some each time.
    fn to_look_at(&self, entries: &BTreeSet<QueueEntry>, now: Timestamp) -> Vec<QueueEntry> {
        let firsts = first_of_each_app(entries);
        let is_reporting = {
            let heard = lock(&self.heard);
            let reporting: Vec<_> = heard.keys().map(|attempt| attempt.deployment).collect();
            move |entry: &QueueEntry| reporting.contains(&entry.id)
        };
        let (mut chosen, others): (Vec<_>, Vec<_>) = firsts.into_iter().partition(is_reporting);
        let next = {
            let mut watch = lock(&self.watch);
            let next = watch.next;
            watch.next = next.wrapping_add(APPS_AT_ONCE);
            next.checked_rem(others.len()).unwrap_or_default()
        };
        let in_turn = others.iter().cycle().skip(next);
        chosen.extend(in_turn.take(others.len().min(APPS_AT_ONCE)));
        let late = entries
            .iter()
            .take_while(|entry| now.since(entry.created_at) >= self.limits.queue_timeout);
        for entry in late {
            if !chosen.contains(entry) {
                chosen.push(*entry);
            }
        }
        chosen
    }

    async fn look_at(
        &self,
        entry: QueueEntry,
        now: Timestamp,
        watched_since: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(deployment) = self.get(entry.id).await? else {
            if now.since(entry.created_at) >= ACCEPT_WITHIN {
                self.conclude(entry, None).await?;
            }
            return Ok(());
        };
        if deployment.end.is_some() {
            return self.conclude(entry, Some(deployment)).await;
        }
        let id = deployment.id;
        if let Some(claim) = &deployment.claim
            && let Some((status, reason)) = self.overdue(id, claim, now, watched_since)
        {
            return self.end_by_server(id, status, reason).await;
        }
        if is_waiting(&deployment) && now.since(entry.created_at) >= self.limits.queue_timeout {
            self.withdraw(id, &self.queued_too_long()).await?;
        }
        Ok(())
    }

    /// Why the server ends what a runner has, if it is to.
    fn overdue(
        &self,
        id: DeploymentId,
        claim: &Claim,
        now: Timestamp,
        watched_since: Timestamp,
    ) -> Option<(Status, String)> {
        if let ClaimedBy::Withdrawn { reason } = &claim.by {
            // The withdrawal was interrupted.
            return Some((Status::Aborted, reason.clone()));
        }
        let (run, heard_at) = claim.confirmed()?;
        let silent_since = self.seen_since(id, heard_at, now).max(watched_since);
        if now.since(silent_since) >= LOST_AFTER + HEARD_GRAIN {
            let seconds = LOST_AFTER.as_secs();
            let reason = format!("its runner has not reported for {seconds} s");
            return Some((Status::Aborted, reason));
        }
        let told = run.timeout_seconds.map(Duration::from_secs);
        let limit = told.unwrap_or(self.limits.run_timeout);
        if now.since(claim.at) >= limit + STOP_GRACE {
            let status = if run.status == Status::Starting {
                Status::TimeoutError
            } else {
                Status::BuildError
            };
            let limit = humantime::format_duration(limit);
            return Some((status, format!("it took longer than {limit}")));
        }
        None
    }
}

/// Has no runner confirmed that it has it?
fn is_waiting(deployment: &Deployment) -> bool {
    let claim = deployment.claim.as_ref();
    claim.is_none_or(Claim::is_unconfirmed)
}
