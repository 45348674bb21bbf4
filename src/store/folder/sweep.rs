//! What deletes an archive: a look into the folders of the seconds that have come, and no others.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use super::layout::{ExpirySecond, Minute, parse_source};
use super::{Removal, Shared};
use crate::clock::Timestamp;
use crate::store::{ArchiveCounts, StoreError, Swept};

/// Deletes what has expired at `now`. A folder that cannot be read, or a file that cannot be deleted,
/// is counted, and does not keep the others; the next sweep tries it again.
pub(super) fn sweep(shared: &Shared, now: Timestamp) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    for name in list_names(shared, &shared.layout.sources())? {
        if let Some(minute) = Minute::parse(&name)
            && minute.has_begun(now)
        {
            let done = sweep_minute(shared, minute, now, &mut swept);
            note_failure(done, &mut swept);
        }
    }
    Ok(swept)
}

fn sweep_minute(
    shared: &Shared,
    minute: Minute,
    now: Timestamp,
    swept: &mut Swept,
) -> Result<(), StoreError> {
    let folder = shared.layout.minute(minute);
    for name in list_names(shared, &folder)? {
        if let Some(second) = minute.parse_second(&name)
            && second.has_begun(now)
        {
            let done = sweep_second(shared, second, now, swept);
            note_failure(done, swept);
        }
    }
    forgive_full(shared, &folder, shared.remove_minute(minute))
}

fn sweep_second(
    shared: &Shared,
    second: ExpirySecond,
    now: Timestamp,
    swept: &mut Swept,
) -> Result<(), StoreError> {
    let folder = shared.layout.second(second);
    for name in list_names(shared, &folder)? {
        if let Some(source) = parse_source(&name)
            && source.is_expired(now)
        {
            match shared.remove_file(&folder.join(name)) {
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
        forgive_full(shared, &folder, shared.remove_second(second))?;
    }
    Ok(())
}

/// Counts what a sweep at `now` would delete, and what it would not.
pub(super) fn count(shared: &Shared, now: Timestamp) -> Result<ArchiveCounts, StoreError> {
    let mut counted = ArchiveCounts::default();
    for name in list_names(shared, &shared.layout.sources())? {
        let Some(minute) = Minute::parse(&name) else {
            continue;
        };
        for name in list_names(shared, &shared.layout.minute(minute))? {
            let Some(second) = minute.parse_second(&name) else {
                continue;
            };
            for name in list_names(shared, &shared.layout.second(second))? {
                match parse_source(&name) {
                    Some(source) if source.is_expired(now) => counted.expired += 1,
                    Some(_) => counted.live += 1,
                    None => {}
                }
            }
        }
    }
    Ok(counted)
}

/// The names in a folder; none if it is not there.
fn list_names(shared: &Shared, folder: &Path) -> Result<Vec<OsString>, StoreError> {
    let list_error = |error| shared.error("list", folder, error);
    let list = || {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    };
    match shared.faults.call("getdents", list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(list_error),
    }
}

fn note_failure(done: Result<(), StoreError>, swept: &mut Swept) {
    if let Err(error) = done {
        swept.note_failures(1, &error);
    }
}

/// A folder that is not empty yet, or gone already, is no failure.
fn forgive_full(shared: &Shared, folder: &Path, removed: io::Result<()>) -> Result<(), StoreError> {
    use io::ErrorKind::{DirectoryNotEmpty, NotFound};
    match removed {
        Err(error) if !matches!(error.kind(), NotFound | DirectoryNotEmpty) => {
            Err(shared.error("remove", folder, error))
        }
        _ => Ok(()),
    }
}
