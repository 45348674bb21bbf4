//! An object store in memory that misbehaves as real ones do, when a test sets it to.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::ready;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

/// As it is made, one like any other.
#[derive(Debug, Default)]
pub(crate) struct ObjectStoreDouble {
    pub(crate) inner: InMemory,
    /// It writes over what is there, whatever it is asked.
    pub(crate) is_unconditional: bool,
    /// It does not know how to replace only what is named.
    pub(crate) refuses_updates: bool,
    /// The answer to each write is lost, so that the client sends it again.
    pub(crate) loses_answers: bool,
    /// How often it was asked for a list.
    pub(crate) lists: AtomicU64,
    /// How long each page of a list takes.
    pub(crate) list_takes: Duration,
    /// How often it was asked for an object.
    pub(crate) gets: AtomicU64,
    pub(crate) get_takes: Duration,
    /// It is full, or can only be read.
    pub(crate) puts_fail: AtomicBool,
    /// How often it was asked to write.
    pub(crate) puts: AtomicU64,
    pub(crate) put_takes: Duration,
    /// The end of a key that the next list does not show.
    pub(crate) unlisted_once: Mutex<Option<String>>,
    /// The end of the key at which a list breaks off.
    pub(crate) list_ends_at: Mutex<Option<String>>,
    /// What another program has put into the bucket, and the library has no name for.
    pub(crate) foreign_key: Mutex<Option<String>>,
    /// What it sends of an object at once; all of it if that is 0.
    pub(crate) chunk_bytes: usize,
    /// How many answers have not been read to their end, nor given up.
    pub(crate) open_answers: Arc<AtomicUsize>,
    /// The ends of the keys that it does not delete.
    pub(crate) undeletable: Arc<Mutex<BTreeSet<String>>>,
}

fn refuse(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "a double".to_owned(),
    }
}

impl fmt::Display for ObjectStoreDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a double")
    }
}

/// Counted for as long as it is there.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn among(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl ObjectStoreDouble {
    /// Gives the bytes chunk by chunk.
    fn send(&self, content: Bytes) -> BoxStream<'static, Result<Bytes>> {
        let chunk_bytes = self.chunk_bytes;
        let state = (content, Open::among(&self.open_answers));
        stream::unfold(state, move |(mut left, open)| async move {
            if left.is_empty() {
                return None;
            }
            let chunk = left.split_to(chunk_bytes.min(left.len()));
            Some((Ok(chunk), (left, open)))
        })
        .boxed()
    }

    /// What is refused there is a page of the list.
    fn end_at_foreign_key(
        &self,
        listed: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let Some(key) = self.foreign_key.lock().unwrap().clone() else {
            return listed;
        };
        let refusal = Path::parse(&key).unwrap_err().into();
        let before = listed.take_while(move |meta| {
            let location = meta.as_ref().map(|meta| meta.location.as_ref());
            ready(location.is_ok_and(|location| location < key.as_str()))
        });
        before.chain(stream::iter([Err(refusal)])).boxed()
    }
}

#[async_trait]
impl ObjectStore for ObjectStoreDouble {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        self.puts.fetch_add(1, Relaxed);
        if self.puts_fail.load(Relaxed) {
            return Err(refuse("put"));
        }
        tokio::time::sleep(self.put_takes).await;
        if self.is_unconditional {
            opts = PutMode::Overwrite.into();
        }
        if self.refuses_updates && matches!(opts.mode, PutMode::Update(_)) {
            return Err(refuse("put"));
        }
        if self.loses_answers {
            let lost = self.inner.put_opts(location, payload.clone(), opts.clone());
            lost.await?;
        }
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.gets.fetch_add(1, Relaxed);
        if !self.get_takes.is_zero() {
            tokio::time::sleep(self.get_takes).await;
        }
        let mut answer = self.inner.get_opts(location, options).await?;
        if self.chunk_bytes > 0 {
            let GetResultPayload::Stream(content) = answer.payload;
            let content: Vec<Bytes> = content.try_collect().await?;
            answer.payload = GetResultPayload::Stream(self.send(content.concat().into()));
        }
        Ok(answer)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let undeletable = Arc::clone(&self.undeletable);
        let judged = locations.map(move |location| {
            let location = location?;
            let ends = undeletable.lock().unwrap();
            if ends.iter().any(|end| location.as_ref().ends_with(end)) {
                return Err(refuse("delete"));
            }
            Ok(location)
        });
        self.inner.delete_stream(judged.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.lists.fetch_add(1, Relaxed);
        let unlisted = self.unlisted_once.lock().unwrap().take();
        let is_shown = move |meta: &Result<ObjectMeta>| match (meta, &unlisted) {
            (Ok(meta), Some(end)) => !meta.location.as_ref().ends_with(end),
            _ => true,
        };
        let end = self.list_ends_at.lock().unwrap().clone();
        let listed = self.inner.list(prefix).map(move |meta| match &end {
            Some(end) if meta.as_ref().unwrap().location.as_ref().ends_with(end) => {
                Err(refuse("list"))
            }
            _ => meta,
        });
        let listed = self.end_at_foreign_key(listed.boxed());
        let listed = listed.filter(move |meta| ready(is_shown(meta)));
        let takes = tokio::time::sleep(self.list_takes);
        let late = async move {
            takes.await;
            listed
        };
        stream::once(late).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
