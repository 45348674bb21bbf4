//! Who may ask for sources: users and their API tokens, kept as small records in the store.
//!
//! A token is read from the store each time it is used, so that a new one works, and a revoked one
//! fails, at once. When it was last used is kept to the minute, so that not every call writes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::TryRng as _;
use rand::rngs::{SysError, SysRng};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::error_chain::chain;
use crate::secret::Secret;
use crate::service::account::{
    API_TOKEN_BYTES, ApiToken, FIRST_USER, MAX_EMAIL_BYTES, MAX_NAME_BYTES, TokenId, User, UserId,
    parse_api_token,
};
use crate::store::{
    RecordCreation, RecordDeletion, RecordKind, RecordName, RecordReplacement, Store, StoreError,
};

/// The name of the token that the first start makes.
const FIRST_TOKEN: &str = "first start";
/// How many API tokens a user may make over the API.
pub const MAX_TOKENS: usize = 100;
/// How old may be what a stranger's token is judged by.
const LIST_AGE: Duration = Duration::from_secs(1);
/// How exactly it is kept when a token was last used.
const USE_GRAIN: Duration = Duration::from_mins(1);

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
    NoRandomness(#[source] SysError),
    /// A name that cannot be one.
    #[error(
        "a name has 1 to {MAX_NAME_BYTES} bytes and no control characters; this one has {bytes} bytes"
    )]
    BadName {
        /// Its length.
        bytes: usize,
    },
    /// An e-mail address that cannot be one.
    #[error(
        "an e-mail address has at most {MAX_EMAIL_BYTES} bytes and no control characters; this one has {bytes} bytes"
    )]
    BadEmail {
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
    /// There is no user of that id, although a bearer says so.
    #[error("there is no user {id}")]
    UnknownUserId {
        /// The id.
        id: UserId,
    },
    /// A token of the id that was just made up is there already.
    #[error("there is an API token {id} already, which cannot be")]
    TokenExists {
        /// The id.
        id: TokenId,
    },
    /// The user has as many tokens as one may have.
    #[error("a user has at most {MAX_TOKENS} API tokens")]
    TooManyTokens,
    /// There is no token of that id, or it is not for the one who asks to see.
    #[error("there is no API token {id}; 'waystation token list' shows them")]
    UnknownTokenId {
        /// The id.
        id: TokenId,
    },
}

/// Why an API token is not let in.
#[derive(Debug, thiserror::Error)]
pub enum ApiTokenError {
    /// It has not the form of one.
    #[error("it is malformed")]
    Malformed,
    /// No such token exists, or not any more.
    #[error("it is unknown")]
    Unknown,
    /// It could not be looked up.
    #[error("it could not be looked up")]
    Account(#[from] AccountError),
}

/// An API token as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedToken {
    /// The token.
    pub token: ApiToken,
    /// When it was last used, to the minute; `None` if it never was.
    pub last_used_at: Option<Timestamp>,
}

/// The record of a token's last use. Apart from the token's own, so that noting a use can never bring
/// back a token that is being revoked.
#[derive(Serialize, Deserialize)]
struct TokenUse {
    last_used_at: Timestamp,
}

/// The accounts of a store. Clones are the same accounts.
#[derive(Clone, Debug)]
pub struct Accounts {
    store: Store,
    /// Which uses have been written, so that the next within the minute need not be.
    written_uses: Arc<Mutex<HashMap<TokenId, Timestamp>>>,
    /// By what the guesses of those who failed too often are judged.
    listed: Arc<tokio::sync::Mutex<Option<TokenList>>>,
}

/// What was read of the tokens since `asked_at`.
#[derive(Debug)]
struct TokenList {
    asked_at: Instant,
    /// The names of all records; none if they could not be read.
    names: BTreeSet<RecordName>,
    /// Those that somebody asked for; `None` for one that could not be read, or is gone.
    tokens: HashMap<TokenId, Option<ApiToken>>,
}

