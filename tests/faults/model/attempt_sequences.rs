//! Uploads in parts in random sequences: begun, gone on with, left, published, given up, cancelled and replaced, while calls
//! fail and servers die. What their client was told stays true, and when the source expires nothing is left.

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use waystation::clock::Timestamp;
use waystation::source::{Facts, SourceId};
use waystation::store::{
    Attempt, AttemptStart, Audit, OpenAttempt, Plan, Published, Store, StoreError, UploadStart,
};
use waystation_testing::dice::{Dice, Rounds};

use super::failing_attempts::reopen;
use super::place::Place;
use super::plan::fault;
use super::run::START;
use super::trouble::Trouble;

const EXPIRY: Timestamp = Timestamp::from_ms(1_800_000_600_400);
const SEQUENCES: usize = 400;
const BYTES: usize = 300;
const LONGEST_PART: usize = 120;

fn source() -> SourceId {
    SourceId::mint(EXPIRY, [1; 10])
}

/// The archive: of these bytes, from the first on, all parts are.
fn archive() -> Bytes {
    let bytes = (0..BYTES).map(|at| u8::try_from(at % 251).unwrap());
    bytes.collect()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin,
    /// So many bytes, if there are as many, and a commit.
    Append(usize),
    /// The same, and the client goes away before a commit.
    Leave(usize),
    /// What is missing, and the publication.
    Publish,
    /// The same, but it turns out not to be what was meant.
    GiveUp,
    Cancel,
}

fn step(dice: &mut Dice) -> Step {
    let length = dice.below(LONGEST_PART);
    match dice.below(12) {
        0 | 1 => Step::Begin,
        2..=6 => Step::Append(length),
        7 | 8 => Step::Leave(length),
        9 => Step::Publish,
        10 => Step::GiveUp,
        _ => Step::Cancel,
    }
}

/// What the client of the source knows.
#[derive(Debug, Default)]
struct Client {
    attempt: Option<Attempt>,
    told: u64,
    /// It may have ended, as whoever ended it got an error.
    may_be_gone: bool,
    may_be_published: bool,
    is_published: bool,
    /// Those that are known to have ended.
    ended: Vec<Attempt>,
}

impl Client {
    async fn take(&mut self, store: &Store, step: Step) -> Result<(), StoreError> {
        match step {
            Step::Begin => self.begin(store).await,
            Step::Append(length) => match self.write(store, length).await? {
                Some(mut open) => {
                    let written = open.progress().saved.offset;
                    let offset = open.commit().await?;
                    assert!(offset >= written);
                    self.note(offset);
                    Ok(())
                }
                None => Ok(()),
            },
            Step::Leave(length) => self.write(store, length).await.map(drop),
            Step::Publish => self.publish(store).await,
            Step::GiveUp => self.give_up(store).await,
            Step::Cancel => self.cancel(store).await,
        }
    }

    async fn begin(&mut self, store: &Store) -> Result<(), StoreError> {
        // Whatever comes of it, it may have replaced what there was.
        self.may_be_gone = true;
        match store.begin_attempt(source(), &Plan::default()).await? {
            UploadStart::Accepted(attempt) => {
                assert!(!self.is_published);
                self.end();
                self.attempt = Some(attempt);
            }
            UploadStart::AlreadyUploaded(first) => self.learn(&first),
        }
        Ok(())
    }

    /// Opens the attempt, if there is one that can go on, and writes so many bytes.
    async fn write(
        &mut self,
        store: &Store,
        length: usize,
    ) -> Result<Option<OpenAttempt>, StoreError> {
        let Some(attempt) = self.attempt else {
            return Ok(None);
        };
        let mut open = match store.open_attempt(source(), attempt).await? {
            AttemptStart::GoesOn(open) => open,
            AttemptStart::Ended(progress) => {
                self.learn(&progress.first.unwrap());
                return Ok(None);
            }
            AttemptStart::Unknown => {
                assert!(self.may_be_gone, "it is lost");
                self.end();
                return Ok(None);
            }
        };
        self.note(open.progress().saved.offset);
        let rest = archive().split_off(usize::try_from(self.told).unwrap());
        open.write(rest.slice(..rest.len().min(length))).await?;
        Ok(Some(open))
    }

    async fn publish(&mut self, store: &Store) -> Result<(), StoreError> {
        let Some(open) = self.write(store, BYTES).await? else {
            return Ok(());
        };
        let staged = open.finish().await?;
        self.may_be_published = true;
        match staged.publish(START).await? {
            Published::New(facts) | Published::AlreadyUploaded(facts) => self.learn(&facts),
        }
        Ok(())
    }

