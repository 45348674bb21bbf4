//! Journals: each call of each operation fails, in each way, or is the last before a crash. What was appended
//! is then there whole or not at all, and whoever sends it again has it there once.

use waystation::store::{Appended, JournalKey, Store, StoreError};

use super::place::Place;
use super::trouble::{Bad, Trouble, fail_each_call};

const KEY: JournalKey = JournalKey::new([1; 16], 1);
const OLD: &[u8] = b"what was there before\n";
/// Long enough for a half of it to be noticed.
const NEW: &[u8] = b"what is appended while calls fail, and no letter of it may be missing\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    /// The first bytes of all.
    Begin,
    Append,
    /// The same bytes a second time.
    Repeat,
    Read,
    Delete,
}

const OPERATIONS: [Operation; 5] = [
    Operation::Begin,
    Operation::Append,
    Operation::Repeat,
    Operation::Read,
    Operation::Delete,
];

async fn append(
    store: &Store,
    offset: usize,
    bytes: &'static [u8],
) -> Result<Appended, StoreError> {
    store
        .append_journal(&KEY, offset as u64, bytes.into())
        .await
}

async fn read(store: &Store) -> Result<Vec<u8>, StoreError> {
    let length = store.journal_length(&KEY).await?;
    let read = store.read_journal(&KEY, 0, 1_000).await?;
    assert_eq!(read.len() as u64, length);
    Ok(read.into())
}

impl Operation {
    fn before(self) -> Vec<u8> {
        match self {
            Self::Begin => Vec::new(),
            Self::Append => OLD.to_vec(),
            Self::Repeat | Self::Read | Self::Delete => [OLD, NEW].concat(),
        }
    }

    fn after(self) -> Vec<u8> {
        match self {
            Self::Begin => NEW.to_vec(),
            Self::Append | Self::Repeat | Self::Read => [OLD, NEW].concat(),
            Self::Delete => Vec::new(),
        }
    }

    /// Where it appends, if it does.
    fn offset(self) -> usize {
        if self == Self::Begin { 0 } else { OLD.len() }
    }

    async fn prepare(self, store: &Store) {
        if self != Self::Begin {
            append(store, 0, OLD).await.unwrap();
        }
        if !matches!(self, Self::Begin | Self::Append) {
            append(store, OLD.len(), NEW).await.unwrap();
        }
    }

    async fn run(self, store: &Store) -> Result<(), StoreError> {
        match self {
            Self::Begin | Self::Append | Self::Repeat => {
                let length = self.after().len() as u64;
                let appended = append(store, self.offset(), NEW).await?;
                let is_there = [Appended::Done { length }, Appended::Repeated { length }];
                assert!(is_there.contains(&appended), "{appended:?}");
            }
            Self::Read => assert_eq!(read(store).await?, self.after()),
            Self::Delete => store.delete_journal(&KEY).await?,
        }
        Ok(())
    }
}

/// Does it with calls that fail, and says whether there were any.
async fn try_bad(place: &Place, operation: Operation, bad: Bad) -> bool {
    let trouble = Trouble::default();
    let (store, _) = place.open(&trouble).await.unwrap();
    operation.prepare(&store).await;
    trouble.begin(Some(bad.fault), bad.dies_after, false);
    let done = operation.run(&store).await;
    let (failed, is_dead) = (trouble.failed().calls > 0, trouble.is_dead());
    trouble.begin(None, None, false);
    let what = format!("{operation:?} {bad:?}: {done:?}");
    assert!(done.is_ok() || failed || is_dead, "{what}");

    let after = operation.after();
    let may_be_left = |found: &[u8]| match operation {
        // Some of its chunks may be gone.
        Operation::Delete => operation.before().starts_with(found),
        Operation::Begin | Operation::Append | Operation::Repeat | Operation::Read => {
            found == operation.before()
        }
    };
    if !is_dead {
        let found = read(&store).await.unwrap();
        let is_after = found == after;
        assert!(
            is_after || done.is_err() && may_be_left(&found),
            "{what}: {found:?}"
        );
    }
    drop(store);
    // The same process, as its next request, or the next server.
    let (store, _) = place.open(&Trouble::default()).await.unwrap();
    let found = read(&store).await.unwrap();
    assert!(
        found == after || done.is_err() && may_be_left(&found),
        "{what}: {found:?}"
    );
    operation.run(&store).await.unwrap();
    assert_eq!(read(&store).await.unwrap(), after, "{what}");
    let audit = store.audit().await.unwrap();
    let journals = u64::from(!after.is_empty());
    assert_eq!((audit.journals, audit.faults), (journals, vec![]), "{what}");
    failed || is_dead
}

async fn try_each(new_place: fn() -> Place) {
    let tries = async |operation, bad| try_bad(&new_place(), operation, bad).await;
    fail_each_call("journals", &OPERATIONS, true, tries).await;
}

#[tokio::test]
async fn each_call_about_a_journal_in_a_folder_may_fail() {
    try_each(Place::in_folder).await;
}

#[tokio::test]
async fn each_call_about_a_journal_in_a_bucket_may_fail() {
    try_each(Place::in_memory).await;
}
