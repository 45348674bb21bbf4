//! What deletes an archive: a look into the folders of the seconds that have come, and no others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layout::{ExpirySecond, Minute, parse_entry};
use super::shared::FolderStore;
use super::threads::Work;
use crate::clock::Timestamp;
use crate::source::SourceId;
use crate::store::archive::{ArchiveCounts, Swept};
use crate::store::error::Result;
use crate::store::pin::Pin;

impl FolderStore {
    /// Deletes what has expired at `now`. A folder that cannot be read, or a file that cannot be deleted,
    /// is counted, and does not keep the others; the next sweep tries it again.
    pub(crate) async fn sweep(self: &Arc<Self>, now: Timestamp) -> Result<Swept> {
        let sweep = move |store: &Arc<Self>| {
            store.check_there()?;
            let mut swept = Swept::default();
            for minute in store.list_minutes()? {
                if minute.has_begun(now) {
                    let done = store.sweep_minute(minute, now, &mut swept);
                    note_failure(done, &mut swept);
                }
            }
            let done = store.sweep_attempts(now, &mut swept);
            note_failure(done, &mut swept);
            store.forget_seconds_before(now);
            Ok(swept)
        };
        self.run(Work::Look, sweep).await
    }

    fn sweep_minute(&self, minute: Minute, now: Timestamp, swept: &mut Swept) -> Result<()> {
        for second in self.list_seconds(minute)? {
            if second.has_begun(now) {
                let done = self.sweep_second(second, now, swept);
                note_failure(done, swept);
            }
        }
        self.remove_if_empty(&self.layout.minute(minute))
    }

    fn sweep_second(&self, second: ExpirySecond, now: Timestamp, swept: &mut Swept) -> Result<()> {
        let is_due = |there: &There| there.is_due(now);
        if self.list_second(second)?.iter().any(is_due) {
            // Looked at again: until now somebody may have pinned one of them.
            let _lock = self.lock_pins_to_sweep()?;
            for there in self.list_second(second)?.into_iter().filter(is_due) {
                self.delete_source(&there, now, swept);
            }
        }
        if second.is_over(now) {
            self.remove_if_empty(&self.layout.second(second))?;
        }
        Ok(())
    }

    fn delete_source(&self, there: &There, now: Timestamp, swept: &mut Swept) {
        let source = there.source;
        if there.has_archive {
            match self.remove_file(&self.layout.source(source)) {
                Ok(true) => {
                    swept.sources += 1;
                    swept.max_lag = swept.max_lag.max(now.since(source.expires_at()));
                }
                Ok(false) => {}
                Err(error) => return swept.note_failures(1, &error),
            }
        }
        for pin in &there.pins {
            if let Err(error) = self.remove_file(&self.layout.pin(source, *pin)) {
                swept.note_failures(1, &error);
            }
        }
    }

    /// Counts what has expired at `now`, and what has not.
    pub(crate) async fn count(self: &Arc<Self>, now: Timestamp) -> Result<ArchiveCounts> {
        let count = move |store: &Arc<Self>| {
            let mut counts = ArchiveCounts::default();
            for minute in store.list_minutes()? {
                for second in store.list_seconds(minute)? {
                    let there = store.list_second(second)?.into_iter();
                    for there in there.filter(|there| there.has_archive) {
                        let is_expired = there.source.is_expired(now);
                        counts.expired += u64::from(is_expired);
                        counts.live += u64::from(!is_expired);
                    }
                }
            }
            Ok(counts)
        };
        self.run(Work::Look, count).await
    }

    fn list_minutes(&self) -> Result<Vec<Minute>> {
        let names = self.list_names(&self.layout.sources())?;
        Ok(names
            .iter()
            .filter_map(|name| Minute::parse(name))
            .collect())
    }

    fn list_seconds(&self, minute: Minute) -> Result<Vec<ExpirySecond>> {
        let names = self.list_names(&self.layout.minute(minute))?;
        let seconds = names.iter().filter_map(|name| minute.parse_second(name));
        Ok(seconds.collect())
    }

    /// The sources that expire within a second and have something there.
    fn list_second(&self, second: ExpirySecond) -> Result<Vec<There>> {
        let mut found: BTreeMap<SourceId, There> = BTreeMap::new();
        for name in self.list_names(&self.layout.second(second))? {
            let Some((source, pin)) = parse_entry(&name) else {
                continue;
            };
            let there = found.entry(source).or_insert_with(|| There::of(source));
            there.has_archive |= pin.is_none();
            there.pins.extend(pin);
        }
        Ok(found.into_values().collect())
    }
}

/// What there is of a source.
struct There {
    source: SourceId,
    has_archive: bool,
    pins: Vec<Pin>,
}

impl There {
    const fn of(source: SourceId) -> Self {
        Self {
            source,
            has_archive: false,
            pins: Vec::new(),
        }
    }

    /// Has it expired, and does no pin keep it?
    fn is_due(&self, now: Timestamp) -> bool {
        self.source.is_expired(now) && self.pins.iter().all(|pin| pin.is_over(now))
    }
}

fn note_failure(done: Result<()>, swept: &mut Swept) {
    if let Err(error) = done {
        swept.note_failures(1, &error);
    }
}
