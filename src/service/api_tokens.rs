//! API tokens: how they are spelled, kept, checked, renewed and revoked.
//!
//! A token is `tk-us-` and 48 URL-safe characters: the id of its document, and a secret of which the
//! document holds only the SHA-256. The secret has 192 random bits, so a slow hash would add nothing. The
//! id begins like that of the owner, so that a user's tokens are listed without those of others.
//!
//! A token is read from the store each time it is used, so that a new one works, and a revoked one fails,
//! at once and on every server.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng as _;
use rand::rngs::{SysError, SysRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::clock::Timestamp;
use crate::error_chain::chain;
use crate::mutex::lock;
use crate::secret::Secret;
use crate::service::users::{BadName, FIRST_USER, UserId, check_name};
use crate::store::{
    Collection, DocumentKey, Expected, Store, StoreError, Updated, Versioned, Written,
};

pub const API_TOKEN_PREFIX: &str = "tk-us-";
/// How many API tokens a user may make over the API.
pub const MAX_API_TOKENS: usize = 100;
/// How exactly it is kept when a token was last used.
const USE_GRAIN: Duration = Duration::from_mins(1);
/// How many uses are written at once; others wait for the next use of their token.
const MAX_USES_IN_FLIGHT: usize = 16;

const OWNER_BYTES: usize = 4;
const ID_BYTES: usize = 12;
const SECRET_BYTES: usize = 24;

/// The public id of an API token: 24 hex digits, of which the first eight are those of its owner's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TokenId(#[serde(with = "hex::serde")] [u8; ID_BYTES]);

impl TokenId {
    fn new(owner: UserId, random: [u8; ID_BYTES - OWNER_BYTES]) -> Self {
        let mut bytes = [0; ID_BYTES];
        bytes[..OWNER_BYTES].copy_from_slice(&owner.prefix());
        bytes[OWNER_BYTES..].copy_from_slice(&random);
        Self(bytes)
    }

    fn key(self) -> DocumentKey {
        let [a, b, c, d, ..] = self.0;
        Collection::ApiTokens([a, b, c, d]).key(&self.0)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

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

/// The secret half of an API token.
pub struct TokenSecret([u8; SECRET_BYTES]);

impl TokenSecret {
    fn new() -> Result<Self, ApiTokenError> {
        let mut bytes = [0; SECRET_BYTES];
        let filled = SysRng.try_fill_bytes(&mut bytes);
        filled.map_err(ApiTokenError::NoRandomness)?;
        Ok(Self(bytes))
    }

    fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

/// Tells the secrets apart that an API token has had, and gives none of them away: the beginning of the
/// SHA-256 of 192 random bits.
pub type SecretTag = [u8; 8];

/// Reads the text of an API token; `None` if it has not the form of one.
pub fn parse_api_token(text: &str) -> Option<(TokenId, TokenSecret)> {
    let encoded = text.strip_prefix(API_TOKEN_PREFIX)?;
    let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    let (id, secret) = bytes.split_at_checked(ID_BYTES)?;
    Some((
        TokenId(id.try_into().ok()?),
        TokenSecret(secret.try_into().ok()?),
    ))
}

pub fn spell_api_token(id: TokenId, secret: &TokenSecret) -> Secret {
    let encoded = URL_SAFE_NO_PAD.encode([id.0.as_slice(), &secret.0].concat());
    Secret::new(format!("{API_TOKEN_PREFIX}{encoded}"))
}

/// What an API token opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// Every call of its user. A token of an earlier version says no kind, and is of this one.
    #[default]
    User,
    /// The claims of a runner, which are of the deployments of all users; and nothing else.
    Runner,
}

impl TokenKind {
    /// As lists show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Runner => "runner",
        }
    }
}

/// An API token, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    pub id: TokenId,
    pub name: String,
    #[serde(default)]
    pub kind: TokenKind,
    /// Whose it is. A runner's is the operator's, who is the first user.
    pub user: UserId,
    pub created_at: Timestamp,
    /// When it was last used, to the minute; `None` if it never was.
    pub last_used_at: Option<Timestamp>,
    #[serde(with = "hex::serde")]
    secret_sha256: [u8; 32],
}

impl ApiToken {
    /// Is `secret` its secret? In constant time.
    fn has_secret(&self, secret: &TokenSecret) -> bool {
        secret.sha256().ct_eq(&self.secret_sha256).into()
    }

