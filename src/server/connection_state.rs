//! What one connection still owes its client; shared by its service, its stream, and the bodies that
//! pass on it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::body::Observe;
use crate::pace::{Pace, PaceMeter};

/// The requests of a connection, and how far their answers are.
#[derive(Debug)]
pub(super) struct Owed {
    begun_at: Instant,
    /// How many requests there have been.
    requests: AtomicU64,
    /// Requests whose answer has not been given to the HTTP library whole.
    open: AtomicUsize,
    /// Whether any answer's bytes may still have to be written.
    is_unwritten: AtomicBool,
    /// Whether a request was answered before all of its body had been read.
    is_unread: AtomicBool,
    /// Whether bytes have come that belong to no request yet.
    is_head_begun: AtomicBool,
    /// The answers whose bodies are being sent.
    answers: Mutex<Vec<Weak<Taken>>>,
}

/// How an answer is taken.
#[derive(Debug)]
struct Taken {
    /// When the last piece was: milliseconds since the connection began, or [`BEING_MADE`].
    last_ms: AtomicU64,
    is_too_slow: AtomicBool,
}

/// The client waits for the next piece, and not the other way round.
const BEING_MADE: u64 = u64::MAX;

impl Owed {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun_at: Instant::now(),
            requests: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            is_unwritten: AtomicBool::new(false),
            is_unread: AtomicBool::new(false),
            is_head_begun: AtomicBool::new(false),
            answers: Mutex::default(),
        })
    }

    /// A request arrived; its answer is owed until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> OwedGuard {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.is_unwritten.store(true, Ordering::Relaxed);
        self.is_head_begun.store(false, Ordering::Relaxed);
        OwedGuard {
            owed: Arc::clone(self),
            watch: None,
        }
    }

    /// An observer for the body of a request.
    pub(super) fn reading(self: &Arc<Self>) -> Reading {
        Reading(Arc::clone(self))
    }

    /// Bytes came that belong to no request yet.
    pub(super) fn begin_head(&self) {
        self.is_head_begun.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_head_begun(&self) -> bool {
        self.is_head_begun.load(Ordering::Relaxed)
    }

    pub(super) fn is_unread(&self) -> bool {
        self.is_unread.load(Ordering::Relaxed)
    }

    /// Is there no request that is being answered?
    pub(super) fn is_idle(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0 && self.is_nothing()
    }

    /// All that was written has been given to the system.
    pub(super) fn note_flushed(&self) {
        if self.open.load(Ordering::Relaxed) == 0 {
            self.is_unwritten.store(false, Ordering::Relaxed);
        }
    }

    /// Is nothing owed, so that whatever is written comes from the HTTP library itself?
    pub(super) fn is_nothing(&self) -> bool {
        !self.is_unwritten.load(Ordering::Relaxed)
    }

    /// Returns when nothing has been asked for at least half of `patience`, or when the client of an
    /// answer has taken nothing of it for all of it, or too little. On a connection with many answers,
    /// each is watched: one that stands still is not hidden by others that do not.
    pub(super) async fn standstill(self: Arc<Self>, patience: Duration) {
        let mut seen = self.requests.load(Ordering::Relaxed);
        loop {
            sleep(patience / 2).await;
            let requests = self.requests.load(Ordering::Relaxed);
            let is_unused = requests == seen && self.open.load(Ordering::Relaxed) == 0;
            if is_unused || self.is_any_stalled(patience) {
                return;
            }
            seen = requests;
        }
    }

    fn is_any_stalled(&self, patience: Duration) -> bool {
        let now = self.elapsed_ms();
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let mut answers = self.answers.lock().expect("no panic while it is held");
        answers.retain(|answer| answer.strong_count() > 0);
        answers.iter().filter_map(Weak::upgrade).any(|taken| {
            let last_ms = taken.last_ms.load(Ordering::Relaxed);
            let is_idle = last_ms != BEING_MADE && now.saturating_sub(last_ms) > patience_ms;
            is_idle || taken.is_too_slow.load(Ordering::Relaxed)
        })
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Goes with an answer's body.
#[derive(Debug)]
pub(super) struct OwedGuard {
    owed: Arc<Owed>,
    watch: Option<Watch>,
}

#[derive(Debug)]
struct Watch {
    taken: Arc<Taken>,
    meter: PaceMeter,
    /// How large the piece is that the client is taking, and since when.
    piece: Option<(usize, Instant)>,
}

impl OwedGuard {
    /// From now on it is watched whether, and how fast, the client takes its answer.
    pub(super) fn watched(mut self, pace: Pace) -> Self {
        let taken = Arc::new(Taken {
            last_ms: AtomicU64::new(self.owed.elapsed_ms()),
            is_too_slow: AtomicBool::new(false),
        });
        let mut answers = self.owed.answers.lock().expect("no panic while it is held");
        answers.push(Arc::downgrade(&taken));
        drop(answers);
        self.watch = Some(Watch {
            taken,
            meter: PaceMeter::new(pace),
            piece: None,
        });
        self
    }
}

impl Observe for OwedGuard {
    fn asked(&mut self) {
        let Some(watch) = &mut self.watch else {
            return;
        };
        watch.taken.last_ms.store(BEING_MADE, Ordering::Relaxed);
        // That the next piece is asked for means that the last one has been taken.
        if let Some((bytes, since)) = watch.piece.take()
            && watch.meter.note(bytes, since.elapsed()).is_err()
        {
            watch.taken.is_too_slow.store(true, Ordering::Relaxed);
        }
    }

    fn saw(&mut self, bytes: usize) {
        if let Some(watch) = &mut self.watch {
            let now_ms = self.owed.elapsed_ms();
            watch.taken.last_ms.store(now_ms, Ordering::Relaxed);
            watch.piece = Some((bytes, Instant::now()));
        }
    }
}

impl Drop for OwedGuard {
    fn drop(&mut self) {
        self.owed.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Goes with a request's body.
pub(super) struct Reading(Arc<Owed>);

impl Observe for Reading {
    fn saw(&mut self, _bytes: usize) {}

    fn left_unread(&mut self) {
        self.0.is_unread.store(true, Ordering::Relaxed);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.is_head_begun.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);
    const PACE: Pace = Pace {
        idle_timeout: PATIENCE,
        min_bytes_per_second: 100,
    };

    /// Has it ended by then?
    async fn has_ended_after(owed: &Arc<Owed>, pause: Duration) -> bool {
        let standstill = Arc::clone(owed).standstill(PATIENCE);
        tokio::time::timeout(pause, standstill).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_not_used_ends() {
        let owed = Owed::new();
        assert!(has_ended_after(&owed, PATIENCE).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_ends_the_connection_whatever_else_moves() {
        let owed = Owed::new();
        let _stuck = owed.begin().watched(PACE);
        let mut moving = owed.begin().watched(PACE);
        let mover = async {
            loop {
                moving.saw(1000);
                sleep(Duration::from_secs(1)).await;
                moving.asked();
            }
        };
        tokio::select! {
            () = mover => {}
            ended = has_ended_after(&owed, 2 * PATIENCE) => assert!(ended),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_store_and_a_slow_client_that_takes_some_are_waited_for() {
        let owed = Owed::new();
        let mut made = owed.begin().watched(PACE);
        made.asked();
        assert!(!has_ended_after(&owed, 10 * PATIENCE).await);
        let mut taken = owed.begin().watched(PACE);
        let slow_client = async {
            loop {
                taken.saw(16 * 1024);
                sleep(PATIENCE / 3).await;
                taken.asked();
            }
        };
        tokio::select! {
            () = slow_client => {}
            ended = has_ended_after(&owed, 10 * PATIENCE) => assert!(!ended),
        }
    }

    /// How a client that takes so many bytes every ten seconds fares for ten minutes.
    async fn is_cut_off(bytes: usize) -> bool {
        let owed = Owed::new();
        let mut taken = owed.begin().watched(PACE);
        let client = async {
            loop {
                taken.asked();
                taken.saw(bytes);
                sleep(Duration::from_secs(10)).await;
            }
        };
        tokio::select! {
            () = client => false,
            ended = has_ended_after(&owed, 10 * PATIENCE) => ended,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_less_than_the_minimum_rate_is_cut_off() {
        assert!(!is_cut_off(1000).await);
        assert!(is_cut_off(999).await);
    }
}
