//! Documents: each call of each operation fails, in each way. The operation then fails, and what it was
//! about is as it was or as it should have become, whole.

use serde::{Deserialize, Serialize};
use waystation::store::{
    Collection, DocumentKey, Expected, Store, StoreError, Version, Versioned, Written,
};

use super::place::Place;
use super::plan::{Fault, FaultKind};
use super::trouble::{Bad, Trouble, fail_each_call};

#[derive(Clone, Copy, Debug)]
enum Operation {
    Create,
    Replace,
    Delete,
    Read,
    List,
}

const OPERATIONS: [Operation; 5] = [
    Operation::Create,
    Operation::Replace,
    Operation::Delete,
    Operation::Read,
    Operation::List,
];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    text: String,
}

/// Long enough for a half of it to be noticed.
fn old() -> Content {
    Content {
        text: "1".repeat(300),
    }
}

fn new() -> Content {
    Content {
        text: "2".repeat(200),
    }
}

fn key() -> DocumentKey {
    Collection::ApiTokens([1, 2, 3, 4]).key(b"a document")
}

async fn create(store: &Store, content: Content) -> Result<(), StoreError> {
    let key = key();
    let created = store.write_document(&key, &content, Expected::Absent);
    assert_eq!(created.await?, Written::Done);
    Ok(())
}

async fn read(store: &Store) -> Option<Content> {
    let found = store.read_document(&key()).await.unwrap();
    found.map(|found| found.value)
}

impl Operation {
    fn before(self) -> Option<Content> {
        (!matches!(self, Self::Create)).then(old)
    }

    fn after(self) -> Option<Content> {
        match self {
            Self::Create | Self::Replace => Some(new()),
            Self::Delete => None,
            Self::Read | Self::List => Some(old()),
        }
    }

    /// `version` is that of what is there.
    async fn run(self, store: &Store, version: Option<Version>) -> Result<(), StoreError> {
        match self {
            Self::Create => create(store, new()).await?,
            Self::Replace => {
                let expected = Expected::Version(version.unwrap());
                let (key, new) = (key(), new());
                let replaced = store.write_document(&key, &new, expected);
                assert_eq!(replaced.await?, Written::Done);
            }
            Self::Delete => store.delete_document(&key()).await?,
            Self::Read => {
                let found: Option<Versioned<Content>> = store.read_document(&key()).await?;
                assert_eq!(found.unwrap().value, old());
            }
            Self::List => {
                let listed = store.list_documents(key().collection, None, 10);
                assert_eq!(listed.await?, [key().name]);
            }
        }
        Ok(())
    }
}

/// Does it with one call failing, and says whether there was such a call.
async fn try_failing(place: &Place, operation: Operation, fault: Fault) -> bool {
    let trouble = Trouble::default();
    let (store, _) = place.open(&trouble).await.unwrap();
    let mut version = None;
    if let Some(before) = operation.before() {
        create(&store, before).await.unwrap();
        let found: Option<Versioned<Content>> = store.read_document(&key()).await.unwrap();
        version = found.map(|found| found.version);
    }
    trouble.begin(Some(fault), None, false);
    let done = operation.run(&store, version).await;
    let failed = trouble.end();
    let what = format!("{operation:?} {fault:?}: {done:?}");

    let found = read(&store).await;
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
    if let Place::Folder(folder) = place {
        assert!(folder.drafts() <= failed.unlinks.into(), "{what}");
    }
    // It works again.
    store.delete_document(&key()).await.unwrap();
    create(&store, old()).await.unwrap();
    assert_eq!(read(&store).await, Some(old()));
    failed.calls > 0
}

async fn try_each(new_place: fn() -> Place) {
    let tries = async |operation, bad: Bad| try_failing(&new_place(), operation, bad.fault).await;
    fail_each_call("documents", &OPERATIONS, false, tries).await;
}

#[tokio::test]
async fn each_call_about_a_document_in_a_folder_may_fail() {
    try_each(Place::in_folder).await;
}

#[tokio::test]
async fn each_call_about_a_document_in_a_bucket_may_fail() {
    try_each(Place::in_memory).await;
}
