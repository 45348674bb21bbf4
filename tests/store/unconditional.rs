//! An engine that does not know conditional writes, and what a store on it says and does.

use std::sync::Arc;
use std::time::Duration;

use waystation::clock::{Clock, FakeClock};
use waystation::store::bucket::Overwrite;
use waystation::store::{BucketStore, Store, StoreError};

use crate::engine_double::EngineDouble;
use crate::suite::{EXPIRY, bytes_of, publish, read, source};

fn store(overwrite: Overwrite) -> Store {
    let engine = Arc::new(EngineDouble {
        is_unconditional: true,
        ..EngineDouble::default()
    });
    let clock = Clock::Fake(FakeClock::at(EXPIRY.before(Duration::from_mins(2))));
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
