//! The names of all files and folders of a store on disk. Nothing else builds a path.
//!
//! ```text
//! <root>/lock                                 held by the server that runs on this store
//! <root>/keys                                 the key ring, unless another is given
//! <root>/first-token                          the first API token, if it could not be shown
//! <root>/stage/<random>                       an upload that is not published yet
//! <root>/attempts/<minute>/<source>.<attempt>   the bytes of an upload in parts, below the minute of its expiry
//! <root>/attempts/<minute>/<source>.<attempt>.state   how many of them are durable
//! <root>/drafts/<random>                      a document that is not in place yet
//! <root>/sources/<minute>/<second>/<source>   a published archive, in the folders of its expiry
//! <root>/sources/<minute>/<second>/<source>.<pin>   what keeps it until then
//! <root>/pins.lock                            held to pin one, and to delete those that are not pinned
//! <root>/journals/<app>-<number>              a journal
//! <root>/users/<name>.json                    a user
//! <root>/tokens/<owner>/<name>.json           an API token
//! <root>/apps/<owner>/<name>.json             an application
//! <root>/app-names/<name>.json                which application has which name
//! <root>/variables/<app>/<name>.json          a variable of an application
//! <root>/events/<user>/<name>.json            something that a user did
//! <root>/deployments/<app>/<name>.json        a step of a deployment
//! <root>/queue/<name>.json                    that something of a deployment is left to do
//! <root>/documents.lock                       held to replace or delete one of these
//! ```
//!
//! A minute is nine hex digits, minutes since the epoch; a second is 00 to 59. So what has expired is
//! found by listing the minutes (10,080 of them at most, with links that live for 7 days) and the
//! seconds that have come, whatever else is stored.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;
use crate::source::SourceId;
use crate::store::attempt::Attempt;
use crate::store::document::{Collection, DocumentKey};
use crate::store::journal::{JOURNALS, JournalKey};
use crate::store::pin::Pin;

const SECONDS: u64 = 60;

#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

/// The folder of the minute in which sources expire, and in it one for each second. It is the number of
/// minutes since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Minute(u64);

/// The folder of the sources that expire within one second. It is the number of seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ExpirySecond(u64);

/// What a file of an attempt to upload in parts is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptFile {
    Bytes,
    State,
}

impl AttemptFile {
    fn name(self, source: SourceId, attempt: Attempt) -> String {
        let attempt = attempt.simple();
        match self {
            Self::Bytes => format!("{source}.{attempt}"),
            Self::State => format!("{source}.{attempt}.state"),
        }
    }

    /// Which attempt a file belongs to, and what it is; `None` if it is none of ours.
    pub(super) fn parse(file_name: &str) -> Option<(SourceId, Attempt, Self)> {
        let (source, rest) = file_name.split_once('.')?;
        let (attempt, file) = match rest.strip_suffix(".state") {
            Some(attempt) => (attempt, Self::State),
            None => (rest, Self::Bytes),
        };
        let (source, attempt) = (parse_source(source)?, attempt.parse().ok()?);
        (file.name(source, attempt) == file_name).then_some((source, attempt, file))
    }
}

impl Minute {
    pub(super) fn of(source: SourceId) -> Self {
        ExpirySecond::of(source).minute()
    }

    /// Reads a folder's name; `None` if no minute is called that.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let minute = Self(u64::from_str_radix(name, 16).ok()?);
        // No longer one either: the seconds of a minute that no clock reaches could not be counted.
        (name.len() == 9 && minute.to_string() == name).then_some(minute)
    }

    /// Has its first instant come? Only then can anything in it have expired.
    pub(super) fn has_begun(self, now: Timestamp) -> bool {
        self.0 <= now.as_seconds() / SECONDS
    }

    /// Reads the name of a folder of this minute; `None` if it is not the name of a second.
    pub(super) fn parse_second(self, name: &str) -> Option<ExpirySecond> {
        let second: u64 = name.parse().ok()?;
        let found = ExpirySecond(self.0 * SECONDS + second.min(SECONDS - 1));
        (found.to_string() == name).then_some(found)
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:09x}", self.0)
    }
}

impl ExpirySecond {
    pub(super) fn of(source: SourceId) -> Self {
        Self(source.expires_at().as_seconds())
    }

    pub(super) const fn minute(self) -> Minute {
        Minute(self.0 / SECONDS)
    }

    /// Has its first instant come? Only then can anything in it have expired.
    pub(super) fn has_begun(self, now: Timestamp) -> bool {
        self.0 <= now.as_seconds()
    }

    /// Is its second over? Then all in it has expired.
    pub(super) fn is_over(self, now: Timestamp) -> bool {
        self.0 < now.as_seconds()
    }
}

impl fmt::Display for ExpirySecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0 % SECONDS)
    }
}

