//! Trying the engine before the server accepts: can the bucket be used, and does it keep the promise
//! that write-once rests on?

use object_store::{ObjectStoreExt, PutMode, PutPayload};

use super::engine::failed;
use super::{Overwrite, Shared};
use crate::store::StoreError;

/// Writes, writes again where nothing may be, and deletes. Each way to fail is told apart.
pub(super) async fn probe(shared: &Shared) -> Result<(), StoreError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(StoreError::NoRandomness)?;
    let key = shared.keys.probe(random);
    let objects = shared.objects();
    let payload = || PutPayload::from_static(b"waystation");

    let first = objects
        .put_opts(&key, payload(), PutMode::Create.into())
        .await;
    let is_conditional = match first {
        Ok(_) => {
            let second = objects
                .put_opts(&key, payload(), PutMode::Create.into())
                .await;
            matches!(second, Err(object_store::Error::AlreadyExists { .. }))
        }
        Err(error) if is_unsupported(&error) => {
            objects
                .put(&key, payload())
                .await
                .map_err(unusable(shared))?;
            false
        }
        Err(error) => return Err(unusable(shared)(error)),
    };
    objects.delete(&key).await.map_err(unusable(shared))?;
    if is_conditional {
        return Ok(());
    }
    match shared.overwrite {
        Overwrite::Refuse => Err(StoreError::NoConditionalWrites {
            bucket: shared.engine.name.clone(),
        }),
        Overwrite::Allow => {
            tracing::warn!(
                "{} cannot create a key only where none is: of two uploads to one source that finish at once, the later one stays",
                shared.engine.name
            );
            Ok(())
        }
    }
}

/// Asks for a key that is not there: an answer, even that one, shows that the engine is there.
pub(super) async fn ask(shared: &Shared) -> Result<(), StoreError> {
    match shared.objects().head(&shared.keys.probe([0; 16])).await {
        Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(failed("ask for a key")(error)),
    }
}

const fn is_unsupported(error: &object_store::Error) -> bool {
    matches!(
        error,
        object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }
    )
}

/// What an operator has to look at, by what the engine said.
fn unusable(shared: &Shared) -> impl Fn(object_store::Error) -> StoreError {
    let bucket = shared.engine.name.clone();
    move |source| {
        let problem = match &source {
            object_store::Error::NotFound { .. } => {
                "there is no such bucket: make it, or correct --store"
            }
            object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. } => {
                "the credentials are refused: check the key, its secret, and that it may read, write, list and delete there"
            }
            _ => {
                "the engine cannot be reached: check its endpoint (--s3-endpoint), the region, and the network"
            }
        };
        StoreError::Bucket {
            bucket: bucket.clone(),
            problem,
            source,
        }
    }
}
