//! Comparing records and bytes both ways: each record has all its parts, each part a record.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use object_store::path::Path;

use super::errors::failed;
use super::keys::{Attempt, Role};
use super::record::Record;
use super::shared::Shared;
use crate::source::SourceId;
use crate::store::archive::Audit;
use crate::store::error::StoreError;

/// What is listed of one source.
#[derive(Default)]
struct SourceObjects {
    has_record: bool,
    has_direct: bool,
    /// Of each attempt the parts, with their lengths.
    attempts: BTreeMap<Attempt, BTreeMap<u64, u64>>,
}

/// Lists everything, and reads each record. Bytes are compared by their lengths.
pub(super) async fn audit(shared: &Shared) -> Result<Audit, StoreError> {
    let mut audit = Audit::default();
    for (source, listed) in list(shared, &shared.keys.sources(), &mut audit.faults).await? {
        let mut found = audit_source(shared, source, listed).await?;
        if !found.faults.is_empty() {
            // The list took its time: what was published or swept meanwhile may look torn in it.
            let folder = shared.keys.source(source);
            let mut sources = list(shared, &folder, &mut Vec::new()).await?;
            let listed = sources.remove(&source).unwrap_or_default();
            found = audit_source(shared, source, listed).await?;
        }
        audit.whole += found.whole;
        audit.staged += found.staged;
        audit.faults.extend(found.faults);
    }
    Ok(audit)
}

async fn list(
    shared: &Shared,
    folder: &Path,
    faults: &mut Vec<String>,
) -> Result<BTreeMap<SourceId, SourceObjects>, StoreError> {
    let mut sources: BTreeMap<SourceId, SourceObjects> = BTreeMap::new();
    let mut listed = shared.objects().list(Some(folder));
    while let Some(next) = listed.next().await {
        let meta = next.map_err(failed("list the sources"))?;
        match shared.keys.parse_source_key(&meta.location) {
            Some((source, role)) => sources.entry(source).or_default().add(role, meta.size),
            None => faults.push(format!("{} is nothing that this store made", meta.location)),
        }
    }
    Ok(sources)
}

impl SourceObjects {
    fn add(&mut self, role: Role, bytes: u64) {
        match role {
            Role::Record => self.has_record = true,
            Role::Direct => self.has_direct = true,
            Role::Pin { .. } => {}
            Role::Part { attempt, number } => {
                let parts = self.attempts.entry(attempt).or_default();
                parts.insert(number, bytes);
            }
        }
    }
}

async fn audit_source(
    shared: &Shared,
    source: SourceId,
    mut listed: SourceObjects,
) -> Result<Audit, StoreError> {
    let mut audit = Audit {
        whole: u64::from(listed.has_direct),
        ..Audit::default()
    };
    if listed.has_record {
        match Record::read(shared, source).await {
            Ok(None) => return Ok(audit), // swept meanwhile
            Ok(Some(record)) => {
                let parts = listed.attempts.remove(&record.attempt);
                let parts = parts.unwrap_or_default();
                let bytes: u64 = parts.values().sum();
                let size = record.facts.size_bytes;
                if parts.len() as u64 == record.parts() && bytes == size {
                    audit.whole += 1;
                } else {
                    audit.faults.push(format!(
                        "{source} has {} parts of {bytes} bytes in all; its record says {} of {size}",
                        parts.len(),
                        record.parts()
                    ));
                }
            }
            Err(corrupt @ StoreError::Corrupt { .. }) => audit.faults.push(corrupt.to_string()),
            Err(error) => return Err(error),
        }
    }
    // Under way, or broken; what is broken goes when the source expires.
    audit.staged = listed.attempts.len() as u64;
    Ok(audit)
}
