//! What all parts of a store in a bucket share, and the requests that several of them make.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt, stream};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::sync::Semaphore;

use super::client::Client;
use super::errors::is_unsupported;
use super::keys::Keys;
use crate::clock::Clock;

/// How many parts, over all uploads, may be on their way to the object store besides the one that each
/// has in hand; and as many, over all downloads, from it. Apart, since a slow reader keeps its part.
const PARTS_IN_FLIGHT: usize = 32;

/// What to do on an object store without conditional writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Refuse to start.
    Refuse,
    /// Go on: of two uploads to a source that finish at once, either may stay; and a change of an API
    /// token may undo another that is made at once.
    Allow,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) keys: Keys,
    pub(super) overwrite: Overwrite,
    pub(super) clock: Clock,
    pub(super) upload_slots: Arc<Semaphore>,
    pub(super) download_slots: Arc<Semaphore>,
    foreign_key: Mutex<Option<String>>,
}

impl Shared {
    pub(super) fn new(client: Client, prefix: Path, overwrite: Overwrite, clock: Clock) -> Self {
        Self {
            client,
            keys: Keys::below(prefix),
            overwrite,
            clock,
            upload_slots: Arc::new(Semaphore::new(PARTS_IN_FLIGHT)),
            download_slots: Arc::new(Semaphore::new(PARTS_IN_FLIGHT)),
            foreign_key: Mutex::default(),
        }
    }

    pub(super) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.client.objects
    }

    /// The foreign key that the last sweep ran into.
    pub(super) fn foreign_key(&self) -> MutexGuard<'_, Option<String>> {
        let key = self.foreign_key.lock();
        key.unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an object if what is there is what `mode` asks for, as far as the object store can tell. One
    /// that cannot, and says so, is used only where that is allowed.
    pub(super) async fn put_if(
        &self,
        mode: PutMode,
        key: &Path,
        content: PutPayload,
    ) -> object_store::Result<()> {
        let objects = self.objects();
        let put = objects.put_opts(key, content.clone(), mode.into()).await;
        match put {
            Err(error) if self.overwrite == Overwrite::Allow && is_unsupported(&error) => {
                objects.put(key, content).await.map(drop)
            }
            put => put.map(drop),
        }
    }

    /// Deletes objects. Returns the keys where none is any more, whoever deleted it, and why others may
    /// still be there.
    pub(super) async fn delete(&self, keys: Vec<Path>) -> (HashSet<Path>, Vec<Error>) {
        let mut gone = HashSet::new();
        let mut errors = Vec::new();
        if keys.is_empty() {
            return (gone, errors);
        }
        let keys = stream::iter(keys.into_iter().map(Ok)).boxed();
        let mut deleted = self.objects().delete_stream(keys);
        while let Some(done) = deleted.next().await {
            match done {
                Ok(key) => drop(gone.insert(key)),
                Err(Error::NotFound { path, .. }) => gone.extend(Path::parse(path)),
                Err(error) => errors.push(error),
            }
        }
        (gone, errors)
    }
}
