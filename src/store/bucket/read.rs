//! Reading the bytes of an archive: what the object store sends is passed on as it comes, and what follows is asked for
//! before it is needed.
//!
//! ```text
//!            open ──> part ──────────> a few chunks ──> the client
//!                      │  ahead: the next ones, opened;     │ takes none for a quarter of a second: slow
//!                      │  read too, if the store is slow    v
//!                      └────────────── all requests are given up; a mebibyte is read whole, and the next when it is sent
//! ```
//!
//! So a slow client holds no connection to the object store, and no more memory than one mebibyte; one that has become quick
//! again is served as one.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectStore as _};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::download_pin::DownloadPin;
use super::errors::failed;
use super::keys::Role;
use super::record::{Place, Record, corrupt};
use super::shared::BucketStore;
use crate::source::SourceId;
use crate::store::archive::ByteStream;
use crate::store::error::{Result, settle};

/// How long a client may take no chunk, which has some hundred kilobytes, before it is slow.
const STALL: Duration = Duration::from_millis(250);
/// What is read at once for a slow client.
const SLOW_BYTES: u64 = 1024 * 1024;
/// A client that takes that in less time is not slow any more.
const QUICK: Duration = Duration::from_millis(250);
/// An object store that gives less on one connection is slow: what is ahead is read too.
const SLOW_STORE_BYTES_PER_SECOND: u64 = 256 * 1024 * 1024;
/// How many parts are asked for ahead of the one that is being sent, if there are slots.
const PARTS_AHEAD: usize = 3;

/// An archive, as its record says.
pub(super) struct Layout {
    pub(super) store: Arc<BucketStore>,
    pub(super) source: SourceId,
    pub(super) record: Record,
    pub(super) head_bytes: u64,
}

impl Layout {
    /// Where the object ends, at the latest, in which the byte at `at` lies.
    fn end_of_object(&self, at: u64) -> u64 {
        let extent = self.record.extent(at);
        extent.map_or(at, |extent| at + extent.range.end - extent.range.start)
    }

    /// Asks for the bytes of `range`, which lie in one object.
    async fn open(&self, range: Range<u64>) -> Result<Body> {
        let length = range.end - range.start;
        let Some(extent) = self.record.extent(range.start) else {
            return Ok(Body::new(Path::default(), 0, stream::empty().boxed()));
        };
        let (role, offset) = match extent.place {
            Place::Record => (Role::Record, self.head_bytes + extent.range.start),
            Place::Part(number) => {
                let attempt = self.record.attempt;
                (Role::Part { attempt, number }, extent.range.start)
            }
        };
        // A request for all of an object is as good, and usual: but not where there is more in it.
        let is_whole = offset == 0 && length == extent.range.end && self.record.tail_bytes == 0;
        let key = self.store.keys.of(self.source, role);
        let options = GetOptions {
            range: (!is_whole).then(|| (offset..offset + length).into()),
            ..GetOptions::default()
        };
        match self.store.objects().get_opts(&key, options).await {
            Ok(found) => Ok(Body::new(key, length, found.into_stream())),
            Err(Error::NotFound { .. }) => {
                Err(corrupt(&key, "its record names it, and it is not there"))
            }
            Err(error) => Err(failed("read a part")(error)),
        }
    }
}

/// What the object store sends of one object.
pub(super) struct Body {
    key: Path,
    left: u64,
    /// What has been read and not been passed on.
    read: VecDeque<Bytes>,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    slots: Option<OwnedSemaphorePermit>,
}

