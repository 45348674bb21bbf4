//! Uploads in parts: each call in the life of one fails, in each way, or is the last before a crash. No offset that was
//! told ever falls, nothing is seen before the end, and in the end the archive is published, once.

use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use waystation::clock::{FakeClock, Timestamp};
use waystation::source::SourceId;
use waystation::store::folder::Sync;
use waystation::store::{Attempt, AttemptStart, Plan, Store, StoreError, UploadStart};

use super::failing_bucket::Bucket;
use super::failing_folder::Folder;
use super::place::Place;
use super::plan::{Fault, FaultKind};
use super::run::START;
use super::trouble::{EIO, ENOSPC, Trouble};

/// More than any life makes.
const MOST_CALLS: u32 = 200;
const PART_BYTES: usize = 40;
const BYTES: &[u8] =
    b"\x1f\x8b\x08 what is sent in parts while calls fail, and of which no letter may be missing";

fn source() -> SourceId {
    SourceId::mint(Timestamp::from_ms(START.as_ms() + 600_000), [1; 10])
}

/// What a client knows of its upload.
#[derive(Default)]
struct Client {
    attempt: Option<Attempt>,
    told: u64,
    /// It has said that it sent all.
    has_ended: bool,
}

impl Client {
    /// Sends what is missing, as far as calls do not fail.
    async fn go_on(&mut self, store: &Store) -> Result<(), StoreError> {
        let attempt = match self.attempt {
            Some(attempt) => attempt,
            None => self.begin(store).await?,
        };
        loop {
            let mut open = match store.open_attempt(source(), attempt).await? {
                AttemptStart::GoesOn(open) => open,
                AttemptStart::Ended(progress) => {
                    assert!(self.has_ended && progress.published().is_some());
                    return Ok(());
                }
                AttemptStart::Unknown => panic!("it is lost"),
            };
            self.note(open.progress().saved.offset);
            let rest = BYTES.get(usize::try_from(self.told).unwrap()..).unwrap();
            if rest.is_empty() {
                self.has_ended = true;
                open.finish().await?.publish(START).await?;
                return Ok(());
            }
            let part = &rest[..rest.len().min(PART_BYTES)];
            open.write(Bytes::from_static(part)).await?;
            self.note(open.commit().await?);
        }
    }

    async fn begin(&mut self, store: &Store) -> Result<Attempt, StoreError> {
        let plan = Plan {
            announced_bytes: Some(BYTES.len() as u64),
            ..Plan::default()
        };
        let UploadStart::Accepted(attempt) = store.begin_attempt(source(), &plan).await? else {
            panic!("it is there, and was not sent");
        };
        self.attempt = Some(attempt);
        Ok(attempt)
    }

    fn note(&mut self, offset: u64) {
        assert!(offset >= self.told, "{offset} after {}", self.told);
        self.told = offset;
    }

    /// What can be seen, and what is told.
    async fn check(&mut self, store: &Store) {
        let is_there = store.open(source()).await.unwrap().is_some();
        assert!(self.has_ended || !is_there);
        if let Some(attempt) = self.attempt {
            let found = store.find_attempt(source(), attempt).await.unwrap();
            let progress = found.expect("it is lost");
            self.note(progress.saved.offset);
            assert_eq!(progress.published().is_some(), is_there);
        }
    }
}

/// The next server, once the one before it is gone.
pub(super) async fn reopen(place: &Place) -> Store {
    loop {
        match place.open(&Trouble::default()).await {
            Err(StoreError::InUse { .. }) => tokio::task::yield_now().await,
            opened => return opened.unwrap().0,
        }
    }
}

/// A life in which calls fail; says whether there were any.
async fn try_bad(place: &Place, fault: Fault, dies_after: Option<u32>) -> bool {
    let trouble = Trouble::default();
    let (store, _) = place.open(&trouble).await.unwrap();
    let mut client = Client::default();
    trouble.begin(Some(fault), dies_after, false);
    let done = client.go_on(&store).await;
    let (failed, is_dead) = (trouble.failed().calls > 0, trouble.is_dead());
    trouble.begin(None, None, false);
    assert!(done.is_ok() || failed || is_dead, "{fault:?}: {done:?}");
    if !is_dead {
        client.check(&store).await;
    }
    drop(store);
    let store = reopen(place).await;
    client.check(&store).await;
    client.go_on(&store).await.unwrap();
    client.check(&store).await;
    let archive = store.open(source()).await.unwrap().unwrap();
    assert_eq!(archive.facts().size_bytes, BYTES.len() as u64);
    let audit = store.audit().await.unwrap();
    assert_eq!((audit.whole, audit.faults), (1, vec![]), "{fault:?}");
    failed || is_dead
}

async fn try_each(new_place: impl Fn() -> Place) {
    let mut count = 0;
    for kind in [FaultKind::Before, FaultKind::After, FaultKind::Halfway] {
        for (errno, is_last) in [(EIO, false), (ENOSPC, false), (EIO, true)] {
            let mut after_calls = 0;
            loop {
                let fault = Fault {
                    after_calls,
                    calls: 1,
                    kind,
                    errno,
                };
                let dies_after = is_last.then_some(after_calls + 1);
                if !try_bad(&new_place(), fault, dies_after).await {
                    break;
                }
                after_calls += 1;
                assert!(after_calls < MOST_CALLS);
            }
            assert!(after_calls > 0);
            count += after_calls;
        }
    }
    println!("soak: {count} calls about uploads in parts failed");
}

#[tokio::test]
async fn each_call_about_an_upload_in_parts_to_a_folder_may_fail() {
    try_each(|| Place::Folder(Folder::new(Sync::On))).await;
}

#[tokio::test]
async fn each_call_about_an_upload_in_parts_to_a_bucket_may_fail() {
    let clock = FakeClock::at(START);
    try_each(|| Place::Bucket(Bucket::new(Arc::new(InMemory::new()), false, &clock))).await;
}
