//! The names of all objects of a store in a bucket. Nothing else builds a key.
//!
//! ```text
//! <prefix>/sources/<source>/record              the upload that is the source's archive, and its facts
//! <prefix>/sources/<source>/<attempt>/<part>    bytes of an upload
//! <prefix>/sources/<source>/attempt             which upload in parts can go on
//! <prefix>/sources/<source>/direct              bytes that were sent to the object store directly
//! <prefix>/sources/<source>/pin-<until>-<random>   what keeps the source until then, in ms since 1970
//! <prefix>/journals/<app>-<number>/<offset>     bytes of a journal, from there on
//! <prefix>/users/<name>.json                    a user
//! <prefix>/tokens/<owner>/<name>.json           an API token
//! <prefix>/apps/<owner>/<name>.json             an application
//! <prefix>/app-names/<name>.json                which application has which name
//! <prefix>/variables/<app>/<name>.json          a variable of an application
//! <prefix>/events/<user>/<name>.json            something that a user did
//! <prefix>/deployments/<app>/<name>.json        a step of a deployment
//! <prefix>/queue/<name>.json                    that something of a deployment is left to do
//! <prefix>/probes/<random>                      what a start tries the object store with
//! ```
//!
//! A source's id begins with its expiry, and object stores list keys in order: so what has expired comes
//! first, and the list need not be read any further.

use object_store::path::Path;

use crate::source::SourceId;
pub use crate::store::attempt::Attempt;
use crate::store::document::{Collection, DocumentKey, DocumentName};
use crate::store::journal::{JOURNALS, JournalKey};
use crate::store::pin::Pin;

const SOURCES: &str = "sources";
const RECORD: &str = "record";
const DIRECT: &str = "direct";
const BEGINNING: &str = "attempt";
const PROBES: &str = "probes";

/// The keys below one prefix.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: Path,
}

/// What a key below a source is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The record that makes an archive visible.
    Record,
    /// What was said at the beginning of the upload in parts that can go on.
    Beginning,
    /// The archive itself, uploaded to the object store directly.
    Direct,
    Part {
        attempt: Attempt,
        /// Its place in the archive.
        number: u64,
    },
    /// What keeps the archive.
    Pin(Pin),
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
            Role::Beginning => folder.join(BEGINNING),
            Role::Part { attempt, number } => {
                let folder = self.attempt(source, attempt);
                folder.join(format!("{number:08}"))
            }
            Role::Pin(pin) => folder.join(pin.to_string()),
        }
    }

    /// Below which the bytes of an upload are.
    pub(super) fn attempt(&self, source: SourceId, attempt: Attempt) -> Path {
        self.source(source).join(attempt.simple().to_string())
    }

    pub(super) fn probe(&self, random: [u8; 16]) -> Path {
        self.join([PROBES, &hex::encode(random)])
    }

    pub(super) fn probes(&self) -> Path {
        self.join([PROBES])
    }

    pub(super) fn journals(&self) -> Path {
        self.join([JOURNALS])
    }

    pub(super) fn journal(&self, journal: &JournalKey) -> Path {
        self.join([JOURNALS, &journal.name()])
    }

    /// The bytes of a journal from `offset` on.
    pub fn chunk(&self, journal: &JournalKey, offset: u64) -> Path {
        self.journal(journal).join(format!("{offset:020}"))
    }

    /// Which journal a key below `journals` belongs to, and where in it its bytes begin; `None` for a key that
    /// this store would not write.
    pub fn parse_chunk(&self, key: &Path) -> Option<(JournalKey, u64)> {
        let mut parts = key.prefix_match(&self.journals())?;
        let journal = JournalKey::parse(parts.next()?.as_ref())?;
        let offset = parts.next()?.as_ref().parse().ok()?;
        (self.chunk(&journal, offset) == *key).then_some((journal, offset))
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
            (BEGINNING, None) => Role::Beginning,
            (attempt, Some(number)) => Role::Part {
                attempt: attempt.parse().ok()?,
                number: number.as_ref().parse().ok()?,
            },
            (pin, None) => Role::Pin(pin.parse().ok()?),
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
            let pin = "pin-001700000900000-0101010101010101".parse().unwrap();
            for role in [
                Role::Record,
                Role::Direct,
                Role::Beginning,
                Role::Part {
                    attempt,
                    number: 12,
                },
                Role::Pin(pin),
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
    fn chunks_are_read_back_sort_by_offset_and_others_are_not_taken_for_them() {
        let journal = JournalKey::new([0xab; 16], 7);
        for prefix in ["", "a", "deep/er"] {
            let keys = Keys::below(Path::from(prefix));
            for offset in [0, 9, 10, u64::MAX] {
                let key = keys.chunk(&journal, offset);
                assert_eq!(keys.parse_chunk(&key), Some((journal, offset)), "{key}");
            }
            assert!(keys.chunk(&journal, 9) < keys.chunk(&journal, 10));
            let name = journal.name();
            for other in [
                "journals".to_owned(),
                format!("journals/{name}"),
                format!("journals/{name}/1"),
                format!("journals/{name}/+0000000000000000001"),
                format!("journals/{name}/99999999999999999999"),
                format!("journals/{name}/{:020}/x", 1),
                format!("journals/x/{:020}", 1),
                format!("sources/{name}/{:020}", 1),
            ] {
                let key = keys.join(other.split('/'));
                assert_eq!(keys.parse_chunk(&key), None, "{key}");
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
