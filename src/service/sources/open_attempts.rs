//! The open uploads in parts: their number, their total size, and which request works on which.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::timeout;

use crate::clock::Timestamp;
use crate::source::SourceId;
use crate::store::Attempt;

/// How long an older request of the same attempt may take to end.
const END_OLDER_WITHIN: Duration = Duration::from_secs(10);

/// The pause between two checks whether other nodes have ended attempts that are counted here.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why no more attempts, or bytes, are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttemptsLimit {
    #[error("{limit} uploads in parts are open, and no more are allowed")]
    Count { limit: usize },
    #[error("open uploads in parts have {open_bytes} bytes of {limit_bytes}")]
    Bytes { limit_bytes: u64, open_bytes: u64 },
}

pub(super) struct OpenAttempts {
    limit: usize,
    limit_bytes: u64,
    book: Mutex<HashMap<SourceId, Entry>>,
    /// Held while checking.
    next_look: tokio::sync::Mutex<Timestamp>,
    queues: Arc<RequestQueues>,
}

/// One for a source.
#[derive(Clone, Copy, Debug)]
struct Entry {
    attempt: Option<Attempt>,
    bytes: u64,
}

impl OpenAttempts {
    /// Those that an earlier server has begun count as well.
    pub(super) fn new(
        limit: usize,
        limit_bytes: u64,
        found: Vec<(SourceId, Attempt, u64)>,
    ) -> Self {
        let entries = found.into_iter().map(|(source, attempt, bytes)| {
            let attempt = Some(attempt);
            (source, Entry { attempt, bytes })
        });
        Self {
            limit,
            limit_bytes,
            book: Mutex::new(entries.collect()),
            next_look: tokio::sync::Mutex::new(Timestamp::from_ms(0)),
            queues: Arc::default(),
        }
    }

    /// Counts an attempt that is about to begin, and replaces any other of its source.
    pub(super) fn admit(
        &self,
        source: SourceId,
        bytes: u64,
        now: Timestamp,
    ) -> Result<(), AttemptsLimit> {
        let mut book = self.lock(now);
        let others = book.len() - usize::from(book.contains_key(&source));
        if others >= self.limit {
            return Err(AttemptsLimit::Count { limit: self.limit });
        }
        self.put(&mut book, source, None, bytes)
    }

    /// It was begun or resumed. If its source has got an archive since the request for that entered, it has ended,
    /// and is not counted again.
    pub(super) fn note(
        &self,
        source: SourceId,
        attempt: Attempt,
        bytes: u64,
        now: Timestamp,
    ) -> Result<(), AttemptsLimit> {
        let mut book = self.lock(now);
        let queues = lock_queues(&self.queues);
        if queues.get(&source).is_some_and(|queue| queue.has_archive) {
            return Ok(());
        }
        self.put(&mut book, source, Some(attempt), bytes)
    }

