//! What deletes an archive: a look into the folders of the minutes that have come, and no others.

use std::fs;
use std::io;
use std::path::Path;

use super::layout::{Bucket, parse_source};
use super::{Removal, Shared};
use crate::clock::Timestamp;
use crate::store::{StoreError, Swept};

/// Deletes what has expired at `now`. A file that cannot be deleted is logged and counted, and does
/// not keep the others; the next sweep tries it again.
pub(super) fn sweep(shared: &Shared, now: Timestamp) -> Result<Swept, StoreError> {
    let folder = shared.layout.sources();
    let list_error = |error| shared.error("list", &folder, error);
    let mut swept = Swept::default();
    for entry in fs::read_dir(&folder).map_err(list_error)? {
        let name = entry.map_err(list_error)?.file_name();
        if let Some(bucket) = Bucket::parse(&name)
            && bucket.has_begun(now)
        {
            sweep_bucket(shared, bucket, now, &mut swept)?;
        }
    }
    Ok(swept)
}

fn sweep_bucket(
    shared: &Shared,
    bucket: Bucket,
    now: Timestamp,
    swept: &mut Swept,
) -> Result<(), StoreError> {
    let folder = shared.layout.bucket(bucket);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(shared.error("list", &folder, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| shared.error("list", &folder, error))?;
        let Some(source) = parse_source(&entry.file_name()) else {
            continue;
        };
        if source.is_expired(now) {
            count(shared.remove_file(&entry.path()), swept);
            swept.max_lag = swept.max_lag.max(now.since(source.expires_at()));
        }
    }
    if bucket.is_over(now) {
        remove_folder(shared, bucket, &folder);
    }
    Ok(())
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

fn remove_folder(shared: &Shared, bucket: Bucket, folder: &Path) {
    match shared.remove_bucket(bucket) {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
            ) => {}
        Err(error) => tracing::error!(
            error = crate::telemetry::chain(&error),
            folder = %folder.display(),
            "the folder of a past minute could not be removed; the next sweep tries again"
        ),
    }
}
