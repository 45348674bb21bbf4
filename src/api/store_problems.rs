//! Errors of the store, as clients see them.

use http::StatusCode;

use super::answer::size_text;
use super::problem::Problem;
use crate::store::StoreError;

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let problem = match &error {
            StoreError::NoRoom {
                free_bytes,
                reserved_bytes,
                keep_free_bytes,
            } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                format!(
                    "the store has no room for this: {} are free, of which {} are for uploads under way and {} are kept free; room comes back as sources expire",
                    size_text(*free_bytes),
                    size_text(*reserved_bytes),
                    size_text(*keep_free_bytes)
                ),
            )
            .with_code("store_full"),
            StoreError::DiskFull { .. } | StoreError::BucketFull { .. } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "the store is full; room comes back as sources expire",
            )
            .with_code("store_full"),
            StoreError::FileTooLarge { .. } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "the store's file system does not allow a file of this size",
            )
            .with_code("store_full"),
            StoreError::Superseded => Self::new(
                StatusCode::CONFLICT,
                "a newer request resumed this upload in parts, so this one has ended; ask for its offset",
            )
            .with_code("superseded"),
            StoreError::TooManyParts { limit } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                format!("this upload has {limit} parts of different lengths, which is the limit; begin it again, with parts of equal length"),
            )
            .with_code("store_full"),
            StoreError::Ending => Self::unavailable("the server is shutting down"),
            StoreError::Exhausted { .. } => {
                Self::unavailable("the server has too many open files, or too little memory, just now")
            }
            StoreError::Unreachable { .. } | StoreError::Gone { .. } | StoreError::Contended => {
                Self::unavailable("the store cannot be reached just now")
            }
            StoreError::ReadOnly { .. } => {
                Self::unavailable("the store can only be read just now")
            }
            StoreError::Io { .. }
            | StoreError::Corrupt { .. }
            | StoreError::InUse { .. }
            | StoreError::NoStore { .. }
            | StoreError::Bucket { .. }
            | StoreError::Endpoint { .. }
            | StoreError::Variable { .. }
            | StoreError::NoConditionalWrites { .. }
            | StoreError::ForeignKey { .. }
            | StoreError::DocumentTooLong { .. }
            | StoreError::AppendTooLong { .. }
            | StoreError::CorruptDocument { .. } => Self::internal(&error),
        };
        problem.caused_by(&error)
    }
}
