//! An object store without conditional writes, and what a store on it says and does.

use std::sync::Arc;
use std::time::Duration;

use waystation::clock::{Clock, FakeClock};
use waystation::store::bucket::Overwrite;
use waystation::store::{
    Appended, BucketStore, Expected, JournalKey, Store, StoreError, Updated, Written,
};

use crate::documents::{OWNER, note, read as read_note};
use crate::object_store_double::ObjectStoreDouble;
use crate::suite::{EXPIRY, bytes_of, publish, read, source};

/// On one that writes over what is there, whatever it is asked; and on one that refuses a condition.
fn stores(overwrite: Overwrite) -> [Store; 2] {
    let doubles = [
        ObjectStoreDouble {
            is_unconditional: true,
            ..ObjectStoreDouble::default()
        },
        ObjectStoreDouble {
            refuses_updates: true,
            ..ObjectStoreDouble::default()
        },
    ];
    let clock = Clock::Fake(FakeClock::at(EXPIRY.before(Duration::from_mins(2))));
    doubles.map(|double| {
        let store = BucketStore::within(Arc::new(double), "p", overwrite, clock.clone());
        Store::Bucket(store)
    })
}

#[tokio::test]
async fn the_start_notices_it_and_says_what_that_gives_up() {
    for store in stores(Overwrite::Refuse) {
        let refused = store.claim().await.unwrap_err();
        assert!(matches!(refused, StoreError::NoConditionalWrites { .. }));
        let told = refused.to_string();
        assert!(told.contains("--allow-overwrite"), "{told}");
        assert!(told.contains("replace the first"), "{told}");
    }
}

#[tokio::test]
async fn if_that_is_allowed_it_starts_and_keeps_uploads_apart_that_do_not_overlap() {
    for store in stores(Overwrite::Allow) {
        store.claim().await.unwrap();
        let late = crate::suite::stage(&store, source(1), &bytes_of(10, 2)).await;
        publish(&store, source(1), &bytes_of(10, 1)).await;
        late.publish(EXPIRY).await.unwrap();
        assert_eq!(read(&store, source(1)).await.unwrap(), bytes_of(10, 1));

        let journal = JournalKey::new([1; 16], 1);
        for (offset, bytes, appended) in [
            (0, "one ", Appended::Done { length: 4 }),
            (4, "two", Appended::Done { length: 7 }),
            (4, "Two", Appended::Mismatch { length: 7 }),
            (4, "two", Appended::Repeated { length: 7 }),
        ] {
            let ended = store.append_journal(&journal, offset, bytes.into()).await;
            assert_eq!(ended.unwrap(), appended);
        }

        let key = OWNER.key(b"a");
        let write = async |expected| {
            let written = store.write_document(&key, &note("new"), expected).await;
            written.unwrap()
        };
        assert_eq!(write(Expected::Absent).await, Written::Done);
        assert_eq!(write(Expected::Absent).await, Written::Conflict);
        let version = Expected::Version(read_note(&store, &key).await.unwrap().version);
        assert_eq!(write(version.clone()).await, Written::Done);
        assert_eq!(write(version.clone()).await, Written::Conflict);
        store.delete_document(&key).await.unwrap();
        assert_eq!(write(version).await, Written::Conflict);
        let updated = store.update_document(&key, |_| Some(note("newer"))).await;
        assert_eq!(updated.unwrap(), Updated::Missing);
    }
}
