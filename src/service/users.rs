//! Users: who may call the API. Each is a document, under an id made from the user's name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::store::{Collection, DocumentKey, Expected, Store, StoreError, Written};

pub const FIRST_USER: &str = "admin";
/// The longest name of a user or an API token, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// The longest e-mail address, in bytes: what mail can be sent to (RFC 5321, section 4.5.3.1.3, less the
/// angle brackets).
pub const MAX_EMAIL_BYTES: usize = 254;

/// The id of a user, made from their name: so a name exists once, and needs no index. Its text is `us-`
/// and a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(Uuid);

impl UserId {
    pub fn of(name: &str) -> Self {
        Self(uuid_of(&[b"waystation/user/v1\0", name.as_bytes()]))
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }

    /// The first bytes of the ids of this user's API tokens.
    pub(super) const fn prefix(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = *self.0.as_bytes();
        [a, b, c, d]
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "us-{}", self.0)
    }
}

impl FromStr for UserId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        let uuid = text.strip_prefix("us-").unwrap_or_default();
        Uuid::try_parse(uuid).map(Self)
    }
}

/// A user, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub name: String,
    /// Where they can be reached; may be empty.
    pub email: String,
    pub created_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name has 1 to {MAX_NAME_BYTES} bytes and no control characters; this one has {bytes} bytes"
)]
pub struct BadName {
    pub bytes: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error(transparent)]
    BadName(#[from] BadName),
    #[error(
        "an e-mail address has at most {MAX_EMAIL_BYTES} bytes and no control characters; this one has {bytes} bytes"
    )]
    BadEmail { bytes: usize },
    #[error("there is a user called {name} already")]
    Exists { name: String },
    #[error(
        "there is no user called {name}; 'waystation user list' shows who there is, 'waystation user add' makes one"
    )]
    UnknownName { name: String },
}

/// The users of a store. Clones are the same users.
#[derive(Clone, Debug)]
pub struct Users {
    store: Store,
}

impl Users {
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    pub async fn add(&self, name: &str, email: &str, now: Timestamp) -> Result<User, UserError> {
        check_name(name)?;
        check_email(email)?;
        let user = User {
            id: UserId::of(name),
            name: name.to_owned(),
            email: email.to_owned(),
            created_at: now,
        };
        let key = key(user.id);
        let write = self.store.write_document(&key, &user, Expected::Absent);
        match write.await? {
            Written::Done => Ok(user),
            Written::Conflict => Err(UserError::Exists { name: user.name }),
        }
    }

    /// Adds the first user, unless they are there.
    pub async fn ensure_first(&self, now: Timestamp) -> Result<(), UserError> {
        match self.add(FIRST_USER, "", now).await {
            Ok(_) | Err(UserError::Exists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// All users, the first added first.
    pub async fn list(&self) -> Result<Vec<User>, UserError> {
        let mut users: Vec<User> = self.store.read_documents(Collection::Users).await?;
        users.sort_by_key(|user| user.created_at);
        Ok(users)
    }

    pub async fn find(&self, name: &str) -> Result<User, UserError> {
        let found = self.get(UserId::of(name)).await?;
        found.ok_or_else(|| UserError::UnknownName {
            name: name.to_owned(),
        })
    }

    /// The user of that id; `None` if there is none, although a bearer may say so.
    pub async fn get(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let found = self.store.read_document(&key(id)).await?;
        Ok(found.map(|found| found.value))
    }
}

/// The UUID that is made from these bytes, and from no others.
pub(super) fn uuid_of(parts: &[&[u8]]) -> Uuid {
    let digest = Sha256::digest(parts.concat());
    let bytes = digest.first_chunk().expect("a SHA-256 is longer");
    uuid::Builder::from_custom_bytes(*bytes).into_uuid()
}

fn key(id: UserId) -> DocumentKey {
    Collection::Users.key(id.0.as_bytes())
}

/// Can a user or an API token be called `name`?
pub(super) fn check_name(name: &str) -> Result<(), BadName> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(BadName { bytes: name.len() });
    }
    Ok(())
}

/// There may be none.
fn check_email(email: &str) -> Result<(), UserError> {
    if email.len() > MAX_EMAIL_BYTES || email.chars().any(char::is_control) {
        return Err(UserError::BadEmail { bytes: email.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

    fn users() -> (tempfile::TempDir, Users) {
        let (folder, store) = Store::temporary();
        (folder, Users::new(store))
    }

    #[test]
    fn an_id_is_read_back() {
        let id = UserId::of("ada");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("ada".parse::<UserId>().is_err());
    }

    #[tokio::test]
    async fn a_user_exists_once() {
        let (_folder, users) = users();
        let ada = users.add("ada", "ada@example.com", NOW).await.unwrap();
        let refused = users.add("ada", "", NOW).await.unwrap_err();
        assert!(matches!(refused, UserError::Exists { .. }));
        let refused = users.find("bob").await.unwrap_err();
        assert!(refused.to_string().contains("bob"));
        assert_eq!(users.find("ada").await.unwrap(), ada);
        assert_eq!(users.get(ada.id).await.unwrap(), Some(ada));
    }

    #[tokio::test]
    async fn names_have_a_limit() {
        let (_folder, users) = users();
        for (bytes, is_good) in [(0, false), (1, true), (255, true), (256, false)] {
            let added = users.add(&"a".repeat(bytes), "", NOW).await;
            assert_eq!(added.is_ok(), is_good, "{bytes}");
        }
        assert!(users.add("a\nb", "", NOW).await.is_err());
    }

    #[tokio::test]
    async fn e_mail_addresses_have_a_limit() {
        let (_folder, users) = users();
        for (bytes, is_good) in [(0, true), (254, true), (255, false)] {
            // Written in JSON, each of these characters is two.
            let email = "\"".repeat(bytes);
            let added = users.add(&bytes.to_string(), &email, NOW).await;
            assert_eq!(added.is_ok(), is_good, "{bytes}");
        }
        assert!(users.add("ada", "a\nb", NOW).await.is_err());
        assert_eq!(users.list().await.unwrap().len(), 2);
    }
}
