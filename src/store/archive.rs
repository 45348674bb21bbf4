//! What stores say of archives, whichever store it is.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::error::Result;
use crate::digest::{Digester, Digests};
use crate::error_chain::chain;
use crate::media::{MAGIC_BYTES, MediaType};
use crate::source::Facts;

/// What a store answers to the wish to upload.
#[derive(Debug)]
pub enum UploadStart<U> {
    /// Nothing is there yet: send the bytes here.
    Accepted(U),
    /// The source has its archive already.
    AlreadyUploaded(Facts),
}

impl<U> UploadStart<U> {
    pub(super) fn map<V>(self, wrap: impl FnOnce(U) -> V) -> UploadStart<V> {
        match self {
            Self::Accepted(upload) => UploadStart::Accepted(wrap(upload)),
            Self::AlreadyUploaded(facts) => UploadStart::AlreadyUploaded(facts),
        }
    }
}

/// An upload whose last byte has been taken in, but which is not published.
#[derive(Debug)]
pub struct Staged<P> {
    pub size_bytes: u64,
    pub digests: Digests,
    pub media_type: MediaType,
    pub(super) place: P,
}

impl<P> Staged<P> {
    pub(super) fn map<Q>(self, wrap: impl FnOnce(P) -> Q) -> Staged<Q> {
        Staged {
            size_bytes: self.size_bytes,
            digests: self.digests,
            media_type: self.media_type,
            place: wrap(self.place),
        }
    }
}

/// What is known of the bytes of an upload so far.
#[derive(Debug, Default)]
pub(super) struct Summary {
    size_bytes: u64,
    digester: Digester,
    head: Vec<u8>,
}

impl Summary {
    pub(super) fn new(digester: Digester) -> Self {
        Self {
            digester,
            ..Self::default()
        }
    }

    /// What is known of bytes that were sent before.
    pub(super) const fn going_on(size_bytes: u64, digester: Digester, head: Vec<u8>) -> Self {
        Self {
            size_bytes,
            digester,
            head,
        }
    }

    pub(super) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub(super) const fn digester(&self) -> &Digester {
        &self.digester
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    pub(super) fn take(&mut self, chunks: &[Bytes]) {
        for chunk in chunks {
            self.size_bytes += chunk.len() as u64;
            self.digester.update(chunk);
            let missing = MAGIC_BYTES - self.head.len();
            self.head.extend(chunk.iter().take(missing));
        }
    }

    pub(super) fn into_staged<P>(self, place: P) -> Staged<P> {
        Staged {
            size_bytes: self.size_bytes,
            digests: self.digester.finish(),
            media_type: MediaType::of(&self.head),
            place,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The source's archive is this upload, durably, with these facts.
    New(Facts),
    /// Another upload was first; these are its facts, and it is durable.
    AlreadyUploaded(Facts),
}

/// What a link of the object store itself opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    Opens,
    NothingThere,
    Denied,
}

/// The bytes of an archive, in order. An error ends it; fewer bytes than asked for never come
/// without one.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub sources: u64,
    /// Uploads deleted that never became an archive, where only a sweep can find them.
    pub broken: u64,
    pub failures: u64,
    pub first_failure: Option<String>,
    /// The longest time between an expiry and its deletion.
    pub max_lag: Duration,
}

impl Swept {
    /// Counts deletions that failed with `error`.
    pub(super) fn note_failures(&mut self, failures: u64, error: &dyn Error) {
        self.failures += failures;
        self.first_failure.get_or_insert_with(|| chain(error));
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveCounts {
    pub live: u64,
    /// Those that have, and are not deleted yet.
    pub expired: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Archives that are whole, as their digest proves.
    pub whole: u64,
    /// Uploads that are under way, or were when the server ended; the next start removes those.
    pub staged: u64,
    /// Uploads in parts that can go on.
    pub attempts: u64,
    /// Journals of which nothing is missing.
    pub journals: u64,
    /// What should not be there, or not like this, one sentence each.
    pub faults: Vec<String>,
}
