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
use super::error::{Result, StoreError};
use super::{Staged, StagedPlace, Store, folder};
use crate::source::SourceId;

/// An attempt that a request goes on with. Dropped, it stays where it was when it was committed last.
#[derive(Debug)]
pub enum OpenAttempt {
    Folder(Box<folder::FolderAttempt>),
}

impl Store {
    /// Can archives be sent to it in parts?
    pub const fn takes_parts(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            Self::Bucket(_) => false,
        }
    }

    /// Begins an upload in parts, in place of any that was begun before.
    pub async fn begin_attempt(
        &self,
        source: SourceId,
        plan: &Plan,
    ) -> Result<UploadStart<Attempt>> {
        match self {
            Self::Folder(folder) => folder.begin_attempt(source, plan).await,
            Self::Bucket(_) => Err(StoreError::NoParts),
        }
    }

    /// What is known of an attempt; `None` if there is none, or not any more.
    pub async fn find_attempt(
        &self,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<Option<Progress>> {
        match self {
            Self::Folder(folder) => folder.find_attempt(source, attempt).await,
            Self::Bucket(_) => Ok(None),
        }
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
            Self::Bucket(_) => Ok(AttemptStart::Unknown),
        }
    }

    /// Ends an attempt for good, unless its source has its archive. Returns what it was, if there was one.
    pub async fn cancel_attempt(
        &self,
        source: SourceId,
        attempt: Attempt,
    ) -> Result<Option<Progress>> {
        match self {
            Self::Folder(folder) => folder.cancel_attempt(source, attempt).await,
            Self::Bucket(_) => Ok(None),
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
        match self {
            Self::Folder(attempt) => attempt.progress(),
        }
    }

    /// How long all of it will be is known now. That is saved with the next commit.
    pub fn announce(&mut self, bytes: u64) {
        match self {
            Self::Folder(attempt) => attempt.announce(bytes),
        }
    }

    /// Takes the next bytes in. Returns when it can take more: a slow store slows its client.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        match self {
            Self::Folder(attempt) => attempt.write(chunk).await,
        }
    }

    /// Gets on with bytes that wait for others before them. Giving up waiting for that loses nothing.
    pub async fn catch_up(&mut self) -> Result<()> {
        match self {
            Self::Folder(attempt) => attempt.catch_up().await,
        }
    }

    /// Commits, if much was written since that was last done.
    pub async fn checkpoint(&mut self) -> Result<()> {
        match self {
            Self::Folder(attempt) => attempt.checkpoint().await,
        }
    }

    /// Makes all that was written durable, with the state of its digest. Returns the offset behind it.
    pub async fn commit(&mut self) -> Result<u64> {
        match self {
            Self::Folder(attempt) => attempt.commit().await,
        }
    }

    /// All bytes were sent: commits, and says what they are. If they are not published, the attempt stays, unless what is
    /// staged is abandoned.
    pub async fn finish(self) -> Result<Staged> {
        match self {
            Self::Folder(attempt) => Ok(attempt.finish().await?.map(StagedPlace::Folder)),
        }
    }

    /// Ends it for good; when this returns, nothing of it is left.
    pub async fn cancel(self) {
        match self {
            Self::Folder(attempt) => attempt.cancel().await,
        }
    }
}
