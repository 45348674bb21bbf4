//! The store in a bucket of a real engine.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use waystation::store::bucket::Overwrite;
use waystation::store::{BucketStore, Store};

use crate::bucket::shortly_before_expiry;
use waystation_testing::engine::{ACCESS_KEY, BUCKET, Engine, SECRET_KEY};

/// A store below a prefix of its own: what has to be kept for it is nothing.
pub(crate) fn new_store() -> ((), Store) {
    let engine = AmazonS3Builder::new()
        .with_endpoint(Engine::shared().endpoint())
        .with_allow_http(true)
        .with_bucket_name(BUCKET)
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
        .build()
        .unwrap();
    let prefix = format!("{:x}", rand::random::<u64>());
    let clock = shortly_before_expiry();
    let store = BucketStore::within(Arc::new(engine), &prefix, Overwrite::Refuse, clock);
    ((), Store::Bucket(store))
}
