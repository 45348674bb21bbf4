//! The store in a bucket of `SeaweedFS`.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use waystation::store::bucket::Overwrite;
use waystation::store::{BucketStore, Store};

use crate::bucket::shortly_before_expiry;
use waystation_testing::seaweedfs::{ACCESS_KEY, BUCKET, SECRET_KEY, SeaweedFs};

/// A store below a prefix of its own: what has to be kept for it is nothing.
pub(crate) fn new_store() -> ((), Store) {
    let objects = AmazonS3Builder::new()
        .with_endpoint(SeaweedFs::shared().endpoint())
        .with_allow_http(true)
        .with_bucket_name(BUCKET)
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
        .build()
        .unwrap();
    let prefix = format!("{:x}", rand::random::<u64>());
    let clock = shortly_before_expiry();
    let store = BucketStore::within(Arc::new(objects), &prefix, Overwrite::Refuse, clock);
    ((), Store::Bucket(store))
}
