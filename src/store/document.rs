//! What a document is: a small value under a name of ours, with a version. Pure.

use std::fmt;

use object_store::UpdateVersion;

use super::error::{Result, StoreError};

pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// Documents that are listed together, and apart from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    Users,
    /// API tokens of the users whose ids begin with these bytes: mostly of one.
    ApiTokens([u8; 4]),
    /// Applications of the users whose ids begin with these bytes: mostly of one.
    Apps([u8; 4]),
    /// Which application has which name, of all users.
    AppNames,
    /// The variables of the application of that id.
    Variables([u8; 16]),
    /// What the user of that id has done.
    Events([u8; 16]),
    /// What is known of the deployments of an application.
    Deployments([u8; 16]),
    /// Deployments that something is left to do for.
    Queue,
}

impl Collection {
    /// The document in it that is named by these bytes.
    pub fn key(self, name: &[u8]) -> DocumentKey {
        DocumentKey {
            collection: self,
            name: DocumentName::from_bytes(name),
        }
    }

    /// The folders at the root of a store in which collections are.
    pub(super) const ROOTS: [&str; 8] = [
        "users",
        "tokens",
        "apps",
        "app-names",
        "variables",
        "events",
        "deployments",
        "queue",
    ];

    /// Which of these, and the bytes that name the collection's own folder in it, if it has one.
    const fn place(&self) -> (&'static str, &[u8]) {
        match self {
            Self::Users => ("users", &[]),
            Self::ApiTokens(owner) => ("tokens", owner),
            Self::Apps(owner) => ("apps", owner),
            Self::AppNames => ("app-names", &[]),
            Self::Variables(app) => ("variables", app),
            Self::Events(user) => ("events", user),
            Self::Deployments(app) => ("deployments", app),
            Self::Queue => ("queue", &[]),
        }
    }

    /// The names of its folders, from the root of the store.
    pub(super) fn folders(self) -> Vec<String> {
        let (root, parent) = self.place();
        let mut folders = vec![root.to_owned()];
        if !parent.is_empty() {
            folders.push(hex::encode(parent));
        }
        folders
    }
}

/// The name of a document in its collection: lower-case hex digits, made from bytes of ours, so that no
/// text of a client ever becomes part of a path or key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DocumentName(String);

impl DocumentName {
    /// The name for an id of some bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(hex::encode(bytes))
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        hex::decode(&self.0).expect("a name is made of bytes")
    }

    pub(super) fn file_name(&self) -> String {
        format!("{}.json", self.0)
    }

    /// The document that a file or key of this name holds; `None` if it was not named here.
    pub fn parse(file_name: &str) -> Option<Self> {
        let digits = file_name.strip_suffix(".json")?;
        let name = Self::from_bytes(&hex::decode(digits).ok()?);
        (name.0 == digits).then_some(name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentKey {
    pub collection: Collection,
    pub name: DocumentName,
}

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for folder in self.collection.folders() {
            write!(f, "{folder}/")?;
        }
        f.write_str(&self.name.file_name())
    }
}

/// Which content a document has: whoever replaces it has to name what they have read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub(super) UpdateVersion);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    pub value: T,
    pub version: Version,
}

/// What has to be there for a document to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    Absent,
    Version(Version),
}

/// How writing a document ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is there, durably.
    Done,
    /// What is there is not what was expected, and is unchanged.
    Conflict,
}

/// How changing a document ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated<T> {
    /// It is this now, durably.
    Done(T),
    /// There is none, and none was made.
    Missing,
    /// It was not to be changed as it is.
    Declined,
}

pub(super) const fn check_length(bytes: usize) -> Result<()> {
    if bytes > MAX_DOCUMENT_BYTES {
        return Err(StoreError::DocumentTooLong {
            bytes,
            limit_bytes: MAX_DOCUMENT_BYTES,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_no_other_spelling_of_it() {
        let name = DocumentName::from_bytes(&[0xab, 0xcd]);
        assert_eq!(name.to_bytes(), [0xab, 0xcd]);
        assert_eq!(DocumentName::parse(&name.file_name()), Some(name));
        for other in ["", "a.json", "AB.json", "ab", "../ab.json", "ab.json.json"] {
            assert_eq!(DocumentName::parse(other), None, "{other}");
        }
    }
}
