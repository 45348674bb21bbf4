//! A store in a bucket, whose engine fails, and what lies there, seen from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use waystation::clock::{Clock, FakeClock};
use waystation::source::SourceId;
use waystation::store::bucket::Overwrite;
use waystation::store::{BucketStore, Store, StoreError};

use super::plan::FaultKind;
use super::run::START;
use super::trouble::{Failure, Trouble};

pub(crate) struct Bucket {
    engine: Arc<dyn ObjectStore>,
    prefix: String,
    clock: FakeClock,
    dates: Arc<Dates>,
    /// Is it reached by requests, which may arrive although who sent them is gone?
    pub(crate) is_remote: bool,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix)
    }
}

/// The engine's own clock, which stands still, and when by it each object was written.
#[derive(Debug)]
struct Dates {
    now_seconds: AtomicU64,
    written: Mutex<BTreeMap<Path, u64>>,
}

impl Dates {
    /// A year ahead of the nodes', however theirs jump: by theirs no lease that can be held is over.
    fn new() -> Self {
        let ahead = START.after(Duration::from_hours(365 * 24));
        Self {
            now_seconds: AtomicU64::new(ahead.as_seconds()),
            written: Mutex::default(),
        }
    }

    fn note(&self, location: &Path) {
        let now = self.now_seconds.load(Ordering::Relaxed);
        self.written.lock().unwrap().insert(location.clone(), now);
    }

    fn show(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let written = self.written.lock().unwrap().get(&meta.location).copied();
        let at = std::time::UNIX_EPOCH + Duration::from_secs(written.unwrap_or(0));
        meta.last_modified = at.into();
        meta
    }
}

/// What lies below the sources.
#[derive(Default)]
struct Found {
    records: BTreeSet<SourceId>,
    attempts: BTreeSet<(SourceId, String)>,
    leases: u64,
}

impl Bucket {
    pub(crate) fn new(engine: Arc<dyn ObjectStore>, is_remote: bool, clock: &FakeClock) -> Self {
        Self {
            engine,
            prefix: format!("{:x}", rand::random::<u64>()),
            clock: clock.clone(),
            dates: Arc::new(Dates::new()),
            is_remote,
        }
    }

    pub(crate) async fn open(&self, trouble: &Trouble) -> Result<Store, StoreError> {
        let engine = Troubled {
            engine: Arc::clone(&self.engine),
            trouble: trouble.clone(),
            dates: Arc::clone(&self.dates),
        };
        let clock = Clock::Fake(self.clock.clone());
        let bucket = BucketStore::within(Arc::new(engine), &self.prefix, Overwrite::Refuse, clock);
        let store = Store::Bucket(bucket);
        store.claim().await?;
        Ok(store)
    }

    /// Every lease is too old now.
    pub(crate) fn let_leases_end(&self) {
        self.dates.now_seconds.fetch_add(60, Ordering::Relaxed);
    }

    /// Uploads that are no archive, and leases.
    pub(crate) async fn staged(&self) -> u64 {
        let mut found = self.look().await;
        for source in &found.records {
            let key = format!("{}/sources/{source}/record", self.prefix);
            let Ok(record) = self.engine.get(&key.into()).await else {
                continue; // swept meanwhile
            };
            let record = record.bytes().await.unwrap();
            let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
            let attempt = record["attempt"].as_str().unwrap().to_owned();
            found.attempts.remove(&(*source, attempt));
        }
        found.attempts.len() as u64 + found.leases
    }

    pub(crate) async fn leases(&self) -> u64 {
        self.look().await.leases
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
                lease if lease.starts_with("lease-") => found.leases += 1,
                attempt => drop(found.attempts.insert((source, attempt.to_owned()))),
            }
        }
        found
    }

    /// The keys of all sources.
    pub(crate) async fn entries(&self) -> Vec<String> {
        let prefix = format!("{}/sources", self.prefix).into();
        let listed = self.engine.list(Some(&prefix));
        let keys = listed.map_ok(|meta| meta.location.to_string());
        keys.try_collect().await.unwrap()
    }
}

/// An engine whose calls fail, and which dates what is written by a clock of its own.
#[derive(Debug)]
struct Troubled {
    engine: Arc<dyn ObjectStore>,
    trouble: Trouble,
    dates: Arc<Dates>,
}

impl fmt::Display for Troubled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an engine in trouble")
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
        store: "an engine in trouble",
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
        let put = async {
            let put = self.engine.put_opts(location, payload, opts).await;
            self.dates.note(location);
            put
        };
        self.call("put", put).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let put = self.engine.put_multipart_opts(location, opts);
        self.call("put", put).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let get = self.engine.get_opts(location, options);
        let mut got = self.call("get", get).await?;
        got.meta = self.dates.show(got.meta);
        Ok(got)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let engine = Arc::clone(&self.engine);
        let trouble = self.trouble.clone();
        let deleted = locations.then(move |location| {
            let (engine, trouble) = (Arc::clone(&engine), trouble.clone());
            async move {
                let location = location?;
                match trouble.judge("delete") {
                    Some(failure) if failure.kind != FaultKind::After => Err(error_of(failure)),
                    failure => {
                        engine.delete(&location).await?;
                        failure.map_or(Ok(location), |failure| Err(error_of(failure)))
                    }
                }
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let dates = Arc::clone(&self.dates);
        let listed = self.engine.list(prefix);
        let listed = listed.map_ok(move |meta| dates.show(meta));
        match self.trouble.judge("list") {
            None => listed.boxed(),
            Some(failure) => {
                let seen = usize::from(failure.kind == FaultKind::Halfway);
                let end = stream::iter([Err(error_of(failure))]);
                listed.take(seen).chain(end).boxed()
            }
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.call("list", self.engine.list_with_delimiter(prefix))
            .await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.call("copy", self.engine.copy_opts(from, to, options))
            .await
    }
}
