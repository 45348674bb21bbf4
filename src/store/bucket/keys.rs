//! The names of all objects of a store in a bucket. Nothing else builds a key.
//!
//! ```text
//! <prefix>/sources/<source>/record              the upload that is the source's archive, and its facts
//! <prefix>/sources/<source>/<attempt>/<part>    bytes of an upload
//! <prefix>/sources/<source>/direct              bytes that were sent to the engine directly
//! <prefix>/sources/<source>/lease-<random>      a download that goes on past the expiry
//! <prefix>/users/<name>.json                    an account
//! <prefix>/tokens/<name>.json                   an API token
//! <prefix>/token-uses/<name>.json               when an API token was last used
//! <prefix>/probes/<random>                      what a start tries the engine with
//! ```
//!
//! A source's id begins with its expiry, and engines list keys in order: so what has expired comes
//! first, and the list need not be read any further.

use object_store::path::{Path, PathPart};

use crate::source::SourceId;
use crate::store::{RecordKind, RecordName};

const SOURCES: &str = "sources";
const RECORD: &str = "record";
const DIRECT: &str = "direct";
const LEASE: &str = "lease-";
const PROBES: &str = "probes";

/// The keys below one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Path,
}

/// One attempt to upload to a source: 128 random bits, as hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt(String);

impl Attempt {
    pub(super) fn new(random: [u8; 16]) -> Self {
        Self(hex::encode(random))
    }

    /// Reads one back from a record.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 16] = hex::decode(text).ok()?.try_into().ok()?;
        (hex::encode(bytes) == text).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a key below a source is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Record,
    Part { attempt: Attempt, number: u64 },
    Direct,
    Lease,
}

impl Keys {
    pub(super) fn below(prefix: &Path) -> Self {
        Self {
            prefix: prefix.clone(),
        }
    }

    fn join<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Path {
        let own = parts.into_iter().map(PathPart::from);
        self.prefix
            .parts()
            .map(|part| PathPart::from(part.as_ref().to_owned()))
            .chain(own)
            .collect()
    }

    pub(super) fn sources(&self) -> Path {
        self.join([SOURCES])
    }

    pub(super) fn source(&self, source: SourceId) -> Path {
        self.join([SOURCES, &source.to_string()])
    }

    fn of_source(&self, source: SourceId, name: &str) -> Path {
        self.join([SOURCES, &source.to_string(), name])
    }

    pub(super) fn record(&self, source: SourceId) -> Path {
        self.of_source(source, RECORD)
    }

    pub(super) fn direct(&self, source: SourceId) -> Path {
        self.of_source(source, DIRECT)
    }

    pub(super) fn lease(&self, source: SourceId, random: [u8; 8]) -> Path {
        self.of_source(source, &format!("{LEASE}{}", hex::encode(random)))
    }

    pub(super) fn part(&self, source: SourceId, attempt: &Attempt, number: u64) -> Path {
        let number = spell_part_number(number);
        self.join([SOURCES, &source.to_string(), attempt.as_str(), &number])
    }

    pub(super) fn probe(&self, random: [u8; 16]) -> Path {
        self.join([PROBES, &hex::encode(random)])
    }

    pub(super) fn probes(&self) -> Path {
        self.join([PROBES])
    }

    pub(super) fn account_records(&self, kind: RecordKind) -> Path {
        self.join([match kind {
            RecordKind::Users => "users",
            RecordKind::ApiTokens => "tokens",
            RecordKind::TokenUses => "token-uses",
        }])
    }

    pub(super) fn account_record(&self, kind: RecordKind, name: &RecordName) -> Path {
        let folder = self.account_records(kind);
        folder
            .parts()
            .map(|part| PathPart::from(part.as_ref().to_owned()))
            .chain([PathPart::from(format!("{}.json", name.as_str()))])
            .collect()
    }

    /// The record that a key holds; `None` for a key that is none of ours.
    pub(super) fn parse_account_record(key: &Path) -> Option<RecordName> {
        let digits = key.filename()?.strip_suffix(".json")?;
        let name = RecordName::from_bytes(&hex::decode(digits).ok()?);
        (name.as_str() == digits).then_some(name)
    }

    /// Which source a key below `sources` belongs to, and what it is for; `None` for a key that this
    /// store did not make.
    pub(super) fn parse_source_key(&self, key: &Path) -> Option<(SourceId, Role)> {
        let mut parts = key.prefix_match(&self.sources())?;
        let source = parts.next()?.as_ref().parse().ok()?;
        let name = parts.next()?;
        let role = match (name.as_ref(), parts.next()) {
            (RECORD, None) => Role::Record,
            (DIRECT, None) => Role::Direct,
            (lease, None) if lease.starts_with(LEASE) => Role::Lease,
            (attempt, Some(number)) => Role::Part {
                attempt: Attempt::parse(attempt)?,
                number: parse_part_number(number.as_ref())?,
            },
            _ => return None,
        };
        parts.next().is_none().then_some((source, role))
    }
}

/// The number of a part as it stands in its key.
fn spell_part_number(number: u64) -> String {
    format!("{number:08}")
}

fn parse_part_number(text: &str) -> Option<u64> {
    let number = text.parse().ok()?;
    (spell_part_number(number) == text).then_some(number)
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
        let attempt = Attempt::new([7; 16]);
        let source = source(1_700_000_000_000);
        for prefix in ["", "a", "deep/er"] {
            let keys = Keys::below(&Path::from(prefix));
            let number = 12;
            let part = Role::Part {
                attempt: attempt.clone(),
                number,
            };
            for (key, role) in [
                (keys.record(source), Role::Record),
                (keys.direct(source), Role::Direct),
                (keys.lease(source, [1; 8]), Role::Lease),
                (keys.part(source, &attempt, number), part),
            ] {
                assert_eq!(keys.parse_source_key(&key), Some((source, role)), "{key}");
            }
            let respelled = format!("sources/{source}/{}/000000012", attempt.as_str());
            for other in [
                "sources/x/record",
                "sources",
                "users/a.json",
                "sources/a",
                &respelled,
            ] {
                let key = keys.join(other.split('/'));
                assert_eq!(keys.parse_source_key(&key), None, "{key}");
            }
        }
    }

    #[test]
    fn keys_sort_by_expiry() {
        let keys = Keys::below(&Path::from("p"));
        let attempt = Attempt::new([0; 16]);
        let early = keys.part(source(1_700_000_000_000), &attempt, 99);
        let late = keys.direct(source(1_700_000_000_001));
        assert!(early.as_ref() < late.as_ref());
    }
}
