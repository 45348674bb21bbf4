//! What only the store in a bucket promises.

use waystation::clock::{Clock, FakeClock};
use waystation::store::{BucketStore, Store};

use crate::suite::{EXPIRY, bytes_of, publish, source};

/// A bucket in memory: what has to be kept for it is nothing.
pub(crate) fn new_store() -> ((), Store) {
    let clock = Clock::Fake(FakeClock::at(
        EXPIRY.before(std::time::Duration::from_mins(1)),
    ));
    ((), Store::Bucket(BucketStore::in_memory(clock)))
}

#[tokio::test]
async fn a_start_finds_an_engine_with_conditional_writes_usable_and_leaves_nothing() {
    let ((), store) = new_store();
    assert_eq!(store.claim().await.unwrap(), 0);
    publish(&store, source(1), &bytes_of(10, 1)).await;
    let audit = store.audit().await.unwrap();
    assert_eq!((audit.whole, audit.staged, audit.faults.len()), (1, 0, 0));
}