impl Layout {
    pub fn below(root: PathBuf) -> Self {
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

    pub(super) fn first_token(&self) -> PathBuf {
        self.root.join("first-token")
    }

    pub(super) fn stage(&self) -> PathBuf {
        self.root.join("stage")
    }

    pub(super) fn attempts(&self) -> PathBuf {
        self.root.join("attempts")
    }

    /// The folder of the attempts whose sources expire within a minute.
    pub(super) fn attempts_of(&self, minute: Minute) -> PathBuf {
        self.attempts().join(minute.to_string())
    }

    pub(super) fn attempt(&self, source: SourceId, attempt: Attempt, file: AttemptFile) -> PathBuf {
        self.attempts_of(Minute::of(source))
            .join(file.name(source, attempt))
    }

    pub(super) fn drafts(&self) -> PathBuf {
        self.root.join("drafts")
    }

    /// A new name in one of these two.
    pub(super) fn staged(folder: &Path, random: [u8; 16]) -> PathBuf {
        folder.join(hex::encode(random))
    }

    pub(super) fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    pub(super) fn minute(&self, minute: Minute) -> PathBuf {
        self.sources().join(minute.to_string())
    }

    pub(super) fn second(&self, second: ExpirySecond) -> PathBuf {
        self.minute(second.minute()).join(second.to_string())
    }

    pub fn source(&self, source: SourceId) -> PathBuf {
        self.second(ExpirySecond::of(source))
            .join(source.to_string())
    }

    pub(super) fn pin(&self, source: SourceId, pin: Pin) -> PathBuf {
        self.second(ExpirySecond::of(source))
            .join(format!("{source}.{pin}"))
    }

    pub(super) fn pins_lock(&self) -> PathBuf {
        self.root.join("pins.lock")
    }

    pub(super) fn journals(&self) -> PathBuf {
        self.root.join(JOURNALS)
    }

    pub fn journal(&self, key: &JournalKey) -> PathBuf {
        self.journals().join(key.name())
    }

    pub(super) fn documents(&self, collection: Collection) -> PathBuf {
        let mut path = self.root.clone();
        path.extend(collection.folders());
        path
    }

    pub fn document(&self, key: &DocumentKey) -> PathBuf {
        self.documents(key.collection).join(key.name.file_name())
    }

    pub(super) fn documents_lock(&self) -> PathBuf {
        self.root.join("documents.lock")
    }

    /// Every folder that is always there.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![
            self.stage(),
            self.attempts(),
            self.drafts(),
            self.sources(),
            self.journals(),
        ];
        folders.extend(Collection::ROOTS.map(|name| self.root.join(name)));
        folders
    }
}

/// The source whose archive a file of this name is; `None` if it is none of ours.
fn parse_source(file_name: &str) -> Option<SourceId> {
    let source: SourceId = file_name.parse().ok()?;
    source.is_ours().then_some(source)
}

/// The source that a file in the folder of a second belongs to, and the pin that it is, if it is not the archive;
/// `None` if it is none of ours.
pub(super) fn parse_entry(file_name: &str) -> Option<(SourceId, Option<Pin>)> {
    match file_name.split_once('.') {
        Some((source, pin)) => Some((parse_source(source)?, Some(pin.parse().ok()?))),
        None => Some((parse_source(file_name)?, None)),
    }
}

/// Is that the name of a file in the stage? Others are not ours to remove.
pub(super) fn is_staged(file_name: &str) -> bool {
    file_name.len() == 32 && hex::decode(file_name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source_expiring_at(ms: u64) -> SourceId {
        SourceId::mint(Timestamp::from_ms(ms), [1; 10])
    }

    #[test]
    fn a_folder_begins_and_ends_with_its_second() {
        let second = ExpirySecond::of(source_expiring_at(61_000));
        assert_eq!(second, ExpirySecond::of(source_expiring_at(61_999)));
        assert_ne!(second, ExpirySecond::of(source_expiring_at(62_000)));
        assert!(!second.has_begun(Timestamp::from_ms(60_999)));
        assert!(second.has_begun(Timestamp::from_ms(61_000)));
        assert!(!second.is_over(Timestamp::from_ms(61_999)));
        assert!(second.is_over(Timestamp::from_ms(62_000)));
        assert!(!second.minute().has_begun(Timestamp::from_ms(59_999)));
        assert!(second.minute().has_begun(Timestamp::from_ms(60_000)));
    }

    #[test]
    fn files_of_attempts_are_read_back_and_others_are_not_taken_for_them() {
        let source = source_expiring_at(1_700_000_059_000);
        let attempt = Attempt::from_bytes([0xab; 16]);
        for file in [AttemptFile::Bytes, AttemptFile::State] {
            let name = file.name(source, attempt);
            assert_eq!(AttemptFile::parse(&name), Some((source, attempt, file)));
        }
        for other in [
            source.to_string(),
            format!("{source}."),
            format!("{source}.{attempt}"),
            format!("{source}.{}.other", attempt.simple()),
            format!("x.{}", attempt.simple()),
        ] {
            assert_eq!(AttemptFile::parse(&other), None, "{other}");
        }
    }

    #[test]
    fn names_are_read_back_and_others_are_not_taken_for_them() {
        let second = ExpirySecond::of(source_expiring_at(1_700_000_059_000));
        let minute = second.minute();
        assert_eq!(Minute::parse(&minute.to_string()), Some(minute));
        let read_back = minute.parse_second(&second.to_string());
        assert_eq!(read_back, Some(second));
        for other in [
            "",
            "lost+found",
            "1b0",
            "+01b00000",
            "0000000001",
            "00000000G",
            "fffde0505050505e",
        ] {
            assert_eq!(Minute::parse(other), None, "{other}");
        }
        for other in ["", "1", "+1", "60", "001", "-1"] {
            assert_eq!(minute.parse_second(other), None, "{other}");
        }
    }
}
