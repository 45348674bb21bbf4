//! What is stored of an upload in parts when it begins, and what is to become of it.

use bytes::Bytes;
use object_store::UpdateVersion;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keys::Attempt;
use crate::store::attempt::Plan;

/// What is stored of an attempt when it begins. Whoever ends it, or begins another in its place, replaces this by the
/// version that was read: so of two servers that do so at once, one learns of the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beginning {
    #[serde(with = "uuid::serde::simple")]
    pub(super) attempt: Attempt,
    pub(super) plan: Plan,
    #[serde(default)]
    pub(super) standing: Standing,
}

/// The id of one try to finish an attempt.
pub(super) type Finish = Uuid;

/// What is to become of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Standing {
    /// Somebody may go on.
    #[default]
    Open,
    /// All was sent, and a record may come that names its parts. Several may finish it, one after the other.
    Ending(Finish),
    /// It was given up. An object cannot be deleted on a condition: so this stays in its place.
    GivenUp,
}

impl Beginning {
    pub(super) fn of(plan: &Plan) -> Self {
        Self {
            attempt: Attempt::from_bytes(rand::random()),
            plan: plan.clone(),
            standing: Standing::Open,
        }
    }

    /// That there is no such attempt any more; what its client said goes as well.
    pub(super) fn given_up(attempt: Attempt) -> Self {
        Self {
            attempt,
            plan: Plan::default(),
            standing: Standing::GivenUp,
        }
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.standing == Standing::GivenUp
    }

    /// Is it that of this attempt, which somebody may go on with?
    pub(super) fn is_of(&self, attempt: Attempt) -> bool {
        self.attempt == attempt && !self.is_given_up()
    }

    pub(super) fn encode(&self) -> Bytes {
        let text = serde_json::to_vec(self);
        text.expect("a plain struct with text keys").into()
    }

    /// May its parts be deleted by who has replaced this? Not where another server may be about to publish them.
    pub(super) fn leaves_spare_parts(&self, ours: Option<Finish>) -> bool {
        match self.standing {
            Standing::Open => true,
            Standing::Ending(finish) => ours == Some(finish),
            Standing::GivenUp => false,
        }
    }
}

/// The same, as it was read.
#[derive(Debug)]
pub(super) struct FoundBeginning {
    pub(super) content: Beginning,
    pub(super) version: UpdateVersion,
}
