//! Pins as objects beside the archives that they keep.

use object_store::{Error, ObjectStoreExt, PutPayload};

use super::errors::failed;
use super::keys::Role;
use super::shared::BucketStore;
use crate::error_chain::chain;
use crate::source::SourceId;
use crate::store::error::Result;
use crate::store::pin::Pin;

impl BucketStore {
    /// Pins an archive; says whether there is one. Looked for when the pin is there: what is found then stays.
    pub(crate) async fn pin(&self, source: SourceId, pin: Pin) -> Result<bool> {
        let put = self.put_pin(source, pin).await;
        let is_there = match put {
            Ok(()) => self.has_archive(source).await,
            Err(error) => Err(failed("pin a source")(error)),
        };
        if !matches!(is_there, Ok(true)) {
            // Also if it could not be put: it may be there all the same.
            self.drop_pin(source, Some(pin)).await;
        }
        is_there
    }

    pub(crate) async fn unpin(&self, source: SourceId, pin: Pin) -> Result<()> {
        let key = self.keys.of(source, Role::Pin(pin));
        let deleted = self.delete_one(key).await;
        deleted.map_err(failed("unpin a source"))
    }

    pub(super) async fn put_pin(&self, source: SourceId, pin: Pin) -> object_store::Result<()> {
        let key = self.keys.of(source, Role::Pin(pin));
        let put = self.objects().put(&key, PutPayload::from_static(b"pin"));
        put.await.map(drop)
    }

    /// Deletes a pin that nobody needs any more.
    pub(super) async fn drop_pin(&self, source: SourceId, pin: Option<Pin>) {
        let keys = pin.map(|pin| self.keys.of(source, Role::Pin(pin)));
        for error in self.delete(keys.into_iter().collect()).await.1 {
            tracing::warn!(
                error = chain(&error),
                "a pin could not be deleted: its source stays until it ends"
            );
        }
    }

    /// Is there a record, or what was uploaded past us?
    async fn has_archive(&self, source: SourceId) -> Result<bool> {
        let record = self.size_of(source, Role::Record).await?;
        Ok(record.is_some() || self.size_of(source, Role::Direct).await?.is_some())
    }

    /// How long an object of a source is; `None` if it is not there.
    pub(super) async fn size_of(&self, source: SourceId, role: Role) -> Result<Option<u64>> {
        match self.objects().head(&self.keys.of(source, role)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("look for an archive")(error)),
        }
    }
}
