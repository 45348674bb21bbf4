//! Uploads in parts: each call in the life of one fails, in each way, or is the last before a crash. No offset that was
//! told ever falls, nothing is seen before the end, and in the end the archive is published, once.

use bytes::Bytes;
use waystation::clock::Timestamp;
use waystation::source::SourceId;
use waystation::store::{Attempt, AttemptStart, Plan, Store, StoreError, UploadStart};

use super::place::Place;
use super::run::START;
use super::trouble::{Bad, Trouble, fail_each_call};

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
async fn try_bad(place: &Place, bad: Bad) -> bool {
    let trouble = Trouble::default();
    let (store, _) = place.open(&trouble).await.unwrap();
    let mut client = Client::default();
    trouble.begin(Some(bad.fault), bad.dies_after, false);
    let done = client.go_on(&store).await;
    let (failed, is_dead) = (trouble.failed().calls > 0, trouble.is_dead());
    trouble.begin(None, None, false);
    assert!(done.is_ok() || failed || is_dead, "{bad:?}: {done:?}");
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
    assert_eq!((audit.whole, audit.faults), (1, vec![]), "{bad:?}");
    failed || is_dead
}

async fn try_each(new_place: fn() -> Place) {
    let tries = async |(), bad| try_bad(&new_place(), bad).await;
    fail_each_call("uploads in parts", &[()], true, tries).await;
}

#[tokio::test]
async fn each_call_about_an_upload_in_parts_to_a_folder_may_fail() {
    try_each(Place::in_folder).await;
}

#[tokio::test]
async fn each_call_about_an_upload_in_parts_to_a_bucket_may_fail() {
    try_each(Place::in_memory).await;
}
