//! Errors of applications, as clients see them.

use http::StatusCode;

use crate::api::problem::Problem;
use crate::error_chain::printable;
use crate::service::apps::{AppError, MAX_APPS, MAX_NAME_CHARS, MIN_NAME_CHARS};

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        about("name", error)
    }
}

/// The same where the name was sent as `attribute`.
pub(super) fn about(attribute: &str, error: AppError) -> Problem {
    match error {
        AppError::BadName => Problem::wrong_attribute(
            attribute,
            format!(
                "has {MIN_NAME_CHARS} to {MAX_NAME_CHARS} characters of a-z, 0-9 and '-', with no hyphen at its ends and no two beside each other"
            ),
        ),
        AppError::NameTaken { .. } => Problem::wrong_attribute(attribute, "has already been taken"),
        AppError::TooMany => Problem::wrong_attribute(
            "base",
            format!("you have {MAX_APPS} apps, which is the limit; delete one first"),
        ),
        AppError::OtherName { name } => Problem::wrong_attribute(
            "current_name",
            format!("is not the name of this app, which is called {name}"),
        ),
        AppError::Unknown { asked } => no_such_app(&asked),
        AppError::Store(error) => error.into(),
    }
}

/// The caller has no such application. Without a resource: clients show this sentence as it is, and crash or hide it
/// where one is named.
pub(super) fn no_such_app(asked: &str) -> Problem {
    let text = format!("you have no app called {}", printable(asked));
    Problem::new(StatusCode::NOT_FOUND, text)
}