impl Accounts {
    /// Those kept in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            written_uses: Arc::default(),
            listed: Arc::default(),
        }
    }

    /// Makes the first user and, on a store without any API token, one for that user. What is there
    /// already stays, so a first start that was cut short is made good by the next.
    pub async fn make_first(&self, now: Timestamp) -> Result<Option<Secret>, AccountError> {
        self.ensure_first_user(now).await?;
        let tokens = self.store.list_records(RecordKind::ApiTokens).await?;
        if !tokens.is_empty() {
            return Ok(None);
        }
        let first_user = UserId::of(FIRST_USER);
        let (_, secret) = self.create_token(FIRST_TOKEN, first_user, now).await?;
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
        check_email(email)?;
        let user = User {
            id: UserId::of(name),
            name: name.to_owned(),
            email: email.to_owned(),
            created_at: now,
        };
        let creation = self
            .store
            .create_record(RecordKind::Users, &user_record(user.id), encode(&user))
            .await?;
        match creation {
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

    /// The user called `name`.
    pub async fn find_user(&self, name: &str) -> Result<User, AccountError> {
        self.read(RecordKind::Users, &user_record(UserId::of(name)))
            .await?
            .ok_or_else(|| AccountError::UnknownUser {
                name: name.to_owned(),
            })
    }

    /// The user of that id.
    pub async fn user(&self, id: UserId) -> Result<User, AccountError> {
        self.read(RecordKind::Users, &user_record(id))
            .await?
            .ok_or(AccountError::UnknownUserId { id })
    }

    /// Makes an API token. This is the only time that its secret is seen.
    pub async fn create_token(
        &self,
        name: &str,
        user: UserId,
        now: Timestamp,
    ) -> Result<(ApiToken, Secret), AccountError> {
        check_name(name)?;
        let (token, secret) = ApiToken::new(name, user, now, random()?);
        let record = token_record(token.id);
        let creation = self
            .store
            .create_record(RecordKind::ApiTokens, &record, encode(&token))
            .await?;
        match creation {
            RecordCreation::Created => Ok((token, secret)),
            // 96 random bits do not come twice: the store is not to be trusted here.
            RecordCreation::Exists => Err(AccountError::TokenExists { id: token.id }),
        }
    }

    /// Makes one more API token for a user who asks for it, unless they have enough.
    pub async fn create_token_of(
        &self,
        user: UserId,
        name: &str,
        now: Timestamp,
    ) -> Result<(ApiToken, Secret), AccountError> {
        let tokens = self.list_tokens().await?;
        if tokens.iter().filter(|token| token.user == user).count() >= MAX_TOKENS {
            return Err(AccountError::TooManyTokens);
        }
        self.create_token(name, user, now).await
    }

    /// All API tokens, the first made first.
    pub async fn list_tokens(&self) -> Result<Vec<ApiToken>, AccountError> {
        let mut tokens: Vec<ApiToken> = self.list(RecordKind::ApiTokens).await?;
        tokens.sort_by_key(|token| token.created_at);
        Ok(tokens)
    }

    /// The API tokens of one user, the first made first.
    pub async fn list_tokens_of(&self, user: UserId) -> Result<Vec<ListedToken>, AccountError> {
        let mut listed = Vec::new();
        for token in self.list_tokens().await? {
            if token.user == user {
                listed.push(self.with_use(token).await?);
            }
        }
        Ok(listed)
    }

    /// Deletes an API token.
    pub async fn revoke_token(&self, id: TokenId) -> Result<(), AccountError> {
        let record = token_record(id);
        let deletion = self
            .store
            .delete_record(RecordKind::ApiTokens, &record)
            .await?;
        self.store
            .delete_record(RecordKind::TokenUses, &record)
            .await?;
        match deletion {
            RecordDeletion::Deleted => Ok(()),
            RecordDeletion::Missing => Err(AccountError::UnknownTokenId { id }),
        }
    }

    /// Deletes an API token of `user`; another's does not exist for them.
    pub async fn revoke_token_of(&self, user: UserId, id: TokenId) -> Result<(), AccountError> {
        self.token_of(user, id).await?;
        self.revoke_token(id).await
    }

    /// Gives an API token of `user` a new secret. The old one opens nothing from now on.
    pub async fn renew_token_of(
        &self,
        user: UserId,
        id: TokenId,
    ) -> Result<(ListedToken, Secret), AccountError> {
        let (token, secret) = self.token_of(user, id).await?.renewed(random()?);
        let replacement = self
            .store
            .replace_record(RecordKind::ApiTokens, &token_record(id), encode(&token))
            .await?;
        match replacement {
            RecordReplacement::Replaced => Ok((self.with_use(token).await?, secret)),
            // It was revoked meanwhile, and stays so.
            RecordReplacement::Missing => Err(AccountError::UnknownTokenId { id }),
        }
    }

    /// Is `id` an API token of `user`, and not revoked?
    pub async fn has_token(&self, user: UserId, id: TokenId) -> Result<bool, AccountError> {
        match self.token_of(user, id).await {
            Ok(_) => Ok(true),
            Err(AccountError::UnknownTokenId { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The token whose text this is. Its use is noted.
    pub async fn verify_token(
        &self,
        text: &str,
        now: Timestamp,
    ) -> Result<ApiToken, ApiTokenError> {
        let (id, secret) = parse_api_token(text).ok_or(ApiTokenError::Malformed)?;
        let token: Option<ApiToken> = self.read(RecordKind::ApiTokens, &token_record(id)).await?;
        match token {
            Some(token) if token.has_secret(&secret) => {
                self.note_use(id, now).await;
                Ok(token)
            }
            _ => Err(ApiTokenError::Unknown),
        }
    }

    /// Is this the text of a token? As of now, or of a second ago. However many are asked about, the store
    /// is asked for its list once a second at most, for each token on it once, and once at a time; if it
    /// fails, one is told so, and to the others there is none.
    pub async fn is_known(&self, text: &str) -> Result<bool, AccountError> {
        let now = Instant::now();
        let Some((id, secret)) = parse_api_token(text) else {
            return Ok(false);
        };
        let accounts = self.clone();
        // Who asks may go away; what they asked for is there for others all the same.
        let looked = tokio::spawn(async move {
            let mut listed = accounts.listed.lock().await;
            let token = accounts.look_into_list(&mut listed, id, now).await?;
            Ok(token.is_some_and(|token| token.has_secret(&secret)))
        });
        looked.await.unwrap_or(Ok(false))
    }

    /// What is asked for is noted before it is read: a failure counts as well.
    async fn look_into_list<'a>(
        &self,
        listed: &'a mut Option<TokenList>,
        id: TokenId,
        now: Instant,
    ) -> Result<Option<&'a ApiToken>, AccountError> {
        let is_old =
            |list: &mut TokenList| now >= list.asked_at && list.asked_at.elapsed() >= LIST_AGE;
        drop(listed.take_if(is_old));
        let list = if let Some(list) = listed {
            list
        } else {
            let list = listed.insert(TokenList {
                asked_at: Instant::now(),
                names: BTreeSet::new(),
                tokens: HashMap::new(),
            });
            let names = self.store.list_records(RecordKind::ApiTokens).await?;
            list.names.extend(names);
            list
        };
        let record = token_record(id);
        if !list.names.contains(&record) {
            return Ok(None);
        }
        let token = match list.tokens.entry(id) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => {
                let token = unread.insert(None);
                *token = self.read(RecordKind::ApiTokens, &record).await?;
                token
            }
        };
        Ok(token.as_ref())
    }

    async fn token_of(&self, user: UserId, id: TokenId) -> Result<ApiToken, AccountError> {
        let token: Option<ApiToken> = self.read(RecordKind::ApiTokens, &token_record(id)).await?;
        token
            .filter(|token| token.user == user)
            .ok_or(AccountError::UnknownTokenId { id })
    }

    async fn with_use(&self, token: ApiToken) -> Result<ListedToken, AccountError> {
        let used: Option<TokenUse> = self
            .read(RecordKind::TokenUses, &token_record(token.id))
            .await?;
        Ok(ListedToken {
            token,
            last_used_at: used.map(|used| used.last_used_at),
        })
    }

    /// Writes that a token was used, at most once a minute. That it cannot be written keeps nobody
    /// from using it.
    async fn note_use(&self, id: TokenId, now: Timestamp) {
        if self.is_use_due(id, now)
            && let Err(error) = self.write_use(id, now).await
        {
            tracing::warn!(error = chain(&error), token = %id, "a token's use was not noted");
        }
    }

    /// A token that was revoked meanwhile leaves no use: who revokes deletes the token first, and then
    /// what was noted; who notes looks for the token after that.
    async fn write_use(&self, id: TokenId, now: Timestamp) -> Result<(), StoreError> {
        let content = encode(&TokenUse { last_used_at: now });
        let record = token_record(id);
        let (tokens, uses) = (RecordKind::ApiTokens, RecordKind::TokenUses);
        self.store.put_record(uses, &record, content).await?;
        if self.store.read_record(tokens, &record).await?.is_none() {
            self.store.delete_record(uses, &record).await?;
        }
        Ok(())
    }

    fn is_use_due(&self, id: TokenId, now: Timestamp) -> bool {
        let mut written = self.written_uses.lock().expect("no panic while it is held");
        let is_recent = written
            .get(&id)
            .is_some_and(|last| now.since(*last) < USE_GRAIN && *last <= now);
        if !is_recent {
            written.insert(id, now);
        }
        !is_recent
    }

    async fn list<T: for<'de> Deserialize<'de>>(
        &self,
        kind: RecordKind,
    ) -> Result<Vec<T>, AccountError> {
        let mut items = Vec::new();
        for name in self.store.list_records(kind).await? {
            match self.read(kind, &name).await {
                Ok(item) => items.extend(item),
                // One that cannot be read must not hide the others.
                Err(corrupt @ AccountError::Corrupt { .. }) => {
                    tracing::error!(error = chain(&corrupt), "a record is passed over");
                }
                Err(error) => return Err(error),
            }
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

fn user_record(id: UserId) -> RecordName {
    RecordName::from_bytes(id.as_uuid().as_bytes())
}

fn token_record(id: TokenId) -> RecordName {
    RecordName::from_bytes(id.as_bytes())
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

/// There may be none.
fn check_email(email: &str) -> Result<(), AccountError> {
    if email.len() > MAX_EMAIL_BYTES || email.chars().any(char::is_control) {
        return Err(AccountError::BadEmail { bytes: email.len() });
    }
    Ok(())
}

fn random() -> Result<[u8; API_TOKEN_BYTES], AccountError> {
    let mut bytes = [0; API_TOKEN_BYTES];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(AccountError::NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
