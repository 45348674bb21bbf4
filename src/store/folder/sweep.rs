//! What deletes an archive: a look into the folders of the seconds that have come, and no others.

use std::fs;
use std::io;
use std::path::Path;

use super::layout::{ExpirySecond, Minute, parse_source};
use super::shared::{Removal, Shared, io_error};
use crate::clock::Timestamp;
use crate::source::SourceId;
use crate::store::archive::{ArchiveCounts, Swept};
use crate::store::error::StoreError;

/// Deletes what has expired at `now`. A folder that cannot be read, or a file that cannot be deleted,
/// is counted, and does not keep the others; the next sweep tries it again.
pub(super) fn sweep(shared: &Shared, now: Timestamp) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    for minute in list_minutes(shared)? {
        if minute.has_begun(now) {
            let done = sweep_minute(shared, minute, now, &mut swept);
            note_failure(done, &mut swept);
        }
    }
    shared.forget_seconds_before(now);
    Ok(swept)
}

fn sweep_minute(
    shared: &Shared,
    minute: Minute,
    now: Timestamp,
    swept: &mut Swept,
) -> Result<(), StoreError> {
    for second in list_seconds(shared, minute)? {
        if second.has_begun(now) {
            let done = sweep_second(shared, second, now, swept);
            note_failure(done, swept);
        }
    }
    remove_if_empty(shared, &shared.layout.minute(minute))
}

fn sweep_second(
    shared: &Shared,
    second: ExpirySecond,
    now: Timestamp,
    swept: &mut Swept,
) -> Result<(), StoreError> {
    let folder = shared.layout.second(second);
    for source in list_sources(shared, second)? {
        if source.is_expired(now) {
            match shared.remove_file(&folder.join(source.to_string())) {
                Ok(Removal::Removed) => {
                    swept.sources += 1;
                    swept.max_lag = swept.max_lag.max(now.since(source.expires_at()));
                }
                Ok(Removal::WasGone) => {}
                Err(error) => note_failure(Err(error), swept),
            }
        }
    }
    if second.is_over(now) {
        remove_if_empty(shared, &folder)?;
    }
    Ok(())
}

/// Counts what a sweep at `now` would delete, and what it would not.
pub(super) fn count(shared: &Shared, now: Timestamp) -> Result<ArchiveCounts, StoreError> {
    let mut counts = ArchiveCounts::default();
    for minute in list_minutes(shared)? {
        for second in list_seconds(shared, minute)? {
            for source in list_sources(shared, second)? {
                if source.is_expired(now) {
                    counts.expired += 1;
                } else {
                    counts.live += 1;
                }
            }
        }
    }
    Ok(counts)
}

fn list_minutes(shared: &Shared) -> Result<Vec<Minute>, StoreError> {
    let names = shared.list_names(&shared.layout.sources())?;
    Ok(names
        .iter()
        .filter_map(|name| Minute::parse(name))
        .collect())
}

fn list_seconds(shared: &Shared, minute: Minute) -> Result<Vec<ExpirySecond>, StoreError> {
    let names = shared.list_names(&shared.layout.minute(minute))?;
    let seconds = names.iter().filter_map(|name| minute.parse_second(name));
    Ok(seconds.collect())
}

fn list_sources(shared: &Shared, second: ExpirySecond) -> Result<Vec<SourceId>, StoreError> {
    let names = shared.list_names(&shared.layout.second(second))?;
    Ok(names.iter().filter_map(|name| parse_source(name)).collect())
}

fn note_failure(done: Result<(), StoreError>, swept: &mut Swept) {
    if let Err(error) = done {
        swept.note_failures(1, &error);
    }
}

/// Removes a folder; that it is not empty yet, or gone already, is no failure.
fn remove_if_empty(shared: &Shared, folder: &Path) -> Result<(), StoreError> {
    use io::ErrorKind::{DirectoryNotEmpty, NotFound};
    match shared.faults.call("rmdir", || fs::remove_dir(folder)) {
        Err(error) if !matches!(error.kind(), NotFound | DirectoryNotEmpty) => {
            Err(io_error("remove", folder, error))
        }
        _ => Ok(()),
    }
}
