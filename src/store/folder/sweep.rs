//! What deletes an archive: a look into the folders of the seconds that have come, and no others.

use std::fs;
use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
use std::path::Path;
use std::sync::Arc;

use super::layout::{ExpirySecond, Minute, parse_source};
use super::shared::FolderStore;
use super::threads::Work;
use crate::clock::Timestamp;
use crate::source::SourceId;
use crate::store::archive::{ArchiveCounts, Swept};
use crate::store::error::Result;

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
        let folder = self.layout.second(second);
        for source in self.list_sources(second)? {
            if source.is_expired(now) {
                match self.remove_file(&folder.join(source.to_string())) {
                    Ok(true) => {
                        swept.sources += 1;
                        swept.max_lag = swept.max_lag.max(now.since(source.expires_at()));
                    }
                    Ok(false) => {}
                    Err(error) => swept.note_failures(1, &error),
                }
            }
        }
        if second.is_over(now) {
            self.remove_if_empty(&folder)?;
        }
        Ok(())
    }

    /// Removes a folder; that it is not empty yet, or gone already, is no failure.
    fn remove_if_empty(&self, folder: &Path) -> Result<()> {
        match self.call("rmdir", "remove", folder, || fs::remove_dir(folder)) {
            Err(error) if !matches!(error.io_kind(), Some(NotFound | DirectoryNotEmpty)) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Counts what a sweep at `now` would delete, and what it would not.
    pub(crate) async fn count(self: &Arc<Self>, now: Timestamp) -> Result<ArchiveCounts> {
        let count = move |store: &Arc<Self>| {
            let mut counts = ArchiveCounts::default();
            for minute in store.list_minutes()? {
                for second in store.list_seconds(minute)? {
                    let sources = store.list_sources(second)?;
                    let expired = sources.iter().filter(|source| source.is_expired(now));
                    let expired = expired.count();
                    counts.expired += expired as u64;
                    counts.live += (sources.len() - expired) as u64;
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

    fn list_sources(&self, second: ExpirySecond) -> Result<Vec<SourceId>> {
        let names = self.list_names(&self.layout.second(second))?;
        Ok(names.iter().filter_map(|name| parse_source(name)).collect())
    }
}

fn note_failure(done: Result<()>, swept: &mut Swept) {
    if let Err(error) = done {
        swept.note_failures(1, &error);
    }
}