    /// Which secret it has now.
    pub fn secret_tag(&self) -> SecretTag {
        let tag = self.secret_sha256.first_chunk();
        *tag.expect("a tag is shorter than a SHA-256")
    }

    /// Is what is known of its use older than it is to be?
    fn is_use_due(&self, now: Timestamp) -> bool {
        self.last_used_at
            .is_none_or(|last| now < last || now.since(last) >= USE_GRAIN)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ApiTokenError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("no random bytes for a new API token")]
    NoRandomness(#[source] SysError),
    #[error(transparent)]
    BadName(#[from] BadName),
    #[error("a user has at most {MAX_API_TOKENS} API tokens")]
    TooMany,
    /// There is no token of that id, or it is not for the one who asks to see.
    #[error("there is no API token {id}; 'waystation token list' shows them")]
    UnknownId { id: TokenId },
    #[error("the API token {id} was renewed at the same time")]
    RenewedMeanwhile { id: TokenId },
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("it is malformed")]
    Malformed,
    #[error("it is unknown")]
    Unknown,
    #[error("it could not be looked up")]
    Store(#[from] StoreError),
}

/// The API tokens of a store. Clones are the same tokens.
#[derive(Clone, Debug)]
pub struct ApiTokens {
    store: Store,
    /// Held while tokens are counted and one is added.
    making: Arc<tokio::sync::Mutex<()>>,
    /// The tokens whose use is being written.
    uses_in_flight: Arc<Mutex<HashSet<TokenId>>>,
}

impl ApiTokens {
    pub fn new(store: Store) -> Self {
        Self {
            store,
            making: Arc::default(),
            uses_in_flight: Arc::default(),
        }
    }

    /// Makes an API token of a user. This is the only time that its secret is seen.
    pub async fn create(
        &self,
        name: &str,
        user: UserId,
        now: Timestamp,
    ) -> Result<(ApiToken, Secret), ApiTokenError> {
        self.create_one(name, TokenKind::User, user, now).await
    }

    /// Makes an API token for runners.
    pub async fn create_for_runners(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<(ApiToken, Secret), ApiTokenError> {
        let operator = UserId::of(FIRST_USER);
        self.create_one(name, TokenKind::Runner, operator, now)
            .await
    }

    async fn create_one(
        &self,
        name: &str,
        kind: TokenKind,
        user: UserId,
        now: Timestamp,
    ) -> Result<(ApiToken, Secret), ApiTokenError> {
        check_name(name)?;
        let secret = TokenSecret::new()?;
        let token = ApiToken {
            id: TokenId::new(user, rand::random()),
            name: name.to_owned(),
            kind,
            user,
            created_at: now,
            last_used_at: None,
            secret_sha256: secret.sha256(),
        };
        let (id, key) = (token.id, token.id.key());
        let write = self.store.write_document(&key, &token, Expected::Absent);
        match write.await? {
            Written::Done => Ok((token, spell_api_token(id, &secret))),
            // 64 random bits do not come twice: the store is not to be trusted here.
            Written::Conflict => Err(StoreError::Contended.into()),
        }
    }

    /// Makes one more API token for a user who asks for it, unless they have enough.
    pub async fn create_another(
        &self,
        name: &str,
        user: UserId,
        now: Timestamp,
    ) -> Result<(ApiToken, Secret), ApiTokenError> {
        let _turn = self.making.lock().await;
        if self.list(user).await?.len() >= MAX_API_TOKENS {
            return Err(ApiTokenError::TooMany);
        }
        let made = self.create(name, user, now).await?;
        // Another server may have made one meanwhile.
        if self.list(user).await?.len() > MAX_API_TOKENS {
            self.store.delete_document(&made.0.id.key()).await?;
            return Err(ApiTokenError::TooMany);
        }
        Ok(made)
    }

    /// The API tokens of a user, the first made first; those for runners are the operator's business.
    pub async fn list(&self, user: UserId) -> Result<Vec<ApiToken>, StoreError> {
        let mut tokens = self.list_all(user).await?;
        tokens.retain(|token| token.kind == TokenKind::User);
        Ok(tokens)
    }

    /// The same, and those for runners.
    pub async fn list_all(&self, user: UserId) -> Result<Vec<ApiToken>, StoreError> {
        let collection = Collection::ApiTokens(user.prefix());
        let mut tokens: Vec<ApiToken> = self.store.read_documents(collection).await?;
        tokens.retain(|token| token.user == user);
        tokens.sort_by_key(|token| token.created_at);
        Ok(tokens)
    }

    /// The API token `id`, if there is one and it is of `user`. One for runners is found by nobody: who renewed it
    /// would learn its secret.
    pub async fn find(&self, user: UserId, id: TokenId) -> Result<Option<ApiToken>, StoreError> {
        let token = self.read(id).await?.map(|found| found.value);
        Ok(token.filter(|token| token.user == user && token.kind == TokenKind::User))
    }

    async fn read(&self, id: TokenId) -> Result<Option<Versioned<ApiToken>>, StoreError> {
        self.store.read_document(&id.key()).await
    }

    async fn get(&self, user: UserId, id: TokenId) -> Result<ApiToken, ApiTokenError> {
        let found = self.find(user, id).await?;
        found.ok_or(ApiTokenError::UnknownId { id })
    }

    /// Deletes an API token, whose ever it is.
    pub async fn revoke(&self, id: TokenId) -> Result<(), ApiTokenError> {
        if self.read(id).await?.is_none() {
            return Err(ApiTokenError::UnknownId { id });
        }
        Ok(self.store.delete_document(&id.key()).await?)
    }

    /// Deletes an API token of `user`, and returns what it was.
    pub async fn revoke_own(&self, user: UserId, id: TokenId) -> Result<ApiToken, ApiTokenError> {
        let token = self.get(user, id).await?;
        self.store.delete_document(&id.key()).await?;
        Ok(token)
    }

    /// Gives an API token of `user` a new secret. The old one opens nothing from now on. Of two who do so
    /// at once, one does, and the other learns it.
    pub async fn renew(
        &self,
        user: UserId,
        id: TokenId,
    ) -> Result<(ApiToken, Secret), ApiTokenError> {
        let seen = self.get(user, id).await?.secret_sha256;
        let secret = TokenSecret::new()?;
        let secret_sha256 = secret.sha256();
        // A use that is noted meanwhile changes the token too, but not its secret.
        let renew = |token: ApiToken| {
            (token.secret_sha256 == seen).then_some(ApiToken {
                secret_sha256,
                ..token
            })
        };
        match self.store.update_document(&id.key(), renew).await? {
            Updated::Done(token) => Ok((token, spell_api_token(id, &secret))),
            Updated::Missing => Err(ApiTokenError::UnknownId { id }),
            Updated::Declined => Err(ApiTokenError::RenewedMeanwhile { id }),
        }
    }

    /// The token whose text this is. Its use is noted.
    pub async fn verify(&self, text: &str, now: Timestamp) -> Result<ApiToken, VerifyError> {
        let (id, secret) = parse_api_token(text).ok_or(VerifyError::Malformed)?;
        match self.read(id).await? {
            Some(found) if found.value.has_secret(&secret) => {
                let token = found.value.clone();
                self.note_use(found, now);
                Ok(token)
            }
            Some(_) | None => Err(VerifyError::Unknown),
        }
    }

    /// Writes that a token was used, if that has not been written for a minute. Nobody waits for it, and
    /// where it fails, or another wrote meanwhile, the next use is written. One that is revoked meanwhile
    /// does not come back.
    fn note_use(&self, found: Versioned<ApiToken>, now: Timestamp) {
        let (id, expected) = (found.value.id, Expected::Version(found.version));
        if !found.value.is_use_due(now) || !self.begin_use(id) {
            return;
        }
        let token = ApiToken {
            last_used_at: Some(now),
            ..found.value
        };
        let tokens = self.clone();
        tokio::spawn(async move {
            let (store, key) = (&tokens.store, id.key());
            if let Err(error) = store.write_document(&key, &token, expected).await {
                tracing::warn!(error = chain(&error), token = %id, "the use of an API token was not recorded");
            }
            lock(&tokens.uses_in_flight).remove(&id);
        });
    }

    fn begin_use(&self, id: TokenId) -> bool {
        let mut uses = lock(&self.uses_in_flight);
        uses.len() < MAX_USES_IN_FLIGHT && uses.insert(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

    fn tokens() -> (tempfile::TempDir, ApiTokens) {
        let (folder, store) = Store::temporary();
        (folder, ApiTokens::new(store))
    }

    #[test]
    fn texts_that_are_no_tokens_are_not_read() {
        for text in [
            "",
            "tk-us-",
            "tk-us-abc",
            &format!("tk-us-{}", "a".repeat(47)),
            &format!("tk-us-{}", "a".repeat(52)),
            &format!("tk-us-{}", "=".repeat(48)),
            &"a".repeat(54),
        ] {
            assert!(parse_api_token(text).is_none(), "{text}");
        }
        assert_eq!("00".parse::<TokenId>(), Err(NotATokenId));
    }

    #[tokio::test]
    async fn the_store_holds_no_secret() {
        let (folder, tokens) = tokens();
        let (token, secret) = tokens.create("ci", UserId::of("ada"), NOW).await.unwrap();
        let half = &secret.reveal()[secret.reveal().len() - 32..];
        let owner = folder
            .path()
            .join("tokens")
            .join(&token.id.to_string()[..8]);
        let document = owner.join(format!("{}.json", token.id));
        let document = std::fs::read_to_string(document).unwrap();
        assert!(document.contains("secret_sha256") && !document.contains(half));
    }

    #[tokio::test]
    async fn users_whose_ids_begin_alike_do_not_see_each_others_tokens() {
        let (_folder, tokens) = tokens();
        let ada = UserId::of("ada");
        let mut other = *ada.as_uuid().as_bytes();
        other[15] ^= 1;
        let other = format!("us-{}", uuid::Uuid::from_bytes(other));
        let other: UserId = other.parse().unwrap();
        let (token, _) = tokens.create("ci", ada, NOW).await.unwrap();
        let (others, _) = tokens.create("ci", other, NOW).await.unwrap();
        assert_eq!(tokens.list(ada).await.unwrap(), [token]);
        assert!(tokens.renew(ada, others.id).await.is_err());
    }

    #[tokio::test]
    async fn of_many_made_at_once_no_more_stay_than_a_user_may_have() {
        let (_folder, tokens) = tokens();
        let ada = UserId::of("ada");
        for _ in 3..MAX_API_TOKENS {
            tokens.create("ci", ada, NOW).await.unwrap();
        }
        let at_once = (0..10).map(|_| tokens.create_another("ci", ada, NOW));
        let made = futures_util::future::join_all(at_once).await;
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 3);
        assert_eq!(tokens.list(ada).await.unwrap().len(), MAX_API_TOKENS);
    }

    /// Servers and stores of an earlier version know of no kinds.
    #[test]
    fn a_token_that_says_no_kind_is_a_users() {
        let stored = serde_json::json!({
            "id": "0123456789abcdef01234567",
            "name": "ci",
            "user": UserId::of("ada").as_uuid(),
            "created_at": NOW,
            "last_used_at": null,
            "secret_sha256": "00".repeat(32),
        });
        let token: ApiToken = serde_json::from_value(stored).unwrap();
        assert_eq!(token.kind, TokenKind::User);
    }

    #[tokio::test]
    async fn no_user_sees_or_renews_a_token_for_runners() {
        let (_folder, tokens) = tokens();
        let operator = UserId::of(FIRST_USER);
        let (token, secret) = tokens.create_for_runners("builds", NOW).await.unwrap();
        assert!(tokens.list(operator).await.unwrap().is_empty());
        let listed = tokens.list_all(operator).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&token));
        assert!(tokens.renew(operator, token.id).await.is_err());
        assert!(tokens.revoke_own(operator, token.id).await.is_err());
        let verified = tokens.verify(secret.reveal(), NOW).await.unwrap();
        assert_eq!(verified.kind, TokenKind::Runner);
        tokens.revoke(token.id).await.unwrap();
        assert!(tokens.verify(secret.reveal(), NOW).await.is_err());
    }

    #[tokio::test]
    async fn a_use_is_kept_to_the_minute() {
        let (_folder, tokens) = tokens();
        let ada = UserId::of("ada");
        let (token, secret) = tokens.create("ci", ada, NOW).await.unwrap();
        assert_eq!(token.last_used_at, None);
        for (later_ms, kept_ms) in [(0, 0), (59_999, 0), (60_000, 60_000), (60_001, 60_000)] {
            let now = NOW.after(Duration::from_millis(later_ms));
            tokens.verify(secret.reveal(), now).await.unwrap();
            while !lock(&tokens.uses_in_flight).is_empty() {
                tokio::task::yield_now().await;
            }
            let kept = NOW.after(Duration::from_millis(kept_ms));
            let token = tokens.get(ada, token.id).await.unwrap();
            assert_eq!(token.last_used_at, Some(kept), "{later_ms}");
        }
    }
}
