//! A failure that lasts is logged when it begins, when its cause changes and when it is over, not at each attempt.

use std::sync::Mutex;

use crate::mutex::lock;

/// The cause as it was last found.
#[derive(Debug, Default)]
pub(super) struct OngoingFailure(Mutex<Option<String>>);

/// What there is to log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FailureChange {
    Unchanged,
    Failing(String),
    Recovered,
}

impl OngoingFailure {
    /// Takes what was found now: a cause, or that there is none.
    pub(super) fn note(&self, cause: Option<String>) -> FailureChange {
        let mut last = lock(&self.0);
        if *last == cause {
            return FailureChange::Unchanged;
        }
        last.clone_from(&cause);
        cause.map_or(FailureChange::Recovered, FailureChange::Failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_once_and_its_end_too() {
        let failure = OngoingFailure::default();
        let found = ["", "a", "a", "b", "", ""].map(|cause| {
            let cause = Some(cause.to_owned()).filter(|cause| !cause.is_empty());
            failure.note(cause)
        });
        let cause = |cause: &str| FailureChange::Failing(cause.to_owned());
        let (none, over) = (FailureChange::Unchanged, FailureChange::Recovered);
        assert_eq!(
            found,
            [
                none,
                cause("a"),
                FailureChange::Unchanged,
                cause("b"),
                over,
                FailureChange::Unchanged
            ]
        );
    }
}
