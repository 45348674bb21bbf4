//! One publication to a source at a time: the second waits until it can tell what the first did.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::source::SourceId;

/// Who publishes to which source just now.
#[derive(Debug, Default)]
pub(super) struct Turns {
    phases: Mutex<HashMap<SourceId, Phase>>,
    ended: Notify,
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
    pub(super) async fn take(self: &Arc<Self>, source: SourceId) -> Turn {
        loop {
            // Made before it is looked, so that no end in between is missed.
            let ended = self.ended.notified();
            if self.try_start(source) {
                return Turn {
                    turns: Arc::clone(self),
                    source,
                };
            }
            ended.await;
        }
    }

    fn try_start(&self, source: SourceId) -> bool {
        let mut phases = self.lock();
        let is_free = !phases.contains_key(&source);
        if is_free {
            phases.insert(source, Phase::Looking);
        }
        is_free
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
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    source: SourceId,
}

impl Turn {
    pub(super) fn start_linking(&self) {
        self.turns.lock().insert(self.source, Phase::Linking);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.source);
        self.turns.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::clock::Timestamp;

    fn source(number: u8) -> SourceId {
        SourceId::mint(Timestamp::from_ms(0), [number; 10])
    }

    #[tokio::test]
    async fn a_source_has_one_turn_at_a_time_and_other_sources_do_not_wait_for_it() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(source(1)).await;
        let mut second = Box::pin(turns.take(source(1)));
        let mut third = Box::pin(turns.take(source(1)));
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        let _other = turns.take(source(2)).now_or_never().unwrap();
        drop(first);
        let second = (&mut second).now_or_never().unwrap();
        assert!((&mut third).now_or_never().is_none());
        drop(second);
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_name_is_being_made_from_when_that_is_said_until_the_turn_ends() {
        let turns = Arc::new(Turns::default());
        let turn = turns.take(source(1)).await;
        assert!(!turns.is_linking(source(1)));
        turn.start_linking();
        assert!(turns.is_linking(source(1)) && !turns.is_linking(source(2)));
        drop(turn);
        assert!(!turns.is_linking(source(1)));
    }
}
