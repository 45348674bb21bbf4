//! The names of all files and folders of a store on disk. Nothing else builds a path.
//!
//! ```text
//! <root>/lock                        held by the server that runs on this store
//! <root>/keys                        the key ring, unless another is given
//! <root>/stage/<random>              an upload or record that is not published yet
//! <root>/sources/<minute>/<source>   a published archive, in the folder of the minute it expires in
//! <root>/users/<name>.json           an account
//! <root>/tokens/<name>.json          an API token
//! ```
//!
//! A minute is nine hex digits, minutes since the epoch; so names sort by expiry on both levels, and
//! what has expired is found without looking at what has not.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;
use crate::source::SourceId;
use crate::store::{RecordKind, RecordName};

const MINUTE_MS: u64 = 60_000;

/// The paths below one root.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

/// The folder of the sources that expire within one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bucket(u64);

impl Bucket {
    /// The bucket of a source.
    pub(super) fn of(source: SourceId) -> Self {
        Self(source.expires_at().as_ms() / MINUTE_MS)
    }

    /// Reads a folder's name; `None` if no bucket is called that.
    pub(super) fn parse(name: &OsStr) -> Option<Self> {
        let name = name.to_str()?;
        let bucket = Self(u64::from_str_radix(name, 16).ok()?);
        (bucket.to_string() == name).then_some(bucket)
    }

    /// Has the first instant of its minute come? Only then can anything in it have expired.
    pub(super) fn has_begun(self, now: Timestamp) -> bool {
        self.0 <= now.as_ms() / MINUTE_MS
    }

    /// Is its minute over? Then all in it has expired.
    pub(super) fn is_over(self, now: Timestamp) -> bool {
        self.0 < now.as_ms() / MINUTE_MS
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:09x}", self.0)
    }
}

impl Layout {
    pub(super) fn below(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    pub(super) fn stage(&self) -> PathBuf {
        self.root.join("stage")
    }

    /// A new name in the stage.
    pub(super) fn staged(&self, random: [u8; 16]) -> PathBuf {
        self.stage().join(hex::encode(random))
    }

    pub(super) fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    pub(super) fn bucket(&self, bucket: Bucket) -> PathBuf {
        self.sources().join(bucket.to_string())
    }

    pub(super) fn source(&self, source: SourceId) -> PathBuf {
        self.bucket(Bucket::of(source)).join(source.to_string())
    }

    pub(super) fn records(&self, kind: RecordKind) -> PathBuf {
        self.root.join(match kind {
            RecordKind::Users => "users",
            RecordKind::ApiTokens => "tokens",
        })
    }

    pub(super) fn record(&self, kind: RecordKind, name: &RecordName) -> PathBuf {
        self.records(kind).join(format!("{}.json", name.as_str()))
    }

    /// Every folder that is always there.
    pub(super) fn folders(&self) -> [PathBuf; 4] {
        [
            self.stage(),
            self.sources(),
            self.records(RecordKind::Users),
            self.records(RecordKind::ApiTokens),
        ]
    }
}

/// Is that the name of a file in the stage? Others are not ours to remove.
pub(super) fn is_staged(file_name: &OsStr) -> bool {
    file_name
        .to_str()
        .is_some_and(|name| name.len() == 32 && hex::decode(name).is_ok())
}

/// The record that a file holds; `None` for a file that is none.
pub(super) fn parse_record(file_name: &OsStr) -> Option<RecordName> {
    let digits = file_name.to_str()?.strip_suffix(".json")?;
    let name = RecordName::from_bytes(&hex::decode(digits).ok()?);
    (name.as_str() == digits).then_some(name)
}

/// The source that a file of a bucket holds; `None` for a file that is none.
pub(super) fn parse_source(file_name: &OsStr) -> Option<SourceId> {
    file_name.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source_expiring_at(ms: u64) -> SourceId {
        SourceId::mint(Timestamp::from_ms(ms), [1; 10])
    }

    #[test]
    fn a_bucket_begins_and_ends_with_its_minute() {
        let bucket = Bucket::of(source_expiring_at(60_000));
        assert_eq!(bucket, Bucket::of(source_expiring_at(119_999)));
        assert_ne!(bucket, Bucket::of(source_expiring_at(120_000)));
        assert!(!bucket.has_begun(Timestamp::from_ms(59_999)));
        assert!(bucket.has_begun(Timestamp::from_ms(60_000)));
        assert!(!bucket.is_over(Timestamp::from_ms(119_999)));
        assert!(bucket.is_over(Timestamp::from_ms(120_000)));
    }

    #[test]
    fn names_are_read_back_and_others_are_not_taken_for_them() {
        let bucket = Bucket::of(source_expiring_at(1_700_000_000_000));
        assert_eq!(Bucket::parse(OsStr::new(&bucket.to_string())), Some(bucket));
        for other in [
            "",
            "lost+found",
            "1b0",
            "+01b00000",
            "0000000001",
            "00000000G",
        ] {
            assert_eq!(Bucket::parse(OsStr::new(other)), None, "{other}");
        }
        for other in ["", "a.json", "AB.json", "ab", "../ab.json"] {
            assert_eq!(parse_record(OsStr::new(other)), None, "{other}");
        }
    }
}
