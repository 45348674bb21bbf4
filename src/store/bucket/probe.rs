//! Trying the engine before the server accepts: can the bucket be used, and does it keep the promise
//! that write-once rests on?

use futures_util::StreamExt;
use object_store::{Error, ObjectMeta, ObjectStoreExt, PutMode, PutPayload};

use super::engine::failed;
use super::listing::list;
use super::{Overwrite, Shared};
use crate::clock::Timestamp;
use crate::error_chain::chain;
use crate::store::StoreError;

/// Writes, writes again where nothing may be, and deletes. Each way to fail is told apart.
pub(super) async fn probe(shared: &Shared) -> Result<(), StoreError> {
    look_for_bucket(shared).await?;
    let key = shared.keys.probe(rand::random());
    let objects = shared.objects();
    let payload = || PutPayload::from_static(b"waystation");

    let create = || objects.put_opts(&key, payload(), PutMode::Create.into());
    let is_conditional = match create().await {
        Ok(_) => match create().await {
            Ok(_) => false,
            Err(Error::AlreadyExists { .. }) => true,
            Err(error) => return Err(unusable(shared)(error)),
        },
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

/// Lists something: an engine that makes buckets by itself when something is put into them would hide
/// that this one's name is wrong.
pub(super) async fn look_for_bucket(shared: &Shared) -> Result<(), StoreError> {
    match list(shared, &shared.keys.probes()).next().await {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(unusable(shared)(error)),
    }
}

/// Asks for a key that is not there: an answer, even that one, shows that the engine is there.
pub(super) async fn ask(shared: &Shared) -> Result<(), StoreError> {
    match shared.objects().head(&shared.keys.probe([0; 16])).await {
        Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(failed("ask for a key")(error)),
    }
}

/// What time it is by the engine's clock: it dates what is written.
pub(super) async fn ask_time(shared: &Shared) -> Result<Timestamp, StoreError> {
    let key = shared.keys.probe(rand::random());
    let objects = shared.objects();
    let put = objects.put(&key, PutPayload::from_static(b"time")).await;
    put.map_err(failed("write a probe"))?;
    let meta = objects.head(&key).await.map_err(failed("read a probe"))?;
    objects
        .delete(&key)
        .await
        .map_err(failed("delete a probe"))?;
    Ok(time_of(&meta))
}

/// When an object was written, by the engine's clock.
pub(super) fn time_of(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from_ms(u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0))
}

pub(super) const fn is_unsupported(error: &Error) -> bool {
    matches!(
        error,
        Error::NotImplemented { .. } | Error::NotSupported { .. }
    )
}

/// What an operator has to look at, by what the engine said.
fn unusable(shared: &Shared) -> impl Fn(Error) -> StoreError {
    let bucket = shared.engine.name.clone();
    move |source| {
        let problem = match complaint_of(&source) {
            Complaint::NoBucket => {
                "there is no such bucket: make it, or correct --store; or what answers there is no engine: correct the endpoint (--s3-endpoint)"
            }
            Complaint::Clock => {
                "the clock of this machine is wrong, or the engine's is: set it, and keep it so with NTP"
            }
            Complaint::Credentials => {
                "the credentials are refused: check the key, its secret, and that it may read, write, list and delete there"
            }
            Complaint::Other => {
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

enum Complaint {
    NoBucket,
    Clock,
    Credentials,
    Other,
}

/// What an engine complains of. For listing, the library tells statuses in its text only.
fn complaint_of(error: &Error) -> Complaint {
    let text = chain(error);
    if matches!(error, Error::NotFound { .. }) || text.contains("404 Not Found") {
        Complaint::NoBucket
    } else if text.contains("RequestTimeTooSkewed") {
        // Requests are signed with the time, so engines call it a refusal.
        Complaint::Clock
    } else if matches!(
        error,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. }
    ) || text.contains("403 Forbidden")
        || text.contains("401 Unauthorized")
    {
        Complaint::Credentials
    } else {
        Complaint::Other
    }
}
