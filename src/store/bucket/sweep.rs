//! What deletes an archive: the list of sources is read from its beginning to the first that has not
//! expired, and no further. Any number of servers may do so at once.

use std::collections::HashSet;
use std::mem;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::path::Path;

use super::errors::failed;
use super::keys::Role;
use super::shared::BucketStore;
use crate::clock::Timestamp;
use crate::mutex::lock;
use crate::source::SourceId;
use crate::store::archive::Swept;
use crate::store::error::{Result, StoreError};
use crate::store::pin::Pin;

/// How long a source is left alone after its expiry, and a pin after its deadline. By then an upload
/// that another server's clock still let in has ended, and the pin of a download has been put.
pub(crate) const GRACE: Duration = Duration::from_secs(20);
/// How many keys are deleted at once: as many as object stores take in one request.
const BATCH_KEYS: usize = 1000;

impl BucketStore {
    /// Deletes what has expired. What cannot be deleted is counted, and does not keep the rest;
    /// the next sweep tries it again. What was seen of a list that breaks off is deleted as well.
    pub(crate) async fn sweep(&self, now: Timestamp) -> Result<Swept> {
        let due = now.before(GRACE);
        let mut swept = Swept::default();
        let mut batch = Batch::default();
        let mut group: Option<Group> = None;
        let mut ended = Ok(());
        let mut listed = self.objects().list(Some(&self.keys.sources()));
        while let Some(next) = listed.next().await {
            let key = match next {
                Ok(meta) => meta.location,
                Err(error) => {
                    // Of the last source there may be more.
                    group = None;
                    ended = Err(failed("list what has expired")(error));
                    break;
                }
            };
            let Some((source, role)) = self.keys.parse_source_key(&key) else {
                continue;
            };
            if !source.is_expired(due) {
                break;
            }
            if let Some(group) = group.take_if(|group| group.source != source) {
                batch.add(group, due);
            }
            group
                .get_or_insert_with(|| Group::of(source))
                .add(key, role);
            if batch.keys >= BATCH_KEYS {
                mem::take(&mut batch).delete(self, now, &mut swept).await;
            }
        }
        if let Some(group) = group {
            batch.add(group, due);
        }
        batch.delete(self, now, &mut swept).await;
        *lock(&self.foreign_key) = match &ended {
            Err(StoreError::ForeignKey { key }) => Some(key.clone()),
            _ => None,
        };
        ended.map(|()| swept)
    }
}

struct Group {
    source: SourceId,
    /// What makes an archive visible: its record, or the object of a direct upload.
    archive: Vec<Path>,
    rest: Vec<Path>,
    pins: Vec<Pin>,
}

impl Group {
    const fn of(source: SourceId) -> Self {
        Self {
            source,
            archive: Vec::new(),
            rest: Vec::new(),
            pins: Vec::new(),
        }
    }

    fn add(&mut self, key: Path, role: Role) {
        match role {
            Role::Record | Role::Direct => self.archive.push(key),
            Role::Part { .. } | Role::Beginning => self.rest.push(key),
            Role::Pin(pin) => {
                self.pins.push(pin);
                self.rest.push(key);
            }
        }
    }
}

#[derive(Default)]
struct Batch {
    groups: Vec<Group>,
    keys: usize,
}

impl Batch {
    /// Adds a source with all its keys, unless it is pinned.
    fn add(&mut self, group: Group, due: Timestamp) {
        if group.pins.iter().all(|pin| pin.is_over(due)) {
            self.keys += group.archive.len() + group.rest.len();
            self.groups.push(group);
        }
    }

    /// Records go before the bytes that they name: one whose bytes are gone would be a broken archive, if
    /// the clock were then set back. So one that cannot be deleted keeps its bytes, and no others. What
    /// was deleted only in part is not counted as deleted: the next sweep finds the rest, and counts that.
    async fn delete(self, store: &BucketStore, now: Timestamp, swept: &mut Swept) {
        let mut groups = self.groups;
        let archives = groups.iter().flat_map(|group| group.archive.clone());
        let gone = delete_keys(store, archives.collect(), swept).await;
        groups.retain(|group| group.archive.iter().all(|key| gone.contains(key)));

        let rest = groups.iter().flat_map(|group| group.rest.clone());
        let gone = delete_keys(store, rest.collect(), swept).await;
        groups.retain(|group| group.rest.iter().all(|key| gone.contains(key)));

        for group in groups {
            if group.archive.is_empty() {
                swept.broken += 1;
            } else {
                swept.sources += 1;
            }
            let lag = now.since(group.source.expires_at());
            swept.max_lag = swept.max_lag.max(lag);
        }
    }
}

/// Deletes keys, and returns those that are gone. The others are counted as failures.
async fn delete_keys(store: &BucketStore, keys: Vec<Path>, swept: &mut Swept) -> HashSet<Path> {
    let count = keys.len();
    let (gone, errors) = store.delete(keys).await;
    if let Some(error) = errors.first() {
        swept.note_failures((count - gone.len()) as u64, error);
    }
    gone
}