    /// It is longer than was known. One that has ended meanwhile is not counted again.
    pub(super) fn grow(
        &self,
        source: SourceId,
        attempt: Attempt,
        bytes: u64,
        now: Timestamp,
    ) -> Result<(), AttemptsLimit> {
        let mut book = self.lock(now);
        match book.get(&source) {
            Some(entry) if entry.attempt == Some(attempt) => {
                self.put(&mut book, source, Some(attempt), bytes)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn put(
        &self,
        book: &mut HashMap<SourceId, Entry>,
        source: SourceId,
        attempt: Option<Attempt>,
        bytes: u64,
    ) -> Result<(), AttemptsLimit> {
        let others = book.iter().filter(|(other, _)| **other != source);
        let open_bytes = others
            .map(|(_, entry)| entry.bytes)
            .fold(0, u64::saturating_add);
        if open_bytes.saturating_add(bytes) > self.limit_bytes {
            return Err(AttemptsLimit::Bytes {
                limit_bytes: self.limit_bytes,
                open_bytes,
            });
        }
        book.insert(source, Entry { attempt, bytes });
        Ok(())
    }

    /// It has ended, or did not begin after all.
    pub(super) fn end(&self, source: SourceId, attempt: Option<Attempt>) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if book
            .get(&source)
            .is_some_and(|entry| entry.attempt == attempt)
        {
            book.remove(&source);
        }
    }

    /// Its source has an archive: no attempt there can be resumed.
    pub(super) fn end_all_of(&self, source: SourceId) {
        // First: who has not seen this when it notes one does so before what is noted is taken away.
        if let Some(queue) = lock_queues(&self.queues).get_mut(&source) {
            queue.has_archive = true;
        }
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.remove(&source);
    }

    /// The attempts that this process counts, if a check of them is due and nobody else is checking.
    pub(super) fn begin_look(
        &self,
        now: Timestamp,
    ) -> Option<(CheckTurn<'_>, Vec<(SourceId, Attempt)>)> {
        let next_look = self.next_look.try_lock().ok()?;
        if now < *next_look {
            return None;
        }
        let book = self.lock(now);
        let open = book.iter();
        let open = open.filter_map(|(source, entry)| Some((*source, entry.attempt?)));
        Some((CheckTurn(next_look), open.collect()))
    }

    pub(super) fn sum(&self, now: Timestamp) -> (usize, u64) {
        let book = self.lock(now);
        let bytes = book.values().map(|entry| entry.bytes);
        (book.len(), bytes.fold(0, u64::saturating_add))
    }

    fn lock(&self, now: Timestamp) -> MutexGuard<'_, HashMap<SourceId, Entry>> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.retain(|source, _| !source.is_expired(now));
        book
    }

    /// Tells the request that works on the source's attempt to end in favour of this one, and waits until it has; `None` if
    /// it does not in time.
    pub(super) async fn enter(&self, source: SourceId) -> Option<Current> {
        let (newest, superseded) = oneshot::channel();
        let turn = {
            let mut all = lock_queues(&self.queues);
            let older = all.get(&source);
            let turn = older.map_or_else(Arc::default, |older| Arc::clone(&older.turn));
            let queue = RequestQueue {
                newest,
                turn: Arc::clone(&turn),
                has_archive: older.is_some_and(|older| older.has_archive),
            };
            all.insert(source, queue);
            turn
        };
        let mut current = Current {
            source,
            queues: Arc::clone(&self.queues),
            superseded,
            turn: None,
        };
        let turn = timeout(END_OLDER_WITHIN, turn.lock_owned()).await;
        current.turn = Some(turn.ok()?);
        Some(current)
    }
}

/// The right to check whether the counted attempts are still open; one at a time.
pub(super) struct CheckTurn<'a>(tokio::sync::MutexGuard<'a, Timestamp>);

impl CheckTurn<'_> {
    /// The pause before the next check begins now, however long this one took.
    pub(super) fn end(mut self, now: Timestamp) {
        *self.0 = now.after(LOOK_EVERY);
    }
}

type RequestQueues = Mutex<HashMap<SourceId, RequestQueue>>;

/// The queue of requests for one source's attempt.
struct RequestQueue {
    /// Dropping it tells the earlier request that there is a newer one.
    newest: oneshot::Sender<()>,
    turn: Arc<Turn>,
    /// The source has got its archive while there were requests here.
    has_archive: bool,
}

type Turn = tokio::sync::Mutex<()>;

fn lock_queues(queues: &RequestQueues) -> MutexGuard<'_, HashMap<SourceId, RequestQueue>> {
    queues.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The request that works on a source's attempt, until a newer one takes over.
