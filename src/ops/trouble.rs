//! Trouble that lasts, so that it is logged when it begins, when its cause becomes another, and when it is
//! over, and not as often as somebody looks.

use std::sync::Mutex;

use crate::mutex::lock;

/// The cause as it was last found.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<String>>);

/// What there is to log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    None,
    Cause(String),
    Over,
}

impl Trouble {
    /// Takes what was found now: a cause, or that there is none.
    pub(super) fn note(&self, cause: Option<String>) -> News {
        let mut last = lock(&self.0);
        if *last == cause {
            return News::None;
        }
        last.clone_from(&cause);
        cause.map_or(News::Over, News::Cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_once_and_its_end_too() {
        let trouble = Trouble::default();
        let found = ["", "a", "a", "b", "", ""].map(|cause| {
            let cause = Some(cause.to_owned()).filter(|cause| !cause.is_empty());
            trouble.note(cause)
        });
        let cause = |cause: &str| News::Cause(cause.to_owned());
        let (none, over) = (News::None, News::Over);
        assert_eq!(
            found,
            [none, cause("a"), News::None, cause("b"), over, News::None]
        );
    }
}
