//! The first start: who finds an empty store makes the first user, and an API token for them.

use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::service::api_tokens::{ApiToken, ApiTokenError, ApiTokens};
use crate::service::users::{FIRST_USER, UserError, UserId, Users};

const FIRST_TOKEN: &str = "first start";

#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    #[error("the first user cannot be added")]
    User(#[from] UserError),
    #[error("the first API token cannot be made")]
    ApiToken(#[from] ApiTokenError),
}

/// Makes the first user and an API token for them, unless there is that user. Of servers that start on an
/// empty store at once, one does: the one that adds the user.
pub async fn make_first_token(
    users: &Users,
    tokens: &ApiTokens,
    now: Timestamp,
) -> Result<Option<(ApiToken, Secret)>, FirstStartError> {
    let user = UserId::of(FIRST_USER);
    if users.get(user).await.map_err(UserError::from)?.is_some() {
        return Ok(None);
    }
    // The token first, so that a start that is cut short in between is made good by the next.
    let (token, secret) = tokens.create(FIRST_TOKEN, user, now).await?;
    match users.add(FIRST_USER, "", now).await {
        Ok(_) => Ok(Some((token, secret))),
        Err(UserError::Exists { .. }) => {
            tokens.revoke(token.id).await?;
            Ok(None)
        }
        Err(error) => {
            tokens.revoke(token.id).await?;
            Err(error.into())
        }
    }
}