impl Body {
    pub(super) const fn new(
        key: Path,
        length: u64,
        stream: BoxStream<'static, object_store::Result<Bytes>>,
    ) -> Self {
        Self {
            key,
            left: length,
            read: VecDeque::new(),
            stream,
            slots: None,
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        match self.read.pop_front() {
            Some(chunk) => Ok(Some(chunk)),
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>> {
        while self.left > 0 {
            let Some(chunk) = self.stream.next().await else {
                return Err(corrupt(&self.key, "it is shorter than its record says"));
            };
            let mut chunk = chunk.map_err(failed("read a part"))?;
            chunk.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= chunk.len() as u64;
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    /// Takes as much into memory as makes `bytes` there, or all there is.
    async fn read_ahead(&mut self, bytes: u64) -> Result<()> {
        while self.read.iter().map(Bytes::len).sum::<usize>() as u64 <= bytes
            && let Some(chunk) = self.receive().await?
        {
            self.read.push_back(chunk);
        }
        Ok(())
    }
}

/// A part that is asked for before it is needed. Dropped, it is given up.
struct Ahead {
    task: JoinHandle<Result<Body>>,
    /// Dropped, it tells the task that the part is needed now.
    unneeded: Option<oneshot::Sender<()>>,
}

impl Ahead {
    fn start(layout: &Arc<Layout>, range: Range<u64>, slots: OwnedSemaphorePermit) -> Self {
        let layout = Arc::clone(layout);
        let (unneeded, mut needed) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut body = layout.open(range).await?;
            let bytes = slots.num_permits() as u64 * SLOW_BYTES;
            body.slots = Some(slots);
            tokio::select! {
                biased;
                _ = &mut needed => {}
                read = body.read_ahead(bytes) => read?,
            }
            Ok(body)
        });
        Self {
            task,
            unneeded: Some(unneeded),
        }
    }

    async fn take(mut self) -> Result<Body> {
        self.unneeded = None;
        settle((&mut self.task).await)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What reads for one client, in a task of its own.
pub(super) struct Reads {
    layout: Arc<Layout>,
    /// What has not been given to the client.
    left: Range<u64>,
    /// Up to where parts have been asked for.
    asked: u64,
    ahead: VecDeque<Ahead>,
    is_client_slow: bool,
    is_store_slow: bool,
    out: mpsc::Sender<Result<Bytes>>,
}

/// Ends its task when it is dropped.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Reads {
    /// The bytes of `range`, of which the first have `come`, maybe, and more are `at_hand`. What is pinned stays so until
    /// the stream is dropped.
    pub(super) fn start(
        layout: Layout,
        mut range: Range<u64>,
        come: Bytes,
        at_hand: Option<Body>,
        pin: Option<DownloadPin>,
    ) -> ByteStream {
        range.start += come.len() as u64;
        let (out, chunks) = mpsc::channel(1);
        let reads = Self {
            layout: Arc::new(layout),
            asked: range.start + at_hand.as_ref().map_or(0, |body| body.left),
            left: range,
            ahead: VecDeque::new(),
            is_client_slow: false,
            is_store_slow: false,
            out,
        };
        let is_all = reads.left.is_empty();
        let running = (!is_all).then(|| Running(tokio::spawn(reads.run(at_hand))));
        let state = (chunks, running, pin);
        let rest = stream::unfold(state, |mut state| async move {
            let chunk = state.0.recv().await?;
            Some((chunk, state))
        });
        // It is sent with the head of the answer, which would go ahead of what a task has yet to pass on.
        let come = Some(come).filter(|come| !come.is_empty());
        stream::iter(come.map(Ok)).chain(rest).boxed()
    }

    async fn run(mut self, at_hand: Option<Body>) {
        if let Err(error) = self.send_all(at_hand).await {
            // If nobody listens any more, it matters to nobody.
            let _ = self.out.send(Err(error)).await;
        }
    }

    async fn send_all(&mut self, mut at_hand: Option<Body>) -> Result<()> {
        while !self.left.is_empty() && !self.out.is_closed() {
            if self.is_client_slow {
                let body = self.layout.open(self.next_range(SLOW_BYTES)).await?;
                self.send_slowly(body).await?;
                continue;
            }
            let body = match at_hand.take() {
                Some(body) => {
                    self.ask_ahead(PARTS_AHEAD);
                    body
                }
                None => self.next_part().await?,
            };
            self.send_quickly(body).await?;
        }
        Ok(())
    }

    /// What is left of the object that comes next, at most so much.
    fn next_range(&self, most: u64) -> Range<u64> {
        let start = self.left.start;
        let end = self.layout.end_of_object(start).min(self.left.end);
        start..end.min(start.saturating_add(most))
    }

    async fn next_part(&mut self) -> Result<Body> {
        self.ask_ahead(PARTS_AHEAD + 1);
        let Some(next) = self.ahead.pop_front() else {
            let range = self.next_range(u64::MAX);
            self.asked = range.end;
            return self.layout.open(range).await;
        };
        next.take().await
    }

    /// Asks for parts until there are so many ahead, as far as there are slots.
    fn ask_ahead(&mut self, parts: usize) {
        while self.ahead.len() < parts && self.asked < self.left.end {
            let end = self.layout.end_of_object(self.asked).min(self.left.end);
            let range = self.asked..end;
            let pieces = (end - self.asked).div_ceil(SLOW_BYTES);
            let wanted = if self.is_store_slow { pieces } else { 1 };
            let Some(slots) = self.acquire(wanted) else {
                return;
            };
            self.asked = end;
            self.ahead
                .push_back(Ahead::start(&self.layout, range, slots));
        }
    }

    /// As many slots as are wanted, or one, or none.
    fn acquire(&self, wanted: u64) -> Option<OwnedSemaphorePermit> {
        let slots = &self.layout.store.slots_ahead;
        let acquire = |count| Arc::clone(slots).try_acquire_many_owned(count).ok();
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        acquire(wanted).or_else(|| acquire(1))
    }

    /// Passes on what comes, as it comes.
    async fn send_quickly(&mut self, mut body: Body) -> Result<()> {
        let bytes = body.left;
        let mut waited = Duration::ZERO;
        let out = self.out.clone();
        loop {
            let waiting = Instant::now();
            let Some(chunk) = body.next().await? else {
                break;
            };
            waited += waiting.elapsed();
            let length = chunk.len() as u64;
            match timeout(STALL, out.reserve()).await {
                Ok(Ok(place)) => place.send(Ok(chunk)),
                Ok(Err(_gone)) => return Ok(()),
                Err(_stalled) => {
                    self.is_client_slow = true;
                    self.ahead.clear();
                    body.read.push_front(chunk);
                    return self.send_slowly(body).await;
                }
            }
            self.left.start += length;
        }
        self.is_store_slow = is_slow(bytes, waited);
        Ok(())
    }

    /// Reads a mebibyte, gives the request up, and passes that on, for as long as it takes.
    async fn send_slowly(&mut self, mut body: Body) -> Result<()> {
        body.read_ahead(SLOW_BYTES).await?;
        let read = mem::take(&mut body.read);
        drop(body);
        let began = Instant::now();
        for chunk in read {
            self.left.start += chunk.len() as u64;
            if self.out.send(Ok(chunk)).await.is_err() {
                return Ok(());
            }
        }
        if began.elapsed() < QUICK {
            self.is_client_slow = false;
            self.asked = self.left.start;
        }
        Ok(())
    }
}

/// Did it take the object store so long to give `bytes`?
fn is_slow(bytes: u64, waited: Duration) -> bool {
    let at_rate_ms = bytes.saturating_mul(1000) / SLOW_STORE_BYTES_PER_SECOND;
    waited > Duration::from_millis(at_rate_ms)
}
