//! What can go wrong with a variable, as its client learns it. No value is repeated.

use http::StatusCode;

use crate::api::problem::Problem;
use crate::error_chain::printable;
use crate::service::variables::{
    MAX_NAME_CHARS, MAX_VALUE_BYTES, MAX_VARIABLES, RESERVED_PREFIX, VariableError,
};

impl From<VariableError> for Problem {
    fn from(error: VariableError) -> Self {
        match error {
            VariableError::BadName { name } => Self::wrong_attribute(
                "name",
                format!(
                    "has 1 to {MAX_NAME_CHARS} letters, digits and '_', and begins neither with a digit nor with {RESERVED_PREFIX}; '{}' is not valid",
                    printable(&name)
                ),
            ),
            VariableError::TooLong { name, bytes } => Self::wrong_attribute(
                "value",
                format!("of {name} has {bytes} bytes; {MAX_VALUE_BYTES} is the limit"),
            ),
            VariableError::Nul { name } => Self::wrong_attribute(
                "value",
                format!("of {name} has a NUL, which no environment can hold"),
            ),
            VariableError::Exists { .. } => Self::wrong_attribute(
                "name",
                "has already been taken; change that variable instead",
            ),
            VariableError::Twice { name } => {
                Self::wrong_attribute("variables", format!("has {name} twice"))
            }
            VariableError::TooMany => Self::wrong_attribute(
                "base",
                format!("an app has at most {MAX_VARIABLES} variables; delete some first"),
            ),
            VariableError::Unknown => {
                Self::new(StatusCode::NOT_FOUND, "the app has no such variable")
            }
            VariableError::Store(error) => error.into(),
        }
    }
}
