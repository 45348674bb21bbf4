//! What all parts of a store in a bucket share, and the requests that several of them make.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use object_store::path::Path;
use object_store::{
    Error, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutPayload, PutResult, UpdateVersion,
};
use tokio::sync::Semaphore;

use super::client::Client;
use super::errors::{failed, is_unsupported};
use super::filling::PIECE_BYTES;
use super::keys::Keys;
use super::requests::RequestMetrics;
use super::url::BucketUrl;
use crate::clock::Clock;
use crate::store::error::Result;
use crate::store::journal::JournalKey;

/// How much of the memory for uploads is for parts that are not large, so that none waits for a large one that
/// fills slowly: one in so many.
const SHARE_OF_SLOTS: usize = 3;
/// How many parts, over all downloads, may be read ahead of those that are being sent.
const PARTS_AHEAD: usize = 32;
/// The memory for uploads, where nobody says otherwise.
const DEFAULT_UPLOAD_MEMORY_BYTES: usize = 80 * PIECE_BYTES;

/// What to do on an object store without conditional writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Refuse to start.
    Refuse,
    /// Go on: of two uploads to a source that finish at once, either may stay; and a change of an API
    /// token may undo another that is made at once.
    Allow,
}

/// Bytes of a journal that were appended at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A bucket, or the part of one below a prefix.
#[derive(Debug)]
pub struct BucketStore {
    pub(super) client: Client,
    pub(super) keys: Keys,
    pub(super) overwrite: Overwrite,
    pub(super) clock: Clock,
    /// How many parts, over all uploads, may be on their way to the object store besides the one that each has in
    /// hand, a piece of memory for each.
    pub(super) upload_slots: Arc<Semaphore>,
    /// The pieces of memory for what parts are longer than one, over all uploads.
    pub(super) upload_memory: Arc<Semaphore>,
    /// Apart, since a slow reader keeps what is ahead of it.
    pub(super) slots_ahead: Arc<Semaphore>,
    /// Where the last chunk begins that is known of the journals used lately, and how long it is.
    pub(super) last_chunks: Mutex<HashMap<JournalKey, Chunk>>,
    /// The foreign key that the last sweep ran into.
    pub(super) foreign_key: Mutex<Option<String>>,
    deletes_one_by_one: AtomicBool,
}

impl BucketStore {
    /// Prepares to use the bucket that `url` names; nothing is asked of the object store yet. Uploads hold
    /// `upload_memory_bytes` at most, besides a mebibyte each.
    pub fn open(
        url: &BucketUrl,
        overwrite: Overwrite,
        upload_memory_bytes: usize,
        clock: Clock,
    ) -> Result<Arc<Self>> {
        let client = Client::connect(url)?;
        let prefix = url.prefix.clone();
        Ok(Self::new(
            client,
            prefix,
            overwrite,
            upload_memory_bytes,
            clock,
        ))
    }

    /// A store below `prefix` in an object store that the caller has connected to.
    pub fn within(
        objects: Arc<dyn ObjectStore>,
        prefix: &str,
        overwrite: Overwrite,
        clock: Clock,
    ) -> Arc<Self> {
        let memory_bytes = DEFAULT_UPLOAD_MEMORY_BYTES;
        Self::with_memory(objects, prefix, overwrite, memory_bytes, clock)
    }

    /// The same, where uploads hold `upload_memory_bytes` at most, besides a mebibyte each.
    pub fn with_memory(
        objects: Arc<dyn ObjectStore>,
        prefix: &str,
        overwrite: Overwrite,
        upload_memory_bytes: usize,
        clock: Clock,
    ) -> Arc<Self> {
        let client = Client::of(objects);
        Self::new(client, prefix.into(), overwrite, upload_memory_bytes, clock)
    }

    fn new(
        client: Client,
        prefix: Path,
        overwrite: Overwrite,
        upload_memory_bytes: usize,
        clock: Clock,
    ) -> Arc<Self> {
        let pieces = upload_memory_bytes / PIECE_BYTES;
        let slots = (pieces / SHARE_OF_SLOTS).max(1);
        Arc::new(Self {
            client,
            keys: Keys::below(prefix),
            overwrite,
            clock,
            upload_slots: Arc::new(Semaphore::new(slots)),
            upload_memory: Arc::new(Semaphore::new(pieces.saturating_sub(slots))),
            slots_ahead: Arc::new(Semaphore::new(PARTS_AHEAD)),
            last_chunks: Mutex::default(),
            foreign_key: Mutex::default(),
            deletes_one_by_one: AtomicBool::new(false),
        })
    }

    /// Is what is created known to have been created where nothing was?
    pub(crate) fn has_conditions(&self) -> bool {
        self.overwrite == Overwrite::Refuse
    }

    pub(super) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.client.objects
    }

    /// Asks for an object; `None` if it is not there.
    pub(super) async fn get(&self, key: &Path, doing: &'static str) -> Result<Option<GetResult>> {
        match self.objects().get(key).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(doing)(error)),
        }
    }

    pub(crate) const fn request_metrics(&self) -> &RequestMetrics {
        &self.client.metrics
    }

    /// Puts an object if what is there is what `mode` asks for, as far as the object store can tell. One
    /// that cannot, and says so, is used only where that is allowed.
    pub(super) async fn put_if(
        &self,
        mode: PutMode,
        key: &Path,
        content: PutPayload,
    ) -> object_store::Result<PutResult> {
        let objects = self.objects();
        let put = objects.put_opts(key, content.clone(), mode.into()).await;
        match put {
            Err(error) if self.overwrite == Overwrite::Allow && is_unsupported(&error) => {
                objects.put(key, content).await
            }
            put => put,
        }
    }

    /// Deletes objects. Returns the keys where none is any more, whoever deleted it, and why others may
    /// still be there.
    pub(super) async fn delete(&self, keys: Vec<Path>) -> (HashSet<Path>, Vec<Error>) {
        if let Some(objects) = &self.client.one_by_one {
            if self.deletes_one_by_one.load(Relaxed) {
                return delete(objects, keys).await;
            }
            let (gone, errors) = delete(self.objects(), keys.clone()).await;
            if !errors.iter().any(is_unsupported) {
                return (gone, errors);
            }
            tracing::info!("the object store deletes keys only one by one");
            self.deletes_one_by_one.store(true, Relaxed);
            return delete(objects, keys).await;
        }
        delete(self.objects(), keys).await
    }

    /// Deletes one, if it is there.
    pub(super) async fn delete_one(&self, key: Path) -> object_store::Result<()> {
        let (_, errors) = self.delete(vec![key]).await;
        errors.into_iter().next().map_or(Ok(()), Err)
    }
}

async fn delete(objects: &Arc<dyn ObjectStore>, keys: Vec<Path>) -> (HashSet<Path>, Vec<Error>) {
    let mut gone = HashSet::new();
    let mut errors = Vec::new();
    if keys.is_empty() {
        return (gone, errors);
    }
    let keys = stream::iter(keys.into_iter().map(Ok)).boxed();
    let mut deleted = objects.delete_stream(keys);
    while let Some(done) = deleted.next().await {
        match done {
            Ok(key) => drop(gone.insert(key)),
            Err(Error::NotFound { path, .. }) => gone.extend(Path::parse(path)),
            Err(error) => errors.push(error),
        }
    }
    (gone, errors)
}

/// What tells an object as it was read from one that others have put in its place.
pub(super) fn version_of(found: &GetResult) -> UpdateVersion {
    UpdateVersion {
        e_tag: found.meta.e_tag.clone(),
        version: found.meta.version.clone(),
    }
}
