//! The archives that are sent: few, and of lengths at which something changes.

use std::fmt;
use std::sync::LazyLock;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::reference::UPLOAD_LIMIT;

/// One of the archives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Content(usize);

struct Archive {
    bytes: Bytes,
    sha256: [u8; 32],
}

/// A file with its facts is read in another way from 64 KiB on.
const LENGTHS: [u64; 9] = [
    0,
    1,
    12,
    12,
    300,
    64 * 1024 - 80,
    64 * 1024 - 79,
    UPLOAD_LIMIT,
    UPLOAD_LIMIT + 1,
];

static ARCHIVES: LazyLock<Vec<Archive>> = LazyLock::new(|| {
    let archives = LENGTHS.iter().zip(1u8..).map(|(length, number)| {
        let length = usize::try_from(*length).unwrap();
        let cycle = (0..251).cycle().map(|byte: u8| byte ^ number);
        let bytes: Vec<_> = cycle.take(length).collect();
        Archive {
            sha256: Sha256::digest(&bytes).into(),
            bytes: bytes.into(),
        }
    });
    archives.collect()
});

impl Content {
    /// The small ones come more often.
    pub(crate) fn pick(number: u64) -> Self {
        let count = LENGTHS.len() as u64;
        let index = if number.is_multiple_of(4) {
            number / 4 % count
        } else {
            number / 4 % (count - 4)
        };
        Self(usize::try_from(index).unwrap())
    }

    /// Which of them has this digest?
    pub(crate) fn of_sha256(digits: &str) -> Option<Self> {
        let sha256 = hex::decode(digits).ok()?;
        let index = ARCHIVES
            .iter()
            .position(|archive| archive.sha256 == *sha256)?;
        Some(Self(index))
    }

    pub(crate) fn bytes(self) -> Bytes {
        ARCHIVES[self.0].bytes.clone()
    }

    pub(crate) fn sha256(self) -> &'static [u8; 32] {
        &ARCHIVES[self.0].sha256
    }

    pub(crate) fn size(self) -> u64 {
        LENGTHS[self.0]
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "archive {} of {} bytes", self.0, self.size())
    }
}