pub(super) struct Current {
    source: SourceId,
    queues: Arc<RequestQueues>,
    superseded: oneshot::Receiver<()>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Current {
    /// Waits until another has come.
    pub(super) async fn superseded(&mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.superseded).await;
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let mut queues = lock_queues(&self.queues);
        self.superseded.close();
        self.turn = None;
        // The last one to leave.
        let is_left =
            |queue: &RequestQueue| queue.newest.is_closed() && Arc::strong_count(&queue.turn) == 1;
        if queues.get(&self.source).is_some_and(is_left) {
            queues.remove(&self.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn source(number: u8) -> SourceId {
        SourceId::mint(Timestamp::from_ms(1000 * u64::from(number)), [number; 10])
    }

    fn open() -> OpenAttempts {
        OpenAttempts::new(2, 100, vec![(source(1), Attempt::nil(), 40)])
    }

    #[test]
    fn as_many_are_open_as_the_limit_and_an_expired_or_replaced_one_counts_no_more() {
        let (open, start) = (open(), Timestamp::from_ms(0));
        open.admit(source(2), 0, start).unwrap();
        open.admit(source(2), 0, start).unwrap();
        let refused = open.admit(source(3), 0, start).unwrap_err();
        assert!(matches!(refused, AttemptsLimit::Count { limit: 2 }));
        open.admit(source(3), 0, source(1).expires_at()).unwrap();
        assert_eq!(open.sum(source(1).expires_at()).0, 2);
    }

    #[test]
    fn their_bytes_reach_the_limit_and_not_beyond() {
        let (open, start) = (open(), Timestamp::from_ms(0));
        assert!(open.admit(source(2), 61, start).is_err());
        open.admit(source(2), 59, start).unwrap();
        let attempt = Attempt::max();
        open.note(source(2), attempt, 59, start).unwrap();
        open.grow(source(2), attempt, 60, start).unwrap();
        let refused = open.grow(source(2), attempt, 61, start).unwrap_err();
        let (limit, others) = (100, 40);
        assert!(matches!(
            refused,
            AttemptsLimit::Bytes { limit_bytes, open_bytes } if (limit_bytes, open_bytes) == (limit, others)
        ));
        open.end(source(2), Some(Attempt::nil()));
        assert_eq!(open.sum(start), (2, 100));
        open.end(source(2), Some(attempt));
        assert_eq!(open.sum(start), (1, 40));
        open.grow(source(2), attempt, 61, start).unwrap();
        assert_eq!(open.sum(start), (1, 40));
    }

    #[tokio::test]
    async fn one_that_is_noted_when_its_source_has_got_an_archive_meanwhile_is_not_counted() {
        let (open, start) = (open(), Timestamp::from_ms(0));
        let older = open.enter(source(2)).await.unwrap();
        open.admit(source(2), 5, start).unwrap();
        open.end_all_of(source(2));
        open.note(source(2), Attempt::max(), 5, start).unwrap();
        assert_eq!(open.sum(start), (1, 40));
        let mut newer = Box::pin(open.enter(source(2)));
        assert!((&mut newer).now_or_never().is_none());
        drop(older);
        let newer = newer.await.unwrap();
        open.note(source(2), Attempt::max(), 5, start).unwrap();
        assert_eq!(open.sum(start), (1, 40));
        drop(newer);
        assert!(lock_queues(&open.queues).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_request_ends_the_one_before_it_and_waits_for_that_but_not_forever() {
        let open = open();
        let mut first = open.enter(source(1)).await.unwrap();
        assert!(first.superseded().now_or_never().is_none());
        let _other = open.enter(source(2)).await.unwrap();
        let mut second = Box::pin(open.enter(source(1)));
        assert!((&mut second).now_or_never().is_none());
        assert!(first.superseded().now_or_never().is_some());
        drop(first);
        let mut second = second.await.unwrap();
        assert!(second.superseded().now_or_never().is_none());

        assert!(open.enter(source(1)).await.is_none());
        assert!(second.superseded().now_or_never().is_some());
        let third = open.enter(source(1));
        drop(second);
        drop(third.await.unwrap());
        assert_eq!(lock_queues(&open.queues).len(), 1);
    }
}
