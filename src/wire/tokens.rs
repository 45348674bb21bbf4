//! The resource `token`: API tokens, and the bearer that one is exchanged for.

use serde::{Deserialize, Serialize};

use super::pagination::Meta;
use crate::clock::Timestamp;

/// `{"token":"…"}`: the answer to `POST /v1/tokens/exchange`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BearerAnswer {
    /// The bearer, a JWT. A secret.
    pub token: String,
}

/// `{"token":{…}}`: the answer to what makes or renews an API token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenAnswer {
    pub token: Token,
}

/// `{"tokens":[…],"meta":{…}}`: the answer to `GET /v1/tokens`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokensAnswer {
    pub tokens: Vec<Token>,
    pub meta: Meta,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its public id, in hex.
    pub id: String,
    pub name: String,
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// The secret itself: only where it was made or renewed just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}
