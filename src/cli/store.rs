//! Opening the store for a command.

use crate::clock::Clock;
use crate::config::{StorePlace, StoreSettings};
use crate::store::bucket::{BucketUrl, Overwrite};
use crate::store::{BucketStore, FolderStore, Store, StoreError};

/// The store for a command that takes no archive in, and makes no store.
pub(super) async fn open_store(settings: &StoreSettings) -> Result<Store, StoreError> {
    let store = match &settings.store {
        StorePlace::Folder(folder) => Store::Folder(FolderStore::open_existing(folder.clone())?),
        StorePlace::Bucket(url) => open_bucket(url, settings)?,
    };
    store.find().await?;
    Ok(store)
}

pub(super) fn open_bucket(url: &BucketUrl, settings: &StoreSettings) -> Result<Store, StoreError> {
    let url = url.clone().at(settings.s3_endpoint.clone());
    let overwrite = if settings.allow_overwrite {
        Overwrite::Allow
    } else {
        Overwrite::Refuse
    };
    BucketStore::open(&url, overwrite, Clock::System).map(Store::Bucket)
}
