//! Uploads in parts: what every store promises of them.
//!
//! * **What was told is kept.** An offset is told only once the bytes before it, and the state of their digest, are
//!   durable; it never falls, whichever server ends how.
//! * **One writer.** Of two who go on with an attempt at once, at most one's bytes count.
//! * **Nothing is seen before the end**, and the end is the publication of any upload: once.
//! * **One for a source.** A new beginning replaces what was begun before.

use bytes::Bytes;

use super::archive::UploadStart;
use super::attempt::{Attempt, AttemptStart, Plan, Progress};
use super::error::Result;
use super::{Staged, StagedPlace, Store, bucket, folder};
use crate::source::SourceId;

/// An attempt that a request goes on with. Dropped, it stays where it was when it was committed last.
#[derive(Debug)]
pub enum OpenAttempt {
    Folder(Box<folder::FolderAttempt>),
    Bucket(Box<bucket::BucketAttempt>),
}

impl Store {
    /// Can archives be sent to it in parts?
    pub fn takes_parts(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            // Two could write the same part.
            Self::Bucket(bucket) => bucket.has_conditions(),
        }
    }

    /// Begins an upload in parts, in place of any that was begun before.
    pub async fn begin_attempt(
        &self,
        source: SourceId,
        plan: &Plan,
    ) -> Result<UploadStart<Attempt>> {
        ask!(self, store => store.begin_attempt(source, plan).await)
    }

    /// What is known of an attempt; `None` if there is none, or not any more.
    pub async fn find_attempt(
        &self,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<Option<Progress>> {
        ask!(self, store => store.find_attempt(source, attempt).await)
    }

    /// Goes on with an attempt, once nobody else of this server does.
    pub async fn open_attempt(
        &self,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<AttemptStart<OpenAttempt>> {
        match self {
            Self::Folder(folder) => {
                let start = folder.open_attempt(source, attempt).await?;
                Ok(start.map(|attempt| OpenAttempt::Folder(Box::new(attempt))))
            }
            Self::Bucket(bucket) => {
                let start = bucket.open_attempt(source, attempt).await?;
                Ok(start.map(|attempt| OpenAttempt::Bucket(Box::new(attempt))))
            }
        }
    }

    /// Ends an attempt for good, unless its source has its archive. Returns what it was, if there was one.
    pub async fn cancel_attempt(
        &self,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<Option<Progress>> {
        ask!(self, store => store.cancel_attempt(source, attempt).await)
    }

    /// Can an attempt still go on, as far as this server knows? Where other servers may have ended it, that is looked up,
    /// though not whether all its bytes are there.
    pub async fn can_go_on(&self, source: SourceId, attempt: Attempt) -> Result<bool> {
        match self {
            Self::Folder(folder) => folder.can_go_on(source, attempt).await,
            Self::Bucket(bucket) => bucket.can_go_on(source, attempt).await,
        }
    }

    /// The attempts that can go on, as far as this server knows without asking others, and how long each will be, or is.
    pub fn open_attempts(&self) -> Vec<(SourceId, Attempt, u64)> {
        match self {
            Self::Folder(folder) => folder.open_attempts(),
            Self::Bucket(_) => Vec::new(),
        }
    }
}

impl OpenAttempt {
    /// How it was when it was gone on with, or committed since.
    pub fn progress(&self) -> &Progress {
        ask!(self, attempt => attempt.progress())
    }

    /// How long all of it will be is known now, and there has to be room for it. That is saved with the next commit.
    pub async fn announce(&mut self, bytes: u64) -> Result<()> {
        match self {
            Self::Folder(attempt) => attempt.announce(bytes).await,
            Self::Bucket(attempt) => {
                attempt.announce(bytes);
                Ok(())
            }
        }
    }

    /// Takes the next bytes in. Returns when it can take more: a slow store slows its client.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        ask!(self, attempt => attempt.write(chunk).await)
    }

    /// Gets on with bytes that wait for others before them. Giving up waiting for that loses nothing.
    pub async fn catch_up(&mut self) -> Result<()> {
        match self {
            Self::Folder(attempt) => attempt.catch_up().await,
            // A part is put when it is full, and there is nothing smaller.
            Self::Bucket(_) => Ok(()),
        }
    }

    /// Commits, if much was written since that was last done.
    pub async fn checkpoint(&mut self) -> Result<()> {
        match self {
            Self::Folder(attempt) => attempt.checkpoint().await,
            // A part is put when it is full, and there is nothing smaller.
            Self::Bucket(_) => Ok(()),
        }
    }

    /// Makes all that was written durable, with the state of its digest. Returns the offset behind it. Whoever gives up
    /// waiting for that, or for a write, can commit again.
    pub async fn commit(&mut self) -> Result<u64> {
        ask!(self, attempt => attempt.commit().await)
    }

    /// How many bytes are kept whether or not what follows is committed. When this returns nothing is under way that
    /// whoever goes on would run into.
    pub async fn kept_bytes(&mut self) -> Result<u64> {
        ask!(self, attempt => attempt.kept_bytes().await)
    }

    /// All bytes were sent: commits, notes that, and says what they are. If they are not published, the attempt stays, unless
    /// what is staged is abandoned.
    pub async fn finish(self) -> Result<Staged> {
        self.finish_noting(true).await
    }

    /// The same, but it is not noted that all was sent: whoever resumes it has to say so again.
    pub async fn finish_unnoted(self) -> Result<Staged> {
        self.finish_noting(false).await
    }

    async fn finish_noting(self, is_whole: bool) -> Result<Staged> {
        match self {
            Self::Folder(attempt) => {
                let staged = attempt.finish(is_whole).await?;
                Ok(staged.map(StagedPlace::Folder))
            }
            Self::Bucket(attempt) => {
                let staged = attempt.finish(is_whole).await?;
                Ok(staged.map(StagedPlace::Bucket))
            }
        }
    }

    /// Ends it for good: nobody goes on. Where the store is a bucket, what another node may be publishing stays until the
    /// source expires.
    pub async fn cancel(self) {
        ask!(self, attempt => attempt.cancel().await);
    }
}
