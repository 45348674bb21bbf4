//! Trying the object store before the server accepts: can the bucket be used, and does it keep the
//! promise that write-once rests on?

use futures_util::StreamExt;
use object_store::{Error, ObjectStoreExt, PutMode, PutPayload};

use super::errors::{failed, is_unsupported, unusable};
use super::shared::{Overwrite, Shared};
use crate::store::StoreError;

/// Writes, writes again where nothing may be, and deletes. Each way to fail is told apart.
pub(super) async fn probe(shared: &Shared) -> Result<(), StoreError> {
    look_for_bucket(shared).await?;
    let key = shared.keys.probe(rand::random());
    let (objects, name) = (shared.objects(), &shared.client.name);
    let payload = || PutPayload::from_static(b"waystation");

    let create = || objects.put_opts(&key, payload(), PutMode::Create.into());
    let is_conditional = match create().await {
        Ok(_) => match create().await {
            Ok(_) => false,
            Err(Error::AlreadyExists { .. }) => true,
            Err(error) => return Err(unusable(name)(error)),
        },
        Err(error) if is_unsupported(&error) => {
            let put = objects.put(&key, payload()).await;
            put.map_err(unusable(name))?;
            false
        }
        Err(error) => return Err(unusable(name)(error)),
    };
    objects.delete(&key).await.map_err(unusable(name))?;
    match (is_conditional, shared.overwrite) {
        (true, _) => Ok(()),
        (false, Overwrite::Refuse) => Err(StoreError::NoConditionalWrites {
            bucket: name.clone(),
        }),
        (false, Overwrite::Allow) => {
            tracing::warn!(
                "{name} cannot create a key only where none is: of two uploads to one source that finish at once, the later one stays"
            );
            Ok(())
        }
    }
}

/// Lists something: an object store that makes buckets by itself when something is put into them would
/// hide that this one's name is wrong.
pub(super) async fn look_for_bucket(shared: &Shared) -> Result<(), StoreError> {
    let mut listed = shared.objects().list(Some(&shared.keys.probes()));
    match listed.next().await {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(unusable(&shared.client.name)(error)),
    }
}

/// Asks for a key that is not there: an answer, even that one, shows that the object store is there.
pub(super) async fn check(shared: &Shared) -> Result<(), StoreError> {
    match shared.objects().head(&shared.keys.probe([0; 16])).await {
        Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(failed("ask for a key")(error)),
    }
}
