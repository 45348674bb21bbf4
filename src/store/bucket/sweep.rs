//! What deletes an archive: the list of sources is read from its beginning to the first that has not
//! expired, and no further. Any number of servers may do so at once.

use std::collections::HashSet;
use std::mem;

use futures_util::StreamExt;
use futures_util::stream;
use object_store::ObjectMeta;
use object_store::path::Path;
use tokio::sync::OnceCell;

use super::Shared;
use super::engine::failed;
use super::keys::Role;
use super::lease::{is_fresh, is_surely_over};
use super::listing::{Listed, list};
use super::probe;
use crate::clock::Timestamp;
use crate::error_chain::chain;
use crate::source::SourceId;
use crate::store::{StoreError, Swept};

/// How many keys are deleted with one request, where the engine can.
const BATCH_KEYS: usize = 1000;

/// Deletes what has expired at `now`. What cannot be deleted is logged and counted, and does not keep
/// the rest; the next sweep tries it again. What was seen of a list that breaks off is deleted as well.
pub(super) async fn sweep(shared: &Shared, now: Timestamp) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    let mut batch = Batch::default();
    let engine_time = EngineTime::default();
    let mut group: Option<Group> = None;
    let mut broke_off = None;
    let mut listed = list(shared, &shared.keys.sources());
    while let Some(next) = listed.next().await {
        let meta = match next {
            Ok(Listed::Object(meta)) => meta,
            Ok(Listed::Unnameable(_)) => continue,
            Err(error) => {
                // Of the last source there may be more.
                group = None;
                broke_off = Some(error);
                break;
            }
        };
        let Some((source, role)) = shared.keys.parse_source_key(&meta.location) else {
            continue;
        };
        if !source.is_expired(now) {
            break;
        }
        if let Some(group) = group.take_if(|group| group.source != source) {
            batch.add(shared, group, &engine_time).await;
        }
        group
            .get_or_insert_with(|| Group::of(source))
            .add(meta, &role);
        if batch.len() >= BATCH_KEYS {
            mem::take(&mut batch).delete(shared, now, &mut swept).await;
        }
    }
    if let Some(group) = group {
        batch.add(shared, group, &engine_time).await;
    }
    batch.delete(shared, now, &mut swept).await;
    match broke_off {
        None => Ok(swept),
        Some(error) => Err(failed("list what has expired")(error)),
    }
}

/// What time it is by the engine's clock, which dates leases. It is asked once a sweep, and only if there
/// is a lease: one that is written later keeps its source all the same.
#[derive(Default)]
struct EngineTime(OnceCell<Option<Timestamp>>);

impl EngineTime {
    /// Asking is a write, which an engine that is full refuses; what has expired has to go all the more.
    async fn ask(&self, shared: &Shared) -> Option<Timestamp> {
        let ask = || async {
            let asked = probe::ask_time(shared).await;
            if let Err(error) = &asked {
                tracing::error!(
                    error = chain(error),
                    "the engine does not tell its time: sources with a lease of the last hour are kept"
                );
            }
            asked.ok()
        };
        *self.0.get_or_init(ask).await
    }
}

/// What the leases of a source say.
enum Leased {
    Yes,
    No,
    Unknown,
}

/// The keys of one source.
struct Group {
    source: SourceId,
    /// What makes an archive visible: its record, or the object of a direct upload.
    archive: Vec<Path>,
    rest: Vec<Path>,
    last_lease: Option<Timestamp>,
}

impl Group {
    const fn of(source: SourceId) -> Self {
        Self {
            source,
            archive: Vec::new(),
            rest: Vec::new(),
            last_lease: None,
        }
    }

    fn add(&mut self, meta: ObjectMeta, role: &Role) {
        let keys = match role {
            Role::Record | Role::Direct => &mut self.archive,
            Role::Lease => {
                self.last_lease = self.last_lease.max(Some(probe::time_of(&meta)));
                &mut self.rest
            }
            Role::Part { .. } => &mut self.rest,
        };
        keys.push(meta.location);
    }

