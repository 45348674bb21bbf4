//! The store in a bucket of an object store, shared by any number of servers.
//!
//! No server knows of another. An upload's bytes go to keys of its own, in parts; it becomes visible
//! when its record, which names those keys and holds the facts, is created where none was: see
//! [`publish`]. Keys sort by expiry, and only [`mod@sweep`] deletes what has expired.
//!
//! Parts are objects of their own, not those of a multipart upload: so a server that is killed leaves
//! nothing that a listing does not show, and parts can be small, which bounds memory.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;

use crate::clock::{Clock, Timestamp};
use crate::digest::Digester;
use crate::source::SourceId;
use crate::store::archive::{Audit, Download, Swept, UploadStart};
use crate::store::error::StoreError;

mod audit;
mod client;
mod documents;
mod download;
mod errors;
pub mod keys;
mod parts;
mod pin;
mod probe;
mod publish;
pub mod record;
mod shared;
mod sweep;
mod upload;
mod url;

pub use download::BucketDownload;
pub use publish::StagedParts;
pub use shared::Overwrite;
pub(super) use sweep::GRACE;
pub use upload::BucketUpload;
pub use url::{BucketUrl, EndpointUrl, NotABucketUrl, NotAnEndpoint};

use client::Client;
use keys::Role;
use record::Record;
use shared::Shared;

/// A bucket, or the part of one below a prefix. Clones are the same store.
#[derive(Clone, Debug)]
pub struct BucketStore {
    shared: Arc<Shared>,
}

impl BucketStore {
    /// Prepares to use the bucket that `url` names; nothing is asked of the object store yet.
    pub fn open(url: &BucketUrl, overwrite: Overwrite, clock: Clock) -> Result<Self, StoreError> {
        let client = Client::connect(url)?;
        let shared = Shared::new(client, url.prefix.clone(), overwrite, clock);
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// A store below `prefix` in an object store that the caller has connected to.
    pub fn within(
        objects: Arc<dyn ObjectStore>,
        prefix: &str,
        overwrite: Overwrite,
        clock: Clock,
    ) -> Self {
        let client = Client::of(objects);
        Self {
            shared: Arc::new(Shared::new(client, Path::from(prefix), overwrite, clock)),
        }
    }

    /// Tries whether the object store can be used, and what it can do. There is nothing to remove: what
    /// broken uploads left goes when their sources expire.
    pub(super) async fn claim(&self) -> Result<u64, StoreError> {
        probe::probe(&self.shared).await.map(|()| 0)
    }

    /// Looks whether the bucket is there.
    pub(super) async fn find(&self) -> Result<(), StoreError> {
        probe::look_for_bucket(&self.shared).await
    }

    pub(super) async fn begin_upload(
        &self,
        source: SourceId,
        declared_bytes: Option<u64>,
        digester: Digester,
    ) -> Result<UploadStart<BucketUpload>, StoreError> {
        if let Some(record) = Record::read(&self.shared, source).await? {
            return Ok(UploadStart::AlreadyUploaded(record.facts));
        }
        let shared = Arc::clone(&self.shared);
        let upload = BucketUpload::new(shared, source, declared_bytes, digester);
        Ok(UploadStart::Accepted(upload))
    }

    pub(super) async fn open_download(
        &self,
        source: SourceId,
    ) -> Result<Option<Download<BucketDownload>>, StoreError> {
        download::open(&self.shared, source).await
    }

    pub(super) async fn sweep(&self, now: Timestamp) -> Result<Swept, StoreError> {
        sweep::sweep(&self.shared, now).await
    }

    pub(super) async fn audit(&self) -> Result<Audit, StoreError> {
        audit::audit(&self.shared).await
    }

    /// Asks the object store for something small: does it answer?
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        probe::check(&self.shared).await
    }

    /// Does it answer, and did the last sweep see all there is?
    pub(super) async fn check_ready(&self) -> Result<(), StoreError> {
        let foreign_key = self.shared.foreign_key().clone();
        match foreign_key {
            Some(key) => Err(StoreError::ForeignKey { key }),
            None => self.check().await,
        }
    }

    /// The object store's own link for `source`, on which `method` can be called until it expires.
    pub(super) async fn sign(
        &self,
        source: SourceId,
        method: http::Method,
    ) -> Result<String, StoreError> {
        let Shared { client, keys, .. } = &*self.shared;
        let key = keys.of(source, Role::Direct);
        let lifetime = source.expires_at().since(self.shared.clock.now());
        let signed = client.sign(method, &key, lifetime).await;
        signed.map_err(errors::failed("sign a link"))
    }
}