    async fn give_up(&mut self, store: &Store) -> Result<(), StoreError> {
        let Some(open) = self.write(store, BYTES).await? else {
            return Ok(());
        };
        let staged = open.finish().await?;
        self.may_be_gone = true;
        staged.abandon().await;
        Ok(())
    }

    async fn cancel(&mut self, store: &Store) -> Result<(), StoreError> {
        let Some(attempt) = self.attempt else {
            return Ok(());
        };
        let could_be_gone = self.may_be_gone;
        self.may_be_gone = true;
        let cancelled = store.cancel_attempt(source(), attempt).await?;
        assert!(cancelled.is_some() || could_be_gone, "it is lost");
        match cancelled.and_then(|progress| progress.first) {
            Some(first) => self.learn(&first),
            None => self.end(),
        }
        Ok(())
    }

    fn note(&mut self, offset: u64) {
        assert!(offset >= self.told, "{offset} after {}", self.told);
        assert!(offset <= BYTES as u64);
        self.told = offset;
    }

    /// The attempt has ended, and is not the archive.
    fn end(&mut self) {
        self.ended.extend(self.attempt.take());
        self.told = 0;
        self.may_be_gone = false;
    }

    /// There is an archive.
    fn learn(&mut self, first: &Facts) {
        assert!(self.may_be_published, "nobody has said that this is all");
        assert_eq!(first.size_bytes, BYTES as u64);
        assert_eq!(first.sha256.0, *Sha256::digest(archive()));
        self.is_published = true;
    }

    /// What can be seen, and what is told, when no calls fail.
    async fn check(&mut self, store: &Store) {
        match store.open(source()).await.unwrap() {
            Some(archive) => self.learn(archive.facts()),
            None => assert!(!self.is_published),
        }
        for attempt in &self.ended {
            let found = store.find_attempt(source(), *attempt).await.unwrap();
            assert_eq!(found, None);
        }
        let Some(attempt) = self.attempt else {
            return;
        };
        let found = store.find_attempt(source(), attempt).await.unwrap();
        if let Some(progress) = found {
            self.note(progress.saved.offset);
            assert_eq!(progress.first.is_some(), self.is_published);
        } else {
            assert!(self.may_be_gone, "it is lost");
            self.end();
        }
    }
}

async fn run(place: &Place, dice: &mut Dice) {
    let mut client = Client::default();
    let mut trouble = Trouble::default();
    let mut store = place.open(&trouble).await.unwrap().0;
    for _ in 0..4 + dice.below(12) {
        let step = step(dice);
        let is_bad = dice.chance(40);
        let fault = is_bad.then(|| fault(dice));
        let dies_after = dice
            .chance(15)
            .then(|| u32::try_from(dice.below(30)).unwrap());
        trouble.begin(fault, dies_after, false);
        let done = client.take(&store, step).await;
        let (failed, is_dead) = (trouble.failed().calls > 0, trouble.is_dead());
        trouble.begin(None, None, false);
        println!("{step:?}, {fault:?}, {dies_after:?}: {done:?}");
        assert!(done.is_ok() || failed || is_dead);
        if is_dead || dice.chance(10) {
            drop(store);
            trouble = Trouble::default();
            store = reopen(place).await;
        }
        client.check(&store).await;
    }
    drop(store);
    let store = reopen(place).await;
    client.check(&store).await;
    let audit = store.audit().await.unwrap();
    assert_eq!(audit.faults, Vec::<String>::new());
    assert_eq!(audit.whole, u64::from(client.is_published));
    let swept = store.sweep(EXPIRY.after(Duration::from_mins(1))).await;
    assert_eq!(swept.unwrap().failures, 0);
    assert_eq!(store.audit().await.unwrap(), Audit::default());
}

async fn run_many(what: &str, new_place: fn() -> Place) {
    let mut dice = Dice::new(what);
    let mut count = 0;
    for _ in Rounds::new(SEQUENCES) {
        run(&new_place(), &mut dice.split()).await;
        count += 1;
    }
    println!("soak: {count} sequences about uploads in parts");
}

#[tokio::test]
async fn uploads_in_parts_to_a_folder_keep_every_promise() {
    run_many("parts to a folder", Place::in_folder).await;
}

#[tokio::test]
async fn uploads_in_parts_to_a_bucket_keep_every_promise() {
    run_many("parts to a bucket", Place::in_memory).await;
}
