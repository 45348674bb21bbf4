//! The names of all objects of a store in a bucket. Nothing else builds a key.
//!
//! ```text
//! <prefix>/sources/<source>/record              the upload that is the source's archive, and its facts
//! <prefix>/sources/<source>/<attempt>/<part>    bytes of an upload
//! <prefix>/sources/<source>/direct              bytes that were sent to the object store directly
//! <prefix>/sources/<source>/pin-<until>-<random>   what keeps the source until then, in ms since 1970
//! <prefix>/users/<name>.json                    a user
//! <prefix>/tokens/<owner>/<name>.json           an API token
//! <prefix>/apps/<owner>/<name>.json             an application
//! <prefix>/app-names/<name>.json                which application has which name
//! <prefix>/probes/<random>                      what a start tries the object store with
//! ```
//!
//! A source's id begins with its expiry, and object stores list keys in order: so what has expired comes
//! first, and the list need not be read any further.

use object_store::path::Path;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::source::SourceId;
use crate::store::document::{Collection, DocumentKey, DocumentName};

const SOURCES: &str = "sources";
const RECORD: &str = "record";
const DIRECT: &str = "direct";
const PIN: &str = "pin-";
const PROBES: &str = "probes";

/// The keys below one prefix.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: Path,
}

/// One attempt to upload to a source; its text has no hyphens.
pub type Attempt = Uuid;

/// What a key below a source is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The record that makes an archive visible.
    Record,
    /// The archive itself, uploaded to the object store directly.
    Direct,
    Part {
        attempt: Attempt,
        /// Its place in the archive.
        number: u64,
    },
    /// What keeps the archive for a download.
    Pin {
        until: Timestamp,
        /// Tells it from those of other downloads.
        random: [u8; 8],
    },
}

impl Keys {
    pub const fn below(prefix: Path) -> Self {
        Self { prefix }
    }

    fn join<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Path {
        let mut key = self.prefix.clone();
        key.extend(parts);
        key
    }

    pub(super) fn sources(&self) -> Path {
        self.join([SOURCES])
    }

    pub(super) fn source(&self, source: SourceId) -> Path {
        self.join([SOURCES, &source.to_string()])
    }

    /// The key below `source` that is for `role`.
    pub fn of(&self, source: SourceId, role: Role) -> Path {
        let folder = self.source(source);
        match role {
            Role::Record => folder.join(RECORD),
            Role::Direct => folder.join(DIRECT),
            Role::Part { attempt, number } => folder
                .join(attempt.simple().to_string())
                .join(format!("{number:08}")),
            Role::Pin { until, random } => folder.join(format!(
                "{PIN}{:015}-{}",
                until.as_ms(),
                hex::encode(random)
            )),
        }
    }

    pub(super) fn probe(&self, random: [u8; 16]) -> Path {
        self.join([PROBES, &hex::encode(random)])
    }

    pub(super) fn probes(&self) -> Path {
        self.join([PROBES])
    }

    pub(super) fn documents(&self, collection: Collection) -> Path {
        self.join(collection.folders().iter().map(String::as_str))
    }

    pub fn document(&self, key: &DocumentKey) -> Path {
        self.documents(key.collection).join(key.name.file_name())
    }

    /// The document of `collection` that a key holds; `None` for a key that is none of ours.
    pub fn parse_document(&self, collection: Collection, key: &Path) -> Option<DocumentName> {
        let name = DocumentName::parse(key.filename()?)?;
        let named = DocumentKey { collection, name };
        (self.document(&named) == *key).then_some(named.name)
    }

    /// Which source a key below `sources` belongs to, and what it is for; `None` for a key that this
    /// store would not write.
    pub fn parse_source_key(&self, key: &Path) -> Option<(SourceId, Role)> {
        let mut parts = key.prefix_match(&self.sources())?;
        let source: SourceId = parts.next()?.as_ref().parse().ok()?;
        let name = parts.next()?;
        let role = match (name.as_ref(), parts.next()) {
            (RECORD, None) => Role::Record,
            (DIRECT, None) => Role::Direct,
            (attempt, Some(number)) => Role::Part {
                attempt: attempt.parse().ok()?,
                number: number.as_ref().parse().ok()?,
            },
            (pin, None) => {
                let (until, random) = pin.strip_prefix(PIN)?.split_once('-')?;
                Role::Pin {
                    until: Timestamp::from_ms(until.parse().ok()?),
                    random: hex::decode(random).ok()?.try_into().ok()?,
                }
            }
        };
        (source.is_ours() && self.of(source, role) == *key).then_some((source, role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn source(expiry_ms: u64) -> SourceId {
        SourceId::mint(Timestamp::from_ms(expiry_ms), [0xff; 10])
    }

    #[test]
    fn keys_are_read_back_and_others_are_not_taken_for_them() {
        let attempt = Attempt::from_bytes([7; 16]);
        let folder = attempt.simple();
        let source = source(1_700_000_000_000);
        for prefix in ["", "a", "deep/er"] {
            let keys = Keys::below(Path::from(prefix));
            let (until, random) = (Timestamp::from_ms(1_700_000_900_000), [1; 8]);
            for role in [
                Role::Record,
                Role::Direct,
                Role::Part {
                    attempt,
                    number: 12,
                },
                Role::Pin { until, random },
            ] {
                let key = keys.of(source, role);
                assert_eq!(keys.parse_source_key(&key), Some((source, role)), "{key}");
            }
            for other in [
                "sources/x/record",
                "sources/018bcfe5-6800-4fff-bfff-ffffffffffff/record",
                "sources/018bcfe5-6800-4fff-bfff-ffffffffffff/direct",
                &format!("sources/{source}/lease-1"),
                &format!("sources/{source}/record/x"),
                "sources",
                "users/a.json",
                "sources/a",
                &format!("sources/{source}/{folder}"),
                &format!("sources/{source}/{folder}/000000012"),
                &format!("sources/{source}/{attempt}/00000012"),
                &format!("sources/{source}/{folder}/00000012/x"),
                &format!("sources/{source}/pin-001700000900000-01010101010101AA"),
                &format!("sources/{source}/pin-0001700000900000-0101010101010101"),
                &format!("sources/{source}/pin-999999999999999-0101010101010101"),
                &format!("sources/{source}/pin-001700000900000"),
            ] {
                let key = keys.join(other.split('/'));
                assert_eq!(keys.parse_source_key(&key), None, "{key}");
            }
        }
    }

    #[test]
    fn keys_sort_by_expiry() {
        let keys = Keys::below(Path::from("p"));
        let attempt = Attempt::from_bytes([0; 16]);
        let early = keys.of(
            source(1_700_000_000_000),
            Role::Part {
                attempt,
                number: 99,
            },
        );
        let late = keys.of(source(1_700_000_000_001), Role::Direct);
        assert!(early < late);
    }
}
