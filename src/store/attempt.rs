//! An attempt to upload in parts: what it is, and how it is put away between two of them. Pure.
//!
//! What is [`Saved`] stands beside the bytes: how many of them are durable, and the state of their digest, so that
//! whoever goes on need not read them again.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::archive::Summary;
use crate::digest::{Digester, ExpectedDigests, SavedDigester, Sha256Digest};
use crate::source::{Facts, SourceId};

/// The id of one attempt to upload to a source; its text has no hyphens.
pub type Attempt = Uuid;

/// What is saved has this length, whatever it says: so that it can be found without knowing that.
pub const SAVED_BYTES: usize = 4096;
const CHECK_BYTES: usize = 32;
/// No plan is longer, as it is stored. What is was put there by somebody else, and is not read.
pub(super) const MAX_PLAN_BYTES: usize = 16 * 1024;
/// Text that a client may have its attempt keep, in bytes.
pub const MAX_METADATA_BYTES: usize = 2048;

/// What a client says when it begins, for as long as the attempt lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How long all of it will be, if that is known.
    pub announced_bytes: Option<u64>,
    /// The digests of all of it.
    #[serde(default)]
    pub expected: ExpectedDigests,
    /// What it wants to be told again, as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

/// How far an attempt is, durably.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// How many bytes there are.
    pub offset: u64,
    pub announced_bytes: Option<u64>,
    /// The client has said that this is all of it: what is missing is its publication.
    #[serde(default)]
    pub is_whole: bool,
    digester: SavedDigester,
    #[serde(with = "hex::serde")]
    head: Vec<u8>,
}

/// What is known of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub plan: Plan,
    pub saved: Saved,
    /// The archive of its source, be it this attempt or another upload.
    pub first: Option<Facts>,
}

impl Progress {
    /// Its facts, if it is the archive: the same bytes are the same archive, whoever published them.
    pub fn published(&self) -> Option<Facts> {
        let is_this = |first: &Facts| {
            first.size_bytes == self.saved.offset && self.saved.sha256() == Some(first.sha256)
        };
        self.first.filter(is_this)
    }

    /// Can nobody go on, since the source has its archive?
    pub const fn has_ended(&self) -> bool {
        self.first.is_some()
    }

    /// How long all of it will be, or is, if that is known.
    pub fn announced_bytes(&self) -> Option<u64> {
        let published = self.published().map(|facts| facts.size_bytes);
        self.saved.announced_bytes.or(published)
    }
}

/// What a store answers to the wish to go on.
#[derive(Debug)]
pub enum AttemptStart<A> {
    /// Send the bytes here.
    GoesOn(A),
    /// The source has its archive.
    Ended(Box<Progress>),
    /// There is no such attempt, or not any more.
    Unknown,
}

impl<A> AttemptStart<A> {
    pub(super) fn map<B>(self, wrap: impl FnOnce(A) -> B) -> AttemptStart<B> {
        match self {
            Self::GoesOn(attempt) => AttemptStart::GoesOn(wrap(attempt)),
            Self::Ended(progress) => AttemptStart::Ended(progress),
            Self::Unknown => AttemptStart::Unknown,
        }
    }
}

impl Plan {
    /// One that nothing has been sent of.
    pub(super) fn start(&self) -> Saved {
        let summary = Summary::new(Digester::expecting(&self.expected));
        Saved::of(&summary, self.announced_bytes, false)
    }
}

impl Saved {
    pub(super) fn of(summary: &Summary, announced_bytes: Option<u64>, is_whole: bool) -> Self {
        Self {
            offset: summary.size_bytes(),
            announced_bytes,
            is_whole,
            digester: summary.digester().save(),
            head: summary.head().to_vec(),
        }
    }

    /// What goes on from here; `None` if this was not saved by this version or one like it.
    pub(super) fn summary(&self) -> Option<Summary> {
        let digester = Digester::restore(&self.digester)?;
        Some(Summary::going_on(self.offset, digester, self.head.clone()))
    }

    /// The digest of the bytes so far.
    pub fn sha256(&self) -> Option<Sha256Digest> {
        let digester = Digester::restore(&self.digester)?;
        Some(digester.finish().sha256)
    }

    /// As it is stored: a check of `context` and what follows, then JSON, then blanks.
    pub(super) fn encode(&self, context: &[u8]) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("a plain struct with text keys");
        assert!(
            text.len() <= SAVED_BYTES - CHECK_BYTES,
            "its parts are short"
        );
        text.resize(SAVED_BYTES - CHECK_BYTES, b' ');
        let mut bytes = check_of(context, &text).to_vec();
        bytes.extend(text);
        bytes
    }

    /// Reads it back; `None` if it is not whole, or was stored in another context.
    pub(super) fn decode(context: &[u8], bytes: &[u8]) -> Option<Self> {
        let (check, text) = bytes.split_at_checked(CHECK_BYTES)?;
        let is_whole = bytes.len() == SAVED_BYTES && check_of(context, text) == check;
        is_whole.then(|| serde_json::from_slice(text).ok())?
    }
}

/// What is saved is of its attempt alone.
pub(super) fn context(source: SourceId, attempt: Attempt) -> Vec<u8> {
    [source.as_bytes().as_slice(), attempt.as_bytes()].concat()
}

fn check_of(context: &[u8], text: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Sha256::new().chain_update(context).chain_update(text);
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    fn saved() -> Saved {
        let mut expected = ExpectedDigests::default();
        expected.add(Algorithm::Sha512, vec![1; 64]).unwrap();
        expected.add(Algorithm::Md5, vec![2; 16]).unwrap();
        let mut summary = Summary::new(Digester::expecting(&expected));
        summary.take(&[vec![0xff; 1000].into()]);
        Saved::of(&summary, Some(u64::MAX), true)
    }

    #[test]
    fn what_is_saved_is_read_back_and_has_one_length_at_its_longest() {
        let bytes = saved().encode(b"here");
        assert_eq!(bytes.len(), SAVED_BYTES);
        assert_eq!(Saved::decode(b"here", &bytes), Some(saved()));
        assert_eq!(Saved::decode(b"there", &bytes), None);
        assert_eq!(saved().summary().unwrap().size_bytes(), 1000);
    }

    #[test]
    fn a_flipped_bit_or_a_missing_end_is_noticed() {
        let whole = saved().encode(b"");
        for at in 0..SAVED_BYTES {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert_eq!(Saved::decode(b"", &bytes), None, "{at}");
        }
        for length in [0, CHECK_BYTES - 1, CHECK_BYTES, SAVED_BYTES - 1] {
            assert_eq!(Saved::decode(b"", &whole[..length]), None, "{length}");
        }
    }
}
