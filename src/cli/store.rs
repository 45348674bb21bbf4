//! Opening the store for a command.

use super::error::CliError;
use crate::clock::Clock;
use crate::config::{StorePlace, StoreSettings};
use crate::ownership::own_user;
use crate::store::bucket::{BucketUrl, Overwrite};
use crate::store::{BucketStore, FolderStore, Store, StoreError};

/// The store for a command that takes no archive in, and makes no store.
pub(super) async fn open_store(settings: &StoreSettings) -> Result<Store, StoreError> {
    let store = match &settings.store {
        StorePlace::Folder(folder) => Store::Folder(FolderStore::open_existing(folder.clone())?),
        StorePlace::Bucket(url) => open_bucket(url, settings, 0)?,
    };
    store.find().await?;
    Ok(store)
}

/// The store for a command that keeps documents in it. Its server has to be able to read them: as root, who
/// can write everywhere, one would make what only root can read.
pub(super) async fn open_store_to_write(settings: &StoreSettings) -> Result<Store, CliError> {
    let store = open_store(settings).await?;
    if let Store::Folder(folder) = &store {
        let (owner, group) = folder.owner()?;
        let own = own_user();
        if owner != own {
            return Err(CliError::NotTheOwner {
                store: settings.store.to_string(),
                owner,
                group,
                own,
            });
        }
    }
    Ok(store)
}

/// Uploads hold `upload_memory_bytes` at most, besides a mebibyte each.
pub(super) fn open_bucket(
    url: &BucketUrl,
    settings: &StoreSettings,
    upload_memory_bytes: usize,
) -> Result<Store, StoreError> {
    let url = url.clone().at(settings.s3_endpoint.clone());
    let overwrite = if settings.allow_overwrite {
        Overwrite::Allow
    } else {
        Overwrite::Refuse
    };
    BucketStore::open(&url, overwrite, upload_memory_bytes, Clock::System).map(Store::Bucket)
}
