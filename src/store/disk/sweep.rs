//! What deletes an archive: a look into the folders of the seconds that have come, and no others.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use super::layout::{Bucket, Minute, parse_source};
use super::{Removal, Shared};
use crate::clock::Timestamp;
use crate::store::{StoreError, Swept};

/// Deletes what has expired at `now`. A file that cannot be deleted is logged and counted, and does
/// not keep the others; the next sweep tries it again.
pub(super) fn sweep(shared: &Shared, now: Timestamp) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    for name in list_names(shared, &shared.layout.sources())? {
        if let Some(minute) = Minute::parse(&name)
            && minute.has_begun(now)
        {
            sweep_minute(shared, minute, now, &mut swept)?;
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
        if let Some(bucket) = minute.parse_bucket(&name)
            && bucket.has_begun(now)
        {
            sweep_bucket(shared, bucket, now, swept)?;
        }
    }
    log_failure(&folder, shared.remove_minute(minute));
    Ok(())
}

fn sweep_bucket(
    shared: &Shared,
    bucket: Bucket,
    now: Timestamp,
    swept: &mut Swept,
) -> Result<(), StoreError> {
    let folder = shared.layout.bucket(bucket);
    for name in list_names(shared, &folder)? {
        if let Some(source) = parse_source(&name)
            && source.is_expired(now)
        {
            count(shared.remove_file(&folder.join(name)), swept);
            swept.max_lag = swept.max_lag.max(now.since(source.expires_at()));
        }
    }
    if bucket.is_over(now) {
        log_failure(&folder, shared.remove_bucket(bucket));
    }
    Ok(())
}

/// The names in a folder; none if it is not there.
fn list_names(shared: &Shared, folder: &Path) -> Result<Vec<OsString>, StoreError> {
    let list_error = |error| shared.error("list", folder, error);
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .map_err(list_error)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<_, _>>()
            .map_err(list_error),
    }
}

fn count(removal: Result<Removal, StoreError>, swept: &mut Swept) {
    match removal {
        Ok(Removal::Removed) => swept.sources += 1,
        Ok(Removal::WasGone) => {}
        Err(error) => {
            swept.failures += 1;
            tracing::error!(
                error = crate::telemetry::chain(&error),
                "an expired archive could not be deleted; the next sweep tries again"
            );
        }
    }
}

/// A folder that is not empty yet, or gone already, is no failure.
fn log_failure(folder: &Path, removed: io::Result<()>) {
    use io::ErrorKind::{DirectoryNotEmpty, NotFound};
    match removed {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), NotFound | DirectoryNotEmpty) => {}
        Err(error) => tracing::error!(
            error = crate::telemetry::chain(&error),
            folder = %folder.display(),
            "the empty folder of a past minute could not be removed; the next sweep tries again"
        ),
    }
}
