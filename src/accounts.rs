//! Who may ask for sources: users and their API tokens, kept as small records in the store.
//!
//! An API token is `tk-us-` and 48 URL-safe characters: the id under which its record is found, and
//! a secret of which the record holds only the SHA-256. The secret has 192 random bits, so a slow
//! hash would add nothing. A token is read from the store each time it is used: a new one works, and
//! a revoked one fails, at once.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::store::{RecordCreation, RecordDeletion, RecordKind, RecordName, Store, StoreError};

/// The user that the first start makes.
pub const FIRST_USER: &str = "admin";
/// The name of the token that the first start makes.
const FIRST_TOKEN: &str = "first start";
const PREFIX: &str = "tk-us-";
const ID_BYTES: usize = 12;
const SECRET_BYTES: usize = 24;
/// The longest name of a user or a token, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// The id of a user, made from its name: so a name exists once, and needs no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserId(Uuid);

impl UserId {
    fn of(name: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(b"waystation/user/v1\0")
            .chain_update(name)
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    fn record(self) -> RecordName {
        RecordName::from_bytes(self.0.as_bytes())
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "us-{}", self.0)
    }
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// What it is called.
    pub name: String,
    /// Where its owner can be reached; may be empty.
    pub email: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The public id of an API token: 24 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId([u8; ID_BYTES]);

impl TokenId {
    fn record(self) -> RecordName {
        RecordName::from_bytes(&self.0)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.to_string()
    }
}

impl FromStr for TokenId {
    type Err = AccountError;

    fn from_str(text: &str) -> Result<Self, AccountError> {
        let mut bytes = [0; ID_BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| AccountError::NotATokenId)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for TokenId {
    type Error = AccountError;

    fn try_from(text: String) -> Result<Self, AccountError> {
        text.parse()
    }
}

/// What is kept of an API token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// Its public id.
    pub id: TokenId,
    /// What its owner calls it.
    pub name: String,
    /// Whose it is.
    pub user: UserId,
    /// When it was made.
    pub created_at: Timestamp,
    /// SHA-256 of its secret bytes, in hex.
    secret_sha256: String,
}

/// What goes wrong with accounts.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A record cannot be read back.
    #[error("the record {record} is corrupt")]
    Corrupt {
        /// Which.
        record: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The system has no randomness to give.
    #[error("no randomness for a new API token")]
    NoRandomness(#[source] getrandom::Error),
    /// A name that cannot be one.
    #[error(
        "a name has 1 to {MAX_NAME_BYTES} bytes and no control characters; this one has {bytes} bytes"
    )]
    BadName {
        /// Its length.
        bytes: usize,
    },
    /// There is one of that name.
    #[error("there is a user called {name} already")]
    UserExists {
        /// The name.
        name: String,
    },
    /// There is none of that name.
    #[error(
        "there is no user called {name}; 'waystation user list' shows who there is, 'waystation user add' makes one"
    )]
    UnknownUser {
        /// The name.
        name: String,
    },
    /// A text that is no token's id.
    #[error("a token's id has 24 hex digits; 'waystation token list' shows them")]
    NotATokenId,
    /// There is no token of that id.
    #[error("there is no API token {id}; 'waystation token list' shows them")]
    UnknownTokenId {
        /// The id.
        id: TokenId,
    },
}

/// Why a bearer is not let in.
#[derive(Debug, thiserror::Error)]
pub enum BearerError {
    /// It has not the form of an API token.
    #[error("it is malformed")]
    Malformed,
    /// No such token exists, or not any more.
    #[error("it is unknown")]
    Unknown,
    /// It could not be looked up.
    #[error("it could not be looked up")]
    Account(#[from] AccountError),
}

/// The accounts of a store.
#[derive(Clone, Debug)]
pub struct Accounts {
    store: Store,
}

impl Accounts {
    /// Those kept in `store`.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    /// Makes the first user and, on a store without any API token, one for that user. What is there
    /// already stays, so a first start that was cut short is made good by the next.
    pub async fn make_first(&self, now: Timestamp) -> Result<Option<Secret>, AccountError> {
        self.ensure_first_user(now).await?;
        let tokens = self.store.list_records(RecordKind::ApiTokens).await?;
        if !tokens.is_empty() {
            return Ok(None);
        }
        let (_, secret) = self.create_token(FIRST_TOKEN, FIRST_USER, now).await?;
        Ok(Some(secret))
    }

