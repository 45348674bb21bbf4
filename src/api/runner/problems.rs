//! What can go wrong with reports, as a runner learns it.

use http::StatusCode;

use crate::api::answer::size_text;
use crate::api::problem::Problem;
use crate::service::deployments::{MAX_REASON_BYTES, ReportError};

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Over => Self::new(
                StatusCode::GONE,
                "this deployment has ended, or another runner has it: stop what you run for it",
            )
            .with_code("ended"),
            ReportError::OtherOffset { log_bytes } => Self::new(
                StatusCode::CONFLICT,
                format!("the log has {log_bytes} bytes: continue from there"),
            )
            .with_code("offset")
            .with_log_bytes(log_bytes),
            ReportError::LogFull { limit_bytes } => Self::too_large(format!(
                "the log is limited to {}, including its last lines; the deployment continues without more",
                size_text(limit_bytes)
            )),
            ReportError::Backwards { from, to } => Self::new(
                StatusCode::CONFLICT,
                format!("the deployment is already '{from}', and cannot go back to '{to}'"),
            )
            .with_code("backwards"),
            ReportError::LongReason => {
                Self::wrong_attribute("reason", format!("has at most {MAX_REASON_BYTES} bytes"))
            }
            ReportError::Store(error) => error.into(),
        }
    }
}

pub(super) fn no_offset() -> Problem {
    Problem::wrong_attribute(
        "offset",
        "must be given once in the query: how many bytes the log has before these",
    )
}

pub(super) fn no_status() -> Problem {
    Problem::wrong_attribute(
        "status",
        "must be one of building, pushing, starting, success, build-error, crashed-error, timeout-error, hook-error, aborted",
    )
}
