//! What accounts are: users and API tokens, and how a token is spelled. Pure.
//!
//! An API token is `tk-us-` and 48 URL-safe characters: the id under which its record is found, and
//! a secret of which the record holds only the SHA-256. The secret has 192 random bits, so a slow
//! hash would add nothing.

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

/// The user that the first start makes.
pub const FIRST_USER: &str = "admin";
/// What every API token begins with.
pub const API_TOKEN_PREFIX: &str = "tk-us-";
const ID_BYTES: usize = 12;
const SECRET_BYTES: usize = 24;
/// How many random bytes a new API token is made of.
pub const API_TOKEN_BYTES: usize = ID_BYTES + SECRET_BYTES;
/// The longest name of a user or a token, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// The longest e-mail address, in bytes: what mail can be sent to (RFC 5321, section 4.5.3.1.3, less the
/// angle brackets).
pub const MAX_EMAIL_BYTES: usize = 254;

/// The id of a user, made from its name: so a name exists once, and needs no index. Its text is `us-`
/// and a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(Uuid);

impl UserId {
    /// The id of the user called `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(b"waystation/user/v1\0")
            .chain_update(name)
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The UUID alone.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "us-{}", self.0)
    }
}

/// A text that is no user's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a user's id is 'us-' and a UUID")]
pub struct NotAUserId;

impl FromStr for UserId {
    type Err = NotAUserId;

    fn from_str(text: &str) -> Result<Self, NotAUserId> {
        let uuid = text.strip_prefix("us-").ok_or(NotAUserId)?;
        Uuid::try_parse(uuid).map(Self).map_err(|_| NotAUserId)
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId([u8; ID_BYTES]);

impl TokenId {
    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
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

/// A text that is no token's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token's id has 24 hex digits; 'waystation token list' shows them")]
pub struct NotATokenId;

impl FromStr for TokenId {
    type Err = NotATokenId;

    fn from_str(text: &str) -> Result<Self, NotATokenId> {
        let mut bytes = [0; ID_BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotATokenId)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for TokenId {
    type Error = NotATokenId;

    fn try_from(text: String) -> Result<Self, NotATokenId> {
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

impl ApiToken {
    /// A new token made of `random`, and its text: the only time that its secret is seen.
    #[must_use]
    pub fn new(
        name: &str,
        user: UserId,
        created_at: Timestamp,
        random: [u8; API_TOKEN_BYTES],
    ) -> (Self, Secret) {
        let (id, secret) = split(&random);
        let token = Self {
            id,
            name: name.to_owned(),
            user,
            created_at,
            secret_sha256: hash(&secret),
        };
        (token, text_of(&random))
    }

    /// The same token with another secret: the old text opens nothing any more.
    #[must_use]
    pub fn renewed(mut self, random: [u8; API_TOKEN_BYTES]) -> (Self, Secret) {
        let (_, secret) = split(&random);
        self.secret_sha256 = hash(&secret);
        let mut bytes = random;
        bytes[..ID_BYTES].copy_from_slice(&self.id.0);
        (self, text_of(&bytes))
    }

    /// Is `secret` its secret? In constant time.
    #[must_use]
    pub fn has_secret(&self, secret: &TokenSecret) -> bool {
        let sent = hash(&secret.0);
        sent.as_bytes().ct_eq(self.secret_sha256.as_bytes()).into()
    }
}

/// The secret half of an API token.
pub struct TokenSecret([u8; SECRET_BYTES]);

/// Reads the text of an API token; `None` if it has not the form of one.
#[must_use]
pub fn parse_api_token(text: &str) -> Option<(TokenId, TokenSecret)> {
    let encoded = text.strip_prefix(API_TOKEN_PREFIX)?;
    let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    let (id, secret) = split(bytes.as_slice().try_into().ok()?);
    Some((id, TokenSecret(secret)))
}

fn text_of(bytes: &[u8; API_TOKEN_BYTES]) -> Secret {
    let encoded = URL_SAFE_NO_PAD.encode(bytes);
    Secret::new(format!("{API_TOKEN_PREFIX}{encoded}"))
}

fn split(bytes: &[u8; API_TOKEN_BYTES]) -> (TokenId, [u8; SECRET_BYTES]) {
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

    const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

    fn secret_of(text: &Secret) -> TokenSecret {
        parse_api_token(text.reveal()).unwrap().1
    }

    #[test]
    fn a_token_is_found_by_its_id_and_opened_by_its_secret_only() {
        let user = UserId::of("ada");
        let (token, text) = ApiToken::new("ci", user, NOW, [7; API_TOKEN_BYTES]);
        let (_, other) = ApiToken::new("ci", user, NOW, [8; API_TOKEN_BYTES]);
        assert_eq!(text.reveal().len(), "tk-us-".len() + 48);
        assert_eq!(parse_api_token(text.reveal()).unwrap().0, token.id);
        assert!(token.has_secret(&secret_of(&text)));
        assert!(!token.has_secret(&secret_of(&other)));
    }

    #[test]
    fn a_renewed_token_keeps_its_id_and_changes_its_secret() {
        let (token, old) = ApiToken::new("ci", UserId::of("ada"), NOW, [7; API_TOKEN_BYTES]);
        let id = token.id;
        let (token, new) = token.renewed([9; API_TOKEN_BYTES]);
        assert_eq!(token.id, id);
        assert_eq!(parse_api_token(new.reveal()).unwrap().0, id);
        assert!(token.has_secret(&secret_of(&new)));
        assert!(!token.has_secret(&secret_of(&old)));
    }

    #[test]
    fn texts_that_are_no_tokens_are_not_read() {
        for text in [
            "",
            "tk-us-",
            "tk-us-abc",
            &format!("tk-us-{}", "a".repeat(47)),
            &format!("tk-us-{}", "=".repeat(48)),
            &"a".repeat(54),
        ] {
            assert!(parse_api_token(text).is_none(), "{text}");
        }
    }

    #[test]
    fn ids_are_read_back() {
        let user = UserId::of("ada");
        assert_eq!(user.to_string().parse(), Ok(user));
        assert_eq!("ada".parse::<UserId>(), Err(NotAUserId));
        assert_eq!("00".parse::<TokenId>(), Err(NotATokenId));
    }
}