    /// Sees to it that the first user is there.
    pub async fn ensure_first_user(&self, now: Timestamp) -> Result<(), AccountError> {
        match self.add_user(FIRST_USER, "", now).await {
            Ok(_) | Err(AccountError::UserExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a user.
    pub async fn add_user(
        &self,
        name: &str,
        email: &str,
        now: Timestamp,
    ) -> Result<User, AccountError> {
        check_name(name)?;
        let user = User {
            id: UserId::of(name),
            name: name.to_owned(),
            email: email.to_owned(),
            created_at: now,
        };
        let record = user.id.record();
        let content = encode(&user);
        match self
            .store
            .create_record(RecordKind::Users, &record, content)
            .await?
        {
            RecordCreation::Created => Ok(user),
            RecordCreation::Exists => Err(AccountError::UserExists {
                name: name.to_owned(),
            }),
        }
    }

    /// All users, the first made first.
    pub async fn list_users(&self) -> Result<Vec<User>, AccountError> {
        let mut users: Vec<User> = self.list(RecordKind::Users).await?;
        users.sort_by_key(|user| user.created_at);
        Ok(users)
    }

    /// Makes an API token for the user called `user`. This is the only time that its secret is seen.
    pub async fn create_token(
        &self,
        name: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<(ApiToken, Secret), AccountError> {
        check_name(name)?;
        let unknown_user = || AccountError::UnknownUser {
            name: user.to_owned(),
        };
        let owner: User = self
            .read(RecordKind::Users, &UserId::of(user).record())
            .await?
            .ok_or_else(unknown_user)?;
        let (id, secret, text) = new_token()?;
        let token = ApiToken {
            id,
            name: name.to_owned(),
            user: owner.id,
            created_at: now,
            secret_sha256: hash(&secret),
        };
        self.store
            .replace_record(RecordKind::ApiTokens, &id.record(), encode(&token))
            .await?;
        Ok((token, text))
    }

    /// All API tokens, the first made first.
    pub async fn list_tokens(&self) -> Result<Vec<ApiToken>, AccountError> {
        let mut tokens: Vec<ApiToken> = self.list(RecordKind::ApiTokens).await?;
        tokens.sort_by_key(|token| token.created_at);
        Ok(tokens)
    }

    /// Deletes an API token.
    pub async fn revoke_token(&self, id: TokenId) -> Result<(), AccountError> {
        match self
            .store
            .delete_record(RecordKind::ApiTokens, &id.record())
            .await?
        {
            RecordDeletion::Deleted => Ok(()),
            RecordDeletion::Missing => Err(AccountError::UnknownTokenId { id }),
        }
    }

    /// The token that a bearer is.
    pub async fn verify_bearer(&self, bearer: &str) -> Result<ApiToken, BearerError> {
        let (id, secret) = parse_token(bearer).ok_or(BearerError::Malformed)?;
        let token: ApiToken = self
            .read(RecordKind::ApiTokens, &id.record())
            .await?
            .ok_or(BearerError::Unknown)?;
        let is_right = hash(&secret)
            .as_bytes()
            .ct_eq(token.secret_sha256.as_bytes());
        if bool::from(is_right) {
            Ok(token)
        } else {
            Err(BearerError::Unknown)
        }
    }

    async fn list<T: for<'de> Deserialize<'de>>(
        &self,
        kind: RecordKind,
    ) -> Result<Vec<T>, AccountError> {
        let mut items = Vec::new();
        for name in self.store.list_records(kind).await? {
            items.extend(self.read(kind, &name).await?);
        }
        Ok(items)
    }

    async fn read<T: for<'de> Deserialize<'de>>(
        &self,
        kind: RecordKind,
        name: &RecordName,
    ) -> Result<Option<T>, AccountError> {
        let Some(content) = self.store.read_record(kind, name).await? else {
            return Ok(None);
        };
        serde_json::from_slice(&content)
            .map(Some)
            .map_err(|source| AccountError::Corrupt {
                record: name.as_str().to_owned(),
                source,
            })
    }
}

fn encode(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(record).expect("records are plain structs with text keys")
}

fn check_name(name: &str) -> Result<(), AccountError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(AccountError::BadName { bytes: name.len() });
    }
    Ok(())
}

fn new_token() -> Result<(TokenId, [u8; SECRET_BYTES], Secret), AccountError> {
    let mut bytes = [0; ID_BYTES + SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(AccountError::NoRandomness)?;
    let (id, secret) = split(&bytes);
    let text = Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)));
    Ok((id, secret, text))
}

fn parse_token(text: &str) -> Option<(TokenId, [u8; SECRET_BYTES])> {
    let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
    bytes.as_slice().try_into().ok().map(split)
}

fn split(bytes: &[u8; ID_BYTES + SECRET_BYTES]) -> (TokenId, [u8; SECRET_BYTES]) {
    let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
    id.copy_from_slice(&bytes[..ID_BYTES]);
    secret.copy_from_slice(&bytes[ID_BYTES..]);
    (TokenId(id), secret)
}

fn hash(secret: &[u8; SECRET_BYTES]) -> String {
    hex::encode(Sha256::digest(secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DiskStore;
    use crate::store::disk::Sync;

    const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

    fn accounts() -> (tempfile::TempDir, Accounts) {
        let folder = tempfile::tempdir().unwrap();
        let store = DiskStore::open(folder.path().to_owned(), Sync::Off, 0).unwrap();
        (folder, Accounts::new(Store::Disk(store)))
    }

    #[tokio::test]
    async fn the_first_start_makes_a_user_and_a_token_and_the_second_nothing() {
        let (_folder, accounts) = accounts();
        let secret = accounts.make_first(NOW).await.unwrap().unwrap();
        assert!(secret.reveal().starts_with("tk-us-"));
        assert_eq!(secret.reveal().len(), "tk-us-".len() + 48);
        assert!(accounts.make_first(NOW).await.unwrap().is_none());
        assert_eq!(accounts.list_users().await.unwrap()[0].name, "admin");
    }

    #[tokio::test]
    async fn only_the_right_secret_is_let_in_until_it_is_revoked() {
        let (_folder, accounts) = accounts();
        let secret = accounts.make_first(NOW).await.unwrap().unwrap();
        let token = accounts.verify_bearer(secret.reveal()).await.unwrap();

        let mut changed = secret.reveal().to_owned();
        let last = if changed.ends_with('A') { "E" } else { "A" };
        changed.replace_range(changed.len() - 1.., last);
        let refused = accounts.verify_bearer(&changed).await.unwrap_err();
        assert!(matches!(refused, BearerError::Unknown));

        accounts.revoke_token(token.id).await.unwrap();
        let refused = accounts.verify_bearer(secret.reveal()).await.unwrap_err();
        assert!(matches!(refused, BearerError::Unknown));
        let refused = accounts.revoke_token(token.id).await.unwrap_err();
        assert!(matches!(refused, AccountError::UnknownTokenId { .. }));
    }

    #[tokio::test]
    async fn the_store_holds_no_secret() {
        let (folder, accounts) = accounts();
        let secret = accounts.make_first(NOW).await.unwrap().unwrap();
        let (_, bytes) = parse_token(secret.reveal()).unwrap();
        for entry in std::fs::read_dir(folder.path().join("tokens")).unwrap() {
            let record = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(!record.contains(secret.reveal()));
            assert!(!record.contains(&hex::encode(bytes)));
            assert!(!record.contains(&URL_SAFE_NO_PAD.encode(bytes)));
        }
    }

    #[tokio::test]
    async fn a_user_exists_once_and_tokens_need_one() {
        let (_folder, accounts) = accounts();
        accounts
            .add_user("ada", "ada@example.com", NOW)
            .await
            .unwrap();
        let refused = accounts.add_user("ada", "", NOW).await.unwrap_err();
        assert!(matches!(refused, AccountError::UserExists { .. }));
        let refused = accounts.create_token("ci", "bob", NOW).await.unwrap_err();
        assert!(refused.to_string().contains("bob"));
        accounts.create_token("ci", "ada", NOW).await.unwrap();
    }

    #[tokio::test]
    async fn names_have_an_end() {
        let (_folder, accounts) = accounts();
        for (bytes, is_good) in [(0, false), (1, true), (255, true), (256, false)] {
            let added = accounts.add_user(&"a".repeat(bytes), "", NOW).await;
            assert_eq!(added.is_ok(), is_good, "{bytes}");
        }
        assert!(accounts.add_user("a\nb", "", NOW).await.is_err());
    }

    #[test]
    fn texts_that_are_no_tokens_are_malformed() {
        for text in [
            "",
            "tk-us-",
            "tk-us-abc",
            &format!("tk-us-{}", "a".repeat(47)),
            &format!("tk-us-{}", "=".repeat(48)),
            &"a".repeat(54),
        ] {
            assert!(parse_token(text).is_none(), "{text}");
        }
    }
}
