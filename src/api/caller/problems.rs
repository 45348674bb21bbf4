//! Authentication errors, as clients see them.

use http::StatusCode;

use crate::api::answer::ceil_seconds;
use crate::api::problem::Problem;
use crate::clock::Timestamp;
use crate::limits::TooMany;

#[derive(Clone, Copy, Debug)]
pub(in crate::api) enum AuthError {
    BearerMissing,
    BearerMalformed,
    BearerUnknown,
    BearerExpired {
        expired_at: Timestamp,
        now: Timestamp,
    },
    ApiTokenMissing,
    ApiTokenMalformed,
    ApiTokenUnknown,
    /// An API token for runners was used where a user's is needed.
    OnlyARunner,
    /// A user's API token was used where a runner's is needed.
    NotARunner,
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let bearer = |text: &str| Self::unauthorized("Bearer", text);
        let basic = |text| Self::unauthorized("Basic realm=\"waystation\"", text);
        match error {
            AuthError::BearerMissing => bearer(
                "the bearer is missing: send an API token as 'Authorization: Bearer <token>'",
            ),
            AuthError::BearerMalformed => bearer(
                "the bearer is malformed: it is an API token ('tk-us-' and 48 characters), or the JWT that one was exchanged for",
            ),
            AuthError::BearerUnknown => bearer(
                "the bearer is unknown: it was not given out by this service, or its API token has been revoked or renewed",
            ),
            AuthError::BearerExpired { expired_at, now } => bearer(&format!(
                "the bearer expired at {expired_at} (now {now}): exchange the API token for a new one"
            )),
            AuthError::ApiTokenMissing => basic(
                "the API token is missing: send it as the password of Basic authentication, with an empty user",
            ),
            AuthError::ApiTokenMalformed => {
                basic("the API token is malformed: it is 'tk-us-' and 48 characters")
            }
            AuthError::ApiTokenUnknown => {
                basic("the API token is unknown: it was never given out, or has been revoked")
            }
            AuthError::OnlyARunner => Self::new(
                StatusCode::FORBIDDEN,
                "this API token is for runners, and allows only POST /v1/runner/claims; make one for a user with 'waystation token create NAME'",
            ),
            AuthError::NotARunner => Self::new(
                StatusCode::FORBIDDEN,
                "only runners claim deployments; their operator makes a token for them with 'waystation token create NAME --runner'",
            ),
        }
    }
}

impl From<TooMany> for Problem {
    fn from(too_many: TooMany) -> Self {
        Self::too_many_requests(ceil_seconds(too_many.0.reset_after)).caused_by(&too_many)
    }
}