    /// Is a download of it still running somewhere? That is seldom, so the engine can be asked what
    /// time it is.
    async fn is_leased(&self, shared: &Shared, engine_time: &EngineTime) -> Leased {
        let Some(written) = self.last_lease else {
            return Leased::No;
        };
        match engine_time.ask(shared).await {
            Some(engine_now) if is_fresh(written, engine_now) => Leased::Yes,
            Some(_) => Leased::No,
            None if is_surely_over(written, shared.clock.now()) => Leased::No,
            None => Leased::Unknown,
        }
    }
}

/// What is to be deleted.
#[derive(Default)]
struct Batch {
    groups: Vec<Group>,
    keys: usize,
    /// Sources that had to be passed over.
    failures: u64,
}

impl Batch {
    /// Adds a source with all its keys, unless a download of it may still be running.
    async fn add(&mut self, shared: &Shared, group: Group, engine_time: &EngineTime) {
        match group.is_leased(shared, engine_time).await {
            Leased::No => {
                self.keys += group.archive.len() + group.rest.len();
                self.groups.push(group);
            }
            Leased::Yes => {}
            Leased::Unknown => self.failures += 1,
        }
    }

    const fn len(&self) -> usize {
        self.keys
    }

    /// Records go before the bytes that they name: one whose bytes are gone would be a broken archive, if
    /// the clock were then set back. So one that cannot be deleted keeps its bytes, and no others. What
    /// was deleted only in part is not counted as deleted: the next sweep finds the rest, and counts that.
    async fn delete(self, shared: &Shared, now: Timestamp, swept: &mut Swept) {
        swept.failures += self.failures;
        let (broken, whole): (Vec<_>, Vec<_>) = self
            .groups
            .into_iter()
            .partition(|group| group.archive.is_empty());
        let first = whole.iter().flat_map(|group| group.archive.clone());
        let first = first.chain(broken.iter().flat_map(|group| group.rest.clone()));
        let gone = delete_keys(shared, first.collect(), swept).await;

        let is_gone =
            |keys: &[Path], gone: &HashSet<Path>| keys.iter().all(|key| gone.contains(key));
        let hidden = whole
            .into_iter()
            .filter(|group| is_gone(&group.archive, &gone));
        let hidden: Vec<_> = hidden.collect();
        let then = hidden.iter().flat_map(|group| group.rest.clone());
        let gone_then = delete_keys(shared, then.collect(), swept).await;

        let broken = broken.iter().filter(|group| is_gone(&group.rest, &gone));
        let whole = hidden
            .iter()
            .filter(|group| is_gone(&group.rest, &gone_then));
        swept.broken += broken.clone().count() as u64;
        swept.sources += whole.clone().count() as u64;
        for group in broken.chain(whole) {
            let lag = now.since(group.source.expires_at());
            swept.max_lag = swept.max_lag.max(lag);
        }
    }
}

/// Deletes keys, and returns those that are gone; another server may have been quicker. The others are
/// counted as failures.
async fn delete_keys(shared: &Shared, keys: Vec<Path>, swept: &mut Swept) -> HashSet<Path> {
    let mut gone = HashSet::new();
    if keys.is_empty() {
        return gone;
    }
    let count = keys.len();
    let keys = stream::iter(keys.into_iter().map(Ok)).boxed();
    let mut deleted = shared.objects().delete_stream(keys);
    while let Some(done) = deleted.next().await {
        match done {
            Ok(key) => drop(gone.insert(key)),
            Err(object_store::Error::NotFound { path, .. }) => gone.extend(Path::parse(path)),
            Err(error) => tracing::error!(
                error = chain(&error),
                "what has expired could not be deleted; the next sweep tries again"
            ),
        }
    }
    swept.failures += (count - gone.len()) as u64;
    gone
}
