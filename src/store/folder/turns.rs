//! One publication to a source at a time: the second waits until it can tell what the first did.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::source::SourceId;

/// Who publishes to which source just now.
#[derive(Debug, Default)]
pub(super) struct Turns {
    phases: Mutex<HashMap<SourceId, Phase>>,
    ended: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Looking whether the source has an archive.
    Looking,
    /// It has none: its name is being made.
    Linking,
}

impl Turns {
    /// Waits until nobody else publishes to `source`.
    pub(super) fn take(&self, source: SourceId) -> Turn<'_> {
        let mut phases = self.lock();
        while phases.contains_key(&source) {
            phases = self
                .ended
                .wait(phases)
                .unwrap_or_else(PoisonError::into_inner);
        }
        phases.insert(source, Phase::Looking);
        Turn {
            turns: self,
            source,
        }
    }

    /// Is the source's name being made, so that it may be seen but is not durable yet?
    pub(super) fn is_linking(&self, source: SourceId) -> bool {
        self.lock().get(&source) == Some(&Phase::Linking)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SourceId, Phase>> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to publish to a source, given back when dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    source: SourceId,
}

impl Turn<'_> {
    pub(super) fn start_linking(&self) {
        self.turns.lock().insert(self.source, Phase::Linking);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.source);
        self.turns.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::clock::Timestamp;

    fn source(number: u8) -> SourceId {
        SourceId::mint(Timestamp::from_ms(0), [number; 10])
    }

    #[test]
    fn a_source_has_one_turn_at_a_time_and_sources_do_not_wait_for_each_other() {
        let turns = Turns::default();
        let publishing = AtomicUsize::new(0);
        let _other = turns.take(source(2));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let _turn = turns.take(source(1));
                        assert_eq!(publishing.fetch_add(1, Ordering::SeqCst), 0);
                        publishing.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn a_name_is_being_made_from_when_that_is_said_until_the_turn_ends() {
        let turns = Turns::default();
        let turn = turns.take(source(1));
        assert!(!turns.is_linking(source(1)));
        turn.start_linking();
        assert!(turns.is_linking(source(1)) && !turns.is_linking(source(2)));
        drop(turn);
        assert!(!turns.is_linking(source(1)));
    }
}
