//! Trying the object store before the server accepts: can the bucket be used, and are writes
//! conditional, which write-once rests on?

use std::sync::Arc;

use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};

use super::errors::{failed, is_unsupported, unusable};
use super::shared::{BucketStore, Overwrite};
use crate::mutex::lock;
use crate::store::error::{Result, StoreError};

impl BucketStore {
    /// Writes, tries what must be refused, and deletes. Each way to fail is reported as what it is. There
    /// are no leftovers to remove: what broken uploads left goes when their sources expire.
    pub(crate) async fn claim(&self) -> Result<u64> {
        self.find().await?;
        let key = self.keys.probe(rand::random());
        let (objects, name) = (self.objects(), &self.client.name);
        let is_conditional = has_conditional_writes(objects, &key).await;
        let is_conditional = is_conditional.map_err(unusable(name))?;
        self.delete_one(key).await.map_err(unusable(name))?;
        match (is_conditional, self.overwrite) {
            (true, _) => Ok(0),
            (false, Overwrite::Refuse) => Err(StoreError::NoConditionalWrites {
                bucket: name.clone(),
            }),
            (false, Overwrite::Allow) => {
                tracing::warn!(
                    "{name} has no conditional writes: of two uploads to one source, or two changes of one API token, that are made at once, the later one stays"
                );
                Ok(0)
            }
        }
    }

    /// Lists something: an object store that makes buckets by itself when something is put into them would
    /// hide that this one's name is wrong.
    pub(crate) async fn find(&self) -> Result<()> {
        let mut listed = self.objects().list(Some(&self.keys.probes()));
        match listed.next().await {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(unusable(&self.client.name)(error)),
        }
    }

    /// Asks for a key that is not there: an answer, even that one, shows that the object store is there.
    pub(crate) async fn check(&self) -> Result<()> {
        match self.objects().head(&self.keys.probe([0; 16])).await {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("ask for a key")(error)),
        }
    }

    /// Does it answer, and did the last sweep see all there is?
    pub(crate) async fn check_ready(&self) -> Result<()> {
        let foreign_key = lock(&self.foreign_key).clone();
        match foreign_key {
            Some(key) => Err(StoreError::ForeignKey { key }),
            None => self.check().await,
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
