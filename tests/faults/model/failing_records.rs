//! The small records of accounts: each call of each operation fails, in each way. The operation then
//! fails, and what it was about is as it was or as it should have become, whole.

use std::sync::Arc;

use object_store::memory::InMemory;
use waystation::clock::FakeClock;
use waystation::store::folder::Sync;
use waystation::store::{
    RecordCreation, RecordDeletion, RecordKind, RecordName, RecordReplacement, Store, StoreError,
};

use super::failing_bucket::Bucket;
use super::failing_folder::Folder;
use super::place::Place;
use super::plan::{Fault, FaultKind};
use super::run::START;
use super::trouble::{EIO, ENOSPC, Trouble};

const KIND: RecordKind = RecordKind::ApiTokens;
/// More than any of the operations makes.
const MOST_CALLS: u32 = 30;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Create,
    Put,
    Replace,
    Delete,
    Read,
    List,
}

const OPERATIONS: [Operation; 6] = [
    Operation::Create,
    Operation::Put,
    Operation::Replace,
    Operation::Delete,
    Operation::Read,
    Operation::List,
];

/// Long enough for a half of it to be noticed.
fn old() -> Vec<u8> {
    vec![b'1'; 300]
}

fn new() -> Vec<u8> {
    vec![b'2'; 200]
}

fn name() -> RecordName {
    RecordName::from_bytes(b"a record")
}

impl Operation {
    fn before(self) -> Option<Vec<u8>> {
        (!matches!(self, Self::Create)).then(old)
    }

    fn after(self) -> Option<Vec<u8>> {
        match self {
            Self::Create | Self::Put | Self::Replace => Some(new()),
            Self::Delete => None,
            Self::Read | Self::List => Some(old()),
        }
    }

    async fn run(self, store: &Store) -> Result<(), StoreError> {
        match self {
            Self::Create => {
                let created = store.create_record(KIND, &name(), new()).await?;
                assert_eq!(created, RecordCreation::Created);
            }
            Self::Put => store.put_record(KIND, &name(), new()).await?,
            Self::Replace => {
                let replaced = store.replace_record(KIND, &name(), new()).await?;
                assert_eq!(replaced, RecordReplacement::Replaced);
            }
            Self::Delete => {
                let deleted = store.delete_record(KIND, &name()).await?;
                assert_eq!(deleted, RecordDeletion::Deleted);
            }
            Self::Read => assert_eq!(store.read_record(KIND, &name()).await?, Some(old())),
            Self::List => assert_eq!(store.list_records(KIND).await?, [name()]),
        }
        Ok(())
    }
}

/// Does it with one call failing, and says whether there was such a call.
async fn try_failing(place: &Place, operation: Operation, fault: Fault) -> bool {
    let trouble = Trouble::default();
    let (store, _) = place.open(&trouble).await.unwrap();
    if let Some(content) = operation.before() {
        store.put_record(KIND, &name(), content).await.unwrap();
    }
    trouble.begin(Some(fault), None, false);
    let done = operation.run(&store).await;
    let failed = trouble.end();
    let what = format!("{operation:?} {fault:?}: {done:?}");

    let found = store.read_record(KIND, &name()).await.unwrap();
    let is_after = found == operation.after();
    assert!(is_after || found == operation.before(), "{what}: {found:?}");
    match &done {
        Ok(()) => {
            assert!(is_after, "{what}");
            // Nothing may fail unnoticed but the removal of what was staged for it.
            let is_done = fault.kind == FaultKind::After || failed.calls == failed.unlinks;
            assert!(is_done, "{what}");
        }
        Err(_) => assert!(failed.calls > 0, "{what}"),
    }
    assert!(place.staged().await <= failed.unlinks.into(), "{what}");
    // It works again.
    store.put_record(KIND, &name(), old()).await.unwrap();
    assert_eq!(store.read_record(KIND, &name()).await.unwrap(), Some(old()));
    failed.calls > 0
}

async fn try_each(new_place: impl Fn() -> Place) {
    let mut count = 0;
    for operation in OPERATIONS {
        for kind in [FaultKind::Before, FaultKind::After, FaultKind::Halfway] {
            for errno in [EIO, ENOSPC] {
                let fault = |after_calls| Fault {
                    after_calls,
                    calls: 1,
                    kind,
                    errno,
                };
                let mut calls = 0;
                while try_failing(&new_place(), operation, fault(calls)).await {
                    calls += 1;
                    assert!(calls < MOST_CALLS);
                }
                assert!(calls > 0, "{operation:?} makes no call");
                count += calls;
            }
        }
    }
    println!("soak: {count} calls about records failed");
}

#[tokio::test]
async fn each_call_about_a_record_in_a_folder_may_fail() {
    try_each(|| Place::Folder(Folder::new(Sync::On))).await;
}

#[tokio::test]
async fn each_call_about_a_record_in_a_bucket_may_fail() {
    let clock = FakeClock::at(START);
    try_each(|| Place::Bucket(Bucket::new(Arc::new(InMemory::new()), false, &clock))).await;
}
