//! What can go wrong with API tokens, as their client learns it.

use http::StatusCode;

use crate::api::problem::Problem;
use crate::service::api_tokens::{ApiTokenError, MAX_API_TOKENS};
use crate::service::users::MAX_NAME_BYTES;

impl From<ApiTokenError> for Problem {
    fn from(error: ApiTokenError) -> Self {
        match error {
            ApiTokenError::BadName(_) => Self::wrong_attribute(
                "name",
                format!("has 1 to {MAX_NAME_BYTES} bytes and no control characters"),
            ),
            ApiTokenError::TooMany => Self::wrong_attribute(
                "base",
                format!("you have {MAX_API_TOKENS} API tokens, which is the limit; delete one first"),
            ),
            ApiTokenError::UnknownId { .. } => no_such_token(),
            ApiTokenError::RenewedMeanwhile { .. } => Self::new(
                StatusCode::CONFLICT,
                "another call renewed this API token at the same time, and its answer has the secret; renew it again for another",
            )
            .with_code("conflict"),
            ApiTokenError::Store(error) => error.into(),
            ApiTokenError::NoRandomness(_) => Self::internal(&error),
        }
    }
}

/// The path names no API token of the caller.
pub(super) fn no_such_token() -> Problem {
    Problem::not_found("token", "there is no such API token")
}
