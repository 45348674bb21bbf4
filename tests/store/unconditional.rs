//! An engine that does not know conditional writes, and what a store on it says and does.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use waystation::clock::{Clock, FakeClock};
use waystation::store::bucket::Overwrite;
use waystation::store::{BucketStore, Store, StoreError};

use crate::suite::{EXPIRY, bytes_of, publish, read, source};

/// Writes over what is there, whatever it is asked.
#[derive(Debug)]
struct Unconditional(InMemory);

impl fmt::Display for Unconditional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an old engine")
    }
}

#[async_trait]
impl ObjectStore for Unconditional {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        _opts: PutOptions,
    ) -> Result<PutResult> {
        let over = PutMode::Overwrite.into();
        self.0.put_opts(location, payload, over).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

fn store(overwrite: Overwrite) -> Store {
    let engine = Arc::new(Unconditional(InMemory::new()));
    let clock = Clock::Fake(FakeClock::at(
        EXPIRY.before(std::time::Duration::from_mins(2)),
    ));
    Store::Bucket(BucketStore::within(engine, "p", overwrite, clock))
}

#[tokio::test]
async fn the_start_notices_it_and_says_what_that_gives_up() {
    let refused = store(Overwrite::Refuse).claim().await.unwrap_err();
    assert!(matches!(refused, StoreError::NoConditionalWrites { .. }));
    let told = refused.to_string();
    assert!(told.contains("--allow-overwrite"), "{told}");
    assert!(told.contains("replace the first"), "{told}");
}

#[tokio::test]
async fn it_goes_on_if_that_is_allowed_and_the_first_of_two_that_follow_each_other_stays() {
    let store = store(Overwrite::Allow);
    store.claim().await.unwrap();
    let late = crate::suite::stage(&store, source(1), &bytes_of(10, 2)).await;
    publish(&store, source(1), &bytes_of(10, 1)).await;
    late.publish(EXPIRY).await.unwrap();
    assert_eq!(read(&store, source(1)).await.unwrap(), bytes_of(10, 1));
}
