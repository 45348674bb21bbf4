//! Listing everything, for an audit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt;
use object_store::ObjectStore;

use super::errors::failed;
use super::keys::{Attempt, Role};
use super::shared::BucketStore;
use crate::source::SourceId;
use crate::store::archive::Audit;
use crate::store::error::{Result, StoreError};

#[derive(Default)]
struct SourceObjects {
    has_record: bool,
    /// An upload in parts was begun.
    has_beginning: bool,
    attempts: BTreeSet<Attempt>,
}

impl BucketStore {
    /// All archives that have a record; uploads without one and journals are counted, and what is not ours is a
    /// fault.
    pub(crate) async fn list_all(self: &Arc<Self>) -> Result<(Vec<SourceId>, Audit)> {
        let mut audit = Audit::default();
        let mut sources: BTreeMap<SourceId, SourceObjects> = BTreeMap::new();
        let mut listed = self.objects().list(Some(&self.keys.sources()));
        while let Some(next) = listed.next().await {
            let key = next.map_err(failed("list the sources"))?.location;
            let Some((source, role)) = self.keys.parse_source_key(&key) else {
                let fault = format!("{key} is nothing that this store made");
                audit.faults.push(fault);
                continue;
            };
            let objects = sources.entry(source).or_default();
            match role {
                Role::Record => objects.has_record = true,
                // It was sent past us, so nobody knows what it should be.
                Role::Direct => audit.whole += 1,
                Role::Pin(_) => {}
                Role::Beginning => objects.has_beginning = true,
                Role::Part { attempt, .. } => drop(objects.attempts.insert(attempt)),
            }
        }
        for (source, objects) in &sources {
            let named = match self.read_record(*source).await {
                Ok(record) => record.map(|record| record.attempt),
                Err(StoreError::Corrupt { .. }) => None,
                Err(error) => return Err(error),
            };
            let open = self.audit_attempt(*source, objects, &mut audit).await?;
            // Under way, or broken; what is broken goes when the source expires.
            let unnamed = objects.attempts.iter();
            let unnamed =
                unnamed.filter(|attempt| Some(**attempt) != named && Some(**attempt) != open);
            audit.staged += unnamed.count() as u64;
        }
        self.audit_journals(&mut audit).await?;
        sources.retain(|_, objects| objects.has_record);
        Ok((sources.into_keys().collect(), audit))
    }

    /// Which upload in parts of a source has not been given up. It is counted where it can go on; one that has lost a part
    /// is a fault.
    async fn audit_attempt(
        self: &Arc<Self>,
        source: SourceId,
        objects: &SourceObjects,
        audit: &mut Audit,
    ) -> Result<Option<Attempt>> {
        if !objects.has_beginning {
            return Ok(None);
        }
        let attempt = match self.read_beginning(source).await {
            Ok(Some(found)) if !found.content.is_given_up() => found.content.attempt,
            Ok(_) => return Ok(None),
            Err(StoreError::Corrupt { path, problem }) => {
                audit.faults.push(format!("{}: {problem}", path.display()));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if !objects.has_record {
            match self.look_at_attempt(source, attempt).await? {
                Some(_) => audit.attempts += 1,
                // Unless it was given up meanwhile.
                None if self.is_given_up(source).await? => {}
                None => audit.faults.push(format!(
                    "{source} has lost a part of an upload in parts, which cannot go on"
                )),
            }
        }
        Ok(Some(attempt))
    }

    async fn is_given_up(&self, source: SourceId) -> Result<bool> {
        let found = self.read_beginning(source).await?;
        Ok(found.is_none_or(|found| found.content.is_given_up()))
    }
}
