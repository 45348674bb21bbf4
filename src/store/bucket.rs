//! The store in a bucket of an object-storage engine, shared by any number of servers.
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
use tokio::sync::Semaphore;

use crate::clock::{Clock, Timestamp};
use crate::digest::Digester;
use crate::source::SourceId;
use crate::store::{Audit, Download, StoreError, Swept, Upload, UploadStart};

mod audit;
mod download;
mod engine;
mod keys;
mod lease;
mod listing;
mod probe;
mod publish;
mod records;
mod sweep;
mod upload;

pub use download::BucketDownload;
pub use engine::{BucketUrl, EndpointUrl, NotABucketUrl, NotAnEndpoint};
pub use publish::StagedParts;
pub use upload::BucketUpload;

use engine::Engine;
use keys::Keys;

/// How long a part is; the last one of an archive may be shorter. A record says how long its parts
/// are, so this can be changed at any time.
const PART_BYTES: usize = 1024 * 1024;
/// How many parts, over all uploads, may be on their way to the engine besides the one that each has
/// in hand; and as many, over all downloads, from it. Apart, since a slow reader keeps its part.
const PARTS_IN_FLIGHT: usize = 32;

/// What to do on an engine that cannot create a key only where none is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Refuse to start.
    Refuse,
    /// Go on: of two uploads to a source that finish at once, either may stay.
    Allow,
}

/// A bucket, or the part of one below a prefix. Clones are the same store.
#[derive(Clone, Debug)]
pub struct BucketStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    keys: Keys,
    overwrite: Overwrite,
    clock: Clock,
    upload_slots: Arc<Semaphore>,
    download_slots: Arc<Semaphore>,
}

impl Shared {
    fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.engine.objects
    }
}

impl BucketStore {
    /// Prepares to use the bucket that `url` names; nothing is asked of the engine yet.
    pub fn open(url: &BucketUrl, overwrite: Overwrite, clock: Clock) -> Result<Self, StoreError> {
        let engine = Engine::connect(url)?;
        Ok(Self::on(engine, url.prefix(), overwrite, clock))
    }

    /// A store below `prefix` in what speaks like an engine, and was connected by the caller.
    #[must_use]
    pub fn within(
        objects: Arc<dyn ObjectStore>,
        prefix: &str,
        overwrite: Overwrite,
        clock: Clock,
    ) -> Self {
        Self::on(Engine::of(objects), prefix, overwrite, clock)
    }

    fn on(engine: Engine, prefix: &str, overwrite: Overwrite, clock: Clock) -> Self {
        Self {
            shared: Arc::new(Shared {
                engine,
                keys: Keys::below(&Path::from(prefix)),
                overwrite,
                clock,
                upload_slots: Arc::new(Semaphore::new(PARTS_IN_FLIGHT)),
                download_slots: Arc::new(Semaphore::new(PARTS_IN_FLIGHT)),
            }),
        }
    }

    /// Tries whether the engine can be used, and what it can do. There is nothing to remove: what
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
    ) -> Result<UploadStart, StoreError> {
        if let Some(record) = publish::read_record(&self.shared, source).await? {
            return Ok(UploadStart::AlreadyUploaded(record.facts()));
        }
        let shared = Arc::clone(&self.shared);
        let upload = BucketUpload::new(shared, source, declared_bytes, digester);
        Ok(UploadStart::Accepted(Upload::Bucket(Box::new(upload))))
    }

    pub(super) async fn open_download(
        &self,
        source: SourceId,
    ) -> Result<Option<Download>, StoreError> {
        download::open(&self.shared, source).await
    }

    pub(super) async fn sweep(&self, now: Timestamp) -> Result<Swept, StoreError> {
        sweep::sweep(&self.shared, now).await
    }

    pub(super) async fn audit(&self) -> Result<Audit, StoreError> {
        audit::audit(&self.shared).await
    }

    /// Asks the engine for something small: does it answer?
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        probe::ask(&self.shared).await
    }

    /// The engine's own link for `source`, on which `method` can be called until it expires.
    pub(super) async fn sign(
        &self,
        source: SourceId,
        method: http::Method,
    ) -> Result<String, StoreError> {
        let lifetime = source.expires_at().since(self.shared.clock.now());
        let key = self.shared.keys.direct(source);
        self.shared.engine.sign(method, &key, lifetime).await
    }
}
