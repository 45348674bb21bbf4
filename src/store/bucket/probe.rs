//! Trying the object store before the server accepts: can the bucket be used, and are writes
//! conditional, which write-once rests on?

use std::sync::Arc;

use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};

use super::errors::{failed, is_unsupported, unusable};
use super::shared::{Overwrite, Shared};
use crate::store::error::StoreError;

/// Writes, tries what must be refused, and deletes. Each way to fail is reported as what it is.
pub(super) async fn probe(shared: &Shared) -> Result<(), StoreError> {
    look_for_bucket(shared).await?;
    let key = shared.keys.probe(rand::random());
    let (objects, name) = (shared.objects(), &shared.client.name);
    let is_conditional = has_conditional_writes(objects, &key).await;
    let is_conditional = is_conditional.map_err(unusable(name))?;
    objects.delete(&key).await.map_err(unusable(name))?;
    match (is_conditional, shared.overwrite) {
        (true, _) => Ok(()),
        (false, Overwrite::Refuse) => Err(StoreError::NoConditionalWrites {
            bucket: name.clone(),
        }),
        (false, Overwrite::Allow) => {
            tracing::warn!(
                "{name} has no conditional writes: of two uploads to one source, or two changes of one API token, that are made at once, the later one stays"
            );
            Ok(())
        }
    }
}

/// Does the object store create a key only where none is, and replace only what is named?
async fn has_conditional_writes(objects: &Arc<dyn ObjectStore>, key: &Path) -> Result<bool, Error> {
    let put = |mode: PutMode| {
        let content = PutPayload::from_static(b"waystation");
        objects.put_opts(key, content, mode.into())
    };
    put(PutMode::Overwrite).await?;
    let other = UpdateVersion {
        e_tag: Some(format!("\"{:032x}\"", 0)),
        version: Some("0".to_owned()),
    };
    for mode in [PutMode::Create, PutMode::Update(other)] {
        match put(mode).await {
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
            Ok(_) => return Ok(false),
            Err(error) if is_unsupported(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
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
