//! What can go wrong with users and API tokens, as their client learns it.

use crate::api::problem::Problem;
use crate::service::account::MAX_NAME_BYTES;
use crate::service::accounts::{AccountError, MAX_TOKENS};

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::BadName { .. } => Self::wrong_attribute(
                "name",
                format!("has 1 to {MAX_NAME_BYTES} bytes and no control characters"),
            ),
            AccountError::TooManyTokens => Self::wrong_attribute(
                "base",
                format!("you have {MAX_TOKENS} API tokens, which is the limit; delete one first"),
            ),
            AccountError::UnknownTokenId { .. } => no_such_token(),
            AccountError::UnknownUserId { .. } => crate::api::caller::Denied::BearerUnknown.into(),
            AccountError::Store(error) => error.into(),
            AccountError::Corrupt { .. }
            | AccountError::TokenExists { .. }
            | AccountError::NoRandomness(_)
            | AccountError::BadEmail { .. }
            | AccountError::UserExists { .. }
            | AccountError::UnknownUser { .. } => Self::internal(&error),
        }
    }
}

/// The path names no API token of the caller.
pub(super) fn no_such_token() -> Problem {
    Problem::not_found("token", "there is no such API token")
}
