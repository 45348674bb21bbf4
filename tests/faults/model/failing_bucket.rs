//! A store in a bucket, whose object store fails, and what lies there, seen from outside.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use waystation::clock::{Clock, FakeClock, Timestamp};
use waystation::source::SourceId;
use waystation::store::bucket::Overwrite;
use waystation::store::{BucketStore, Store, StoreError};

use super::plan::FaultKind;
use super::trouble::{Failure, Trouble};

pub(crate) struct Bucket {
    objects: Arc<dyn ObjectStore>,
    prefix: String,
    clock: FakeClock,
    /// Is it reached by requests, which may arrive although their sender is gone?
    pub(crate) is_remote: bool,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix)
    }
}

/// What lies below the sources.
#[derive(Default)]
struct Found {
    records: BTreeSet<SourceId>,
    attempts: BTreeSet<(SourceId, String)>,
    pins: Vec<Timestamp>,
}

impl Bucket {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, is_remote: bool, clock: &FakeClock) -> Self {
        Self {
            objects,
            prefix: format!("{:x}", rand::random::<u64>()),
            clock: clock.clone(),
            is_remote,
        }
    }

    pub(crate) async fn open(&self, trouble: &Trouble) -> Result<Store, StoreError> {
        let objects = Troubled {
            objects: Arc::clone(&self.objects),
            trouble: trouble.clone(),
        };
        let clock = Clock::Fake(self.clock.clone());
        let bucket = BucketStore::within(Arc::new(objects), &self.prefix, Overwrite::Refuse, clock);
        let store = Store::Bucket(bucket);
        store.claim().await?;
        Ok(store)
    }

    /// Uploads that are no archive, and pins.
    pub(crate) async fn staged(&self) -> u64 {
        let mut found = self.look().await;
        for source in &found.records {
            let key = format!("{}/sources/{source}/record", self.prefix);
            let Ok(record) = self.objects.get(&key.into()).await else {
                continue; // swept meanwhile
            };
            let record = record.bytes().await.unwrap();
            let head = record.split(|byte| *byte == b'\n').next().unwrap();
            let record: serde_json::Value = serde_json::from_slice(head).unwrap();
            let attempt = record["attempt"].as_str().unwrap().to_owned();
            found.attempts.remove(&(*source, attempt));
        }
        (found.attempts.len() + found.pins.len()) as u64
    }

    /// Until when the pins that are there hold.
    pub(crate) async fn pinned_until(&self) -> Option<Timestamp> {
        self.look().await.pins.into_iter().max()
    }

    /// The sources that have a record.
    pub(crate) async fn archives(&self) -> BTreeSet<SourceId> {
        self.look().await.records
    }

    async fn look(&self) -> Found {
        let mut found = Found::default();
        for key in self.entries().await {
            let mut parts = key.split('/').skip(2);
            let source = parts.next().unwrap().parse().unwrap();
            match parts.next().unwrap() {
                "record" => drop(found.records.insert(source)),
                name => match name.strip_prefix("pin-") {
                    Some(pin) => {
                        let until_ms = pin.split('-').next().unwrap().parse().unwrap();
                        found.pins.push(Timestamp::from_ms(until_ms));
                    }
                    None => drop(found.attempts.insert((source, name.to_owned()))),
                },
            }
        }
        found
    }

    /// The names of all journals, once for each of their chunks.
    pub(crate) async fn journals(&self) -> Vec<String> {
        let keys = self.keys_below("journals").await;
        let names = keys.iter().map(|key| key.split('/').nth(2).unwrap());
        names.map(str::to_owned).collect()
    }

    /// The keys of all sources.
    pub(crate) async fn entries(&self) -> Vec<String> {
        self.keys_below("sources").await
    }

    async fn keys_below(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{}/{folder}", self.prefix).into();
        let listed = self.objects.list(Some(&prefix));
        let keys = listed.map_ok(|meta| meta.location.to_string());
        keys.try_collect().await.unwrap()
    }
}

/// An object store whose calls fail.
#[derive(Debug)]
struct Troubled {
    objects: Arc<dyn ObjectStore>,
    trouble: Trouble,
}

impl fmt::Display for Troubled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object store in trouble")
    }
}

impl Troubled {
    /// Makes a call, or fails before or after it.
    async fn call<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match self.trouble.judge(name) {
            None => call.await,
            Some(failure) if failure.kind == FaultKind::After => {
                call.await?;
                Err(error_of(failure))
            }
            Some(failure) => Err(error_of(failure)),
        }
    }
}

fn error_of(failure: Failure) -> Error {
    Error::Generic {
        store: "an object store in trouble",
        source: std::io::Error::from_raw_os_error(failure.errno).into(),
    }
}

#[async_trait]
impl ObjectStore for Troubled {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let put = self.objects.put_opts(location, payload, opts);
        self.call("put", put).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let put = self.objects.put_multipart_opts(location, opts);
        self.call("put", put).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let get = self.objects.get_opts(location, options);
        self.call("get", get).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let objects = Arc::clone(&self.objects);
        let trouble = self.trouble.clone();
        let deleted = locations.then(move |location| {
            let (objects, trouble) = (Arc::clone(&objects), trouble.clone());
            async move {
                let location = location?;
                match trouble.judge("delete") {
                    Some(failure) if failure.kind != FaultKind::After => Err(error_of(failure)),
                    failure => {
                        objects.delete(&location).await?;
                        failure.map_or(Ok(location), |failure| Err(error_of(failure)))
                    }
                }
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.objects.list(prefix);
        match self.trouble.judge("list") {
            None => listed,
            Some(failure) => {
                let seen = usize::from(failure.kind == FaultKind::Halfway);
                let end = stream::iter([Err(error_of(failure))]);
                listed.take(seen).chain(end).boxed()
            }
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.call("list", self.objects.list_with_delimiter(prefix))
            .await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.call("copy", self.objects.copy_opts(from, to, options))
            .await
    }
}
