//! Uploads in parts: to begin one, to ask how far it is, to append, and to publish it with its last part.
//!
//! A refused part leaves its attempt where it was, unless the client contradicts its own length or digest: that ends the
//! attempt. Of two requests for one attempt, the older one is ended.

use futures_util::{Stream, StreamExt as _, stream};

use super::body::{BrokenBody, Sent, Sink, next_of};
use super::open_attempts::Current;
use super::receive::same_or_conflict;
use super::{Slot, SourceError, Sources};
use crate::clock::Timestamp;
use crate::digest::{Digester, ExpectedDigests};
use crate::error_chain::chain;
use crate::grant::UploadGrant;
use crate::pace::PaceMeter;
use crate::source::{Expired, Facts, SourceId};
use crate::store::{
    Attempt, AttemptStart, OpenAttempt, Plan, Progress, Published, Staged, UploadStart,
};

/// How many uploads in parts are looked at together, to see whether they have ended.
const LOOKS_AT_ONCE: usize = 8;

/// What a client says about a part that it is going to send.
#[derive(Debug)]
pub struct Part {
    /// Where it begins.
    pub offset: u64,
    /// How long it is, if that is known.
    pub size_bytes: Option<u64>,
    pub end: PartEnd,
    /// How long all of it will be, if that is said with the part.
    pub announced_bytes: Option<u64>,
    /// The digests of the part.
    pub expected: ExpectedDigests,
    /// The digests of all of it, where they come with the last part.
    pub expected_of_all: ExpectedDigests,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartEnd {
    /// This part is the last.
    Last,
    /// More follows, if only an empty last part.
    More,
    /// The part that reaches the announced length is the last.
    ByLength,
}

impl Part {
    /// An empty last part.
    fn last_at(offset: u64) -> Self {
        Self {
            offset,
            size_bytes: Some(0),
            end: PartEnd::Last,
            announced_bytes: None,
            expected: ExpectedDigests::default(),
            expected_of_all: ExpectedDigests::default(),
        }
    }
}

/// The result of appending a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where the next one begins.
    pub offset: u64,
    /// The archive, if this was the last part.
    pub published: Option<Facts>,
}

impl Sources {
    /// Can archives be sent here in parts?
    pub fn takes_parts(&self) -> bool {
        self.store.takes_parts()
    }

    /// Begins an upload in parts, in place of any that was begun for the same source.
    pub async fn begin_attempt(
        &self,
        grant: &UploadGrant,
        plan: &Plan,
    ) -> Result<Attempt, SourceError> {
        let (source, now) = (grant.source(), self.clock.now());
        match plan.announced_bytes {
            Some(0) => return Err(SourceError::Empty),
            Some(bytes) if bytes > self.limits.upload_bytes => {
                return Err(self.too_large(Some(bytes)));
            }
            Some(_) | None => {}
        }
        let bytes = plan.announced_bytes.unwrap_or(0);
        let _current = self.enter(source).await?;
        self.admit(source, bytes, now).await?;
        let begun = self.store.begin_attempt(source, plan).await;
        let begun = begun.inspect_err(|_| self.open_attempts.end(source, None))?;
        match begun {
            UploadStart::Accepted(attempt) => {
                self.open_attempts.note(source, attempt, bytes, now)?;
                Ok(attempt)
            }
            UploadStart::AlreadyUploaded(first) => {
                self.open_attempts.end(source, None);
                Err(SourceError::AlreadyUploaded { first })
            }
        }
    }

    /// Counts an attempt that is about to begin. If there is no room for it, checks whether other nodes have ended some.
    async fn admit(&self, source: SourceId, bytes: u64, now: Timestamp) -> Result<(), SourceError> {
        let Err(refused) = self.open_attempts.admit(source, bytes, now) else {
            return Ok(());
        };
        let Some((look, known)) = self.open_attempts.begin_look(now) else {
            return Err(refused.into());
        };
        let look_at = async |(source, attempt)| {
            if matches!(self.store.can_go_on(source, attempt).await, Ok(false)) {
                self.open_attempts.end(source, Some(attempt));
            }
        };
        let looks = stream::iter(known).for_each_concurrent(LOOKS_AT_ONCE, look_at);
        looks.await;
        look.end(self.clock.now());
        Ok(self.open_attempts.admit(source, bytes, now)?)
    }

    async fn enter(&self, source: SourceId) -> Result<Current, SourceError> {
        let current = self.open_attempts.enter(source).await;
        current.ok_or(SourceError::StillRunning)
    }

    /// The offset of an attempt. A request that still sends is ended, so that the reported offset stays true. If all was
    /// sent but not published, since the server was interrupted, it is published now: a client that learns that all
    /// is there sends nothing more.
    pub async fn find_attempt(
        &self,
        grant: &UploadGrant,
        attempt: Attempt,
        end: PartEnd,
    ) -> Result<Progress, SourceError> {
        let progress = self.look_at_attempt(grant, attempt).await?;
        let saved = &progress.saved;
        let has_all = end == PartEnd::ByLength && saved.announced_bytes == Some(saved.offset);
        if progress.first.is_none() && (saved.is_whole || has_all) {
            let nothing = stream::empty();
            let last = Part::last_at(saved.offset);
            let slot = self.take_slot()?;
            self.append(slot, grant, attempt, last, nothing).await?;
            return self.look_at_attempt(grant, attempt).await;
        }
        Ok(progress)
    }

    async fn look_at_attempt(
        &self,
        grant: &UploadGrant,
        attempt: Attempt,
    ) -> Result<Progress, SourceError> {
        let source = grant.source();
        let _current = self.enter(source).await?;
        let found = self.store.find_attempt(source, attempt).await?;
        if found.as_ref().is_none_or(Progress::has_ended) {
            self.open_attempts.end(source, Some(attempt));
        }
        let progress = found.ok_or(SourceError::UnknownAttempt)?;
        match (progress.first, progress.published()) {
            (Some(first), None) => Err(SourceError::AlreadyUploaded { first }),
            _ => Ok(progress),
        }
    }

    /// Ends an attempt for good. On a bucket, parts that another node may be publishing stay until the source expires.
    pub async fn cancel_attempt(
        &self,
        grant: &UploadGrant,
        attempt: Attempt,
    ) -> Result<(), SourceError> {
        let source = grant.source();
        let _current = self.enter(source).await?;
        let cancelled = self.store.cancel_attempt(source, attempt).await?;
        // Whether by this or by something else.
        self.open_attempts.end(source, Some(attempt));
        let progress = cancelled.ok_or(SourceError::UnknownAttempt)?;
        match progress.first {
            Some(first) => Err(SourceError::AlreadyUploaded { first }),
            None => Ok(()),
        }
    }

    /// Appends a part, and publishes the archive if it was the last one. Returns once that is durable.
    pub async fn append(
        &self,
        _slot: Slot,
        grant: &UploadGrant,
        attempt: Attempt,
        part: Part,
        body: impl Stream<Item = Result<Sent, BrokenBody>> + Unpin,
    ) -> Result<Appended, SourceError> {
        let source = grant.source();
        let mut current = self.enter(source).await?;
        let mut open = match self.store.open_attempt(source, attempt).await? {
            AttemptStart::GoesOn(open) => open,
            AttemptStart::Ended(progress) => {
                self.open_attempts.end(source, Some(attempt));
                return again(&progress, &part);
            }
            AttemptStart::Unknown => {
                self.open_attempts.end(source, Some(attempt));
                return Err(SourceError::UnknownAttempt);
            }
        };
        let appended = self
            .take_part(source, attempt, &mut open, &part, body, &mut current)
            .await;
        let is_last = match appended {
            Ok(is_last) => is_last,
            Err(error) => return Err(self.give_up(source, attempt, open, &part, error).await),
        };
        if !is_last {
            let offset = open.commit().await?;
            return Ok(Appended {
                offset,
                published: None,
            });
        }
        let facts = self.finish(source, attempt, open, &part).await?;
        Ok(Appended {
            offset: facts.size_bytes,
            published: Some(facts),
        })
    }

    /// Receives a part, and returns whether it was the last one. Only checkpoints are committed.
    async fn take_part(
        &self,
        source: SourceId,
        attempt: Attempt,
        open: &mut OpenAttempt,
        part: &Part,
        body: impl Stream<Item = Result<Sent, BrokenBody>> + Unpin,
        current: &mut Current,
    ) -> Result<bool, SourceError> {
        self.check_part(open, part).await?;
        let received = tokio::select! {
            received = self.pump_part(source, attempt, open, part, body) => received,
            () = current.superseded() => Err(SourceError::Superseded),
            () = self.clock.wait_until(source.expires_at()) => Err(SourceError::Expired(Expired {
                expired_at: source.expires_at(),
                now: self.clock.now(),
            })),
        };
        let end = part.offset + received?;
        let announced_bytes = open.progress().saved.announced_bytes;
        match (part.end, announced_bytes) {
            (PartEnd::More, _) | (PartEnd::ByLength, None) => Ok(false),
            (PartEnd::ByLength, Some(announced_bytes)) => Ok(end == announced_bytes),
            (PartEnd::Last, Some(announced_bytes)) if end != announced_bytes => {
                Err(inconsistent(announced_bytes, end))
            }
            (PartEnd::Last, _) if end == 0 => Err(SourceError::Empty),
            (PartEnd::Last, Some(_)) => Ok(true),
            (PartEnd::Last, None) => {
                open.announce(end).await?;
                Ok(true)
            }
        }
    }

    /// Checks a part before any of it is read.
    async fn check_part(&self, open: &mut OpenAttempt, part: &Part) -> Result<(), SourceError> {
        let offset = open.progress().saved.offset;
        check_offset(offset, part)?;
        if let Some(bytes) = part.announced_bytes {
            match open.progress().saved.announced_bytes {
                Some(before) if before != bytes => return Err(inconsistent(before, bytes)),
                None if bytes < offset => return Err(inconsistent(offset, bytes)),
                _ if bytes > self.limits.upload_bytes => return Err(self.too_large(Some(bytes))),
                _ => open.announce(bytes).await?,
            }
        }
        let announced_bytes = open.progress().saved.announced_bytes;
        let Some(end) = part.size_bytes.map(|bytes| offset.saturating_add(bytes)) else {
            return Ok(());
        };
        match announced_bytes {
            Some(announced_bytes) if end > announced_bytes => {
                Err(inconsistent(announced_bytes, end))
            }
            Some(announced_bytes) if part.end == PartEnd::Last && end < announced_bytes => {
                Err(inconsistent(announced_bytes, end))
            }
            _ if end > self.limits.upload_bytes => Err(self.too_large(Some(end))),
            _ => Ok(()),
        }
    }

    /// Moves the body of a part into its attempt. Returns how many bytes it had.
    async fn pump_part(
        &self,
        source: SourceId,
        attempt: Attempt,
        open: &mut OpenAttempt,
        part: &Part,
        mut body: impl Stream<Item = Result<Sent, BrokenBody>> + Unpin,
    ) -> Result<u64, SourceError> {
        let mut meter = PaceMeter::new(self.limits.upload_pace);
        let mut digester = Digester::expecting(&part.expected);
        let announced_bytes = open.progress().saved.announced_bytes;
        let bytes = announced_bytes.unwrap_or(part.offset);
        self.open_attempts
            .note(source, attempt, bytes, self.clock.now())?;
        let mut received_bytes = 0;
        loop {
            let next = next_of(&mut body, &mut meter, &mut Sink::Part(open)).await?;
            let chunk = match next {
                Err(pace) => {
                    return Err(SourceError::PartTooSlow {
                        kept_bytes: 0,
                        pace,
                    });
                }
                Ok(Some(Err(BrokenBody::InvalidDigest(error)))) => return Err(error.into()),
                Ok(Some(Err(BrokenBody::EndedEarly))) => {
                    return Err(SourceError::PartBroken { kept_bytes: 0 });
                }
                Ok(None) if part.size_bytes > Some(received_bytes) => {
                    return Err(SourceError::PartBroken { kept_bytes: 0 });
                }
                Ok(None) => break,
                // Ignored: the digests of a part must be in its head.
                Ok(Some(Ok(Sent::Digests(_)))) => continue,
                Ok(Some(Ok(Sent::Bytes(chunk)))) => chunk,
            };
            received_bytes += chunk.len() as u64;
            let end = part.offset + received_bytes;
            match announced_bytes {
                Some(announced_bytes) if end > announced_bytes => {
                    return Err(inconsistent(announced_bytes, end));
                }
                _ if end > self.limits.upload_bytes => return Err(self.too_large(None)),
                Some(_) => {}
                None => self
                    .open_attempts
                    .grow(source, attempt, end, self.clock.now())?,
            }
            if part.expected.is_empty() {
                // Before there is more: what ends a part is committed anyway.
                open.checkpoint().await?;
            } else {
                // Nothing of it is kept before it is known to be right.
                digester.update(&chunk);
            }
            open.write(chunk).await?;
        }
        let digests = digester.finish();
        let checked = part.expected.check(&digests);
        checked.map_err(SourceError::PartDigestMismatch)?;
        Ok(received_bytes)
    }

    /// What becomes of an attempt whose part was refused: a part that broke off is kept as far as it arrived.
    async fn give_up(
        &self,
        source: SourceId,
        attempt: Attempt,
        mut open: OpenAttempt,
        part: &Part,
        error: SourceError,
    ) -> SourceError {
        if matches!(error, SourceError::InconsistentLength { .. }) {
            self.cancel_open(source, attempt, open).await;
            return error;
        }
        if let SourceError::PartDigestMismatch(mismatch) = error {
            let kept = open.kept_bytes().await;
            if matches!(kept, Ok(kept_bytes) if kept_bytes == part.offset) {
                return SourceError::PartDigestMismatch(mismatch);
            }
            // Of a large part a store may have kept the beginning, where nobody knows which bytes are wrong.
            self.cancel_open(source, attempt, open).await;
            return SourceError::DigestMismatch(mismatch);
        }
        let kept_bytes = keep(&mut open, part, &error).await;
        if let SourceError::PartTooSlow { pace, .. } = error {
            return SourceError::PartTooSlow { kept_bytes, pace };
        }
        if let SourceError::PartBroken { .. } = error {
            return SourceError::PartBroken { kept_bytes };
        }
        error
    }

    async fn cancel_open(&self, source: SourceId, attempt: Attempt, open: OpenAttempt) {
        open.cancel().await;
        self.open_attempts.end(source, Some(attempt));
    }

    /// Publishes what was sent, if it is what was meant.
    async fn finish(
        &self,
        source: SourceId,
        attempt: Attempt,
        open: OpenAttempt,
        part: &Part,
    ) -> Result<Facts, SourceError> {
        let mut expected = open.progress().plan.expected.clone();
        let late = part.expected_of_all.clone();
        let computed = expected.algorithms();
        // A digest that comes this late is stored nowhere. If it were noted that all was sent, a server that is interrupted
        // here would have the archive published later without it.
        let staged = if late.is_empty() {
            open.finish().await?
        } else {
            open.finish_unnoted().await?
        };
        expected.add_late(late, &computed);
        let checked = expected.check(&staged.digests).map_err(SourceError::from);
        let expiry = source.check_expiry(self.clock.now());
        if let Err(error) = checked.and(expiry.map_err(SourceError::from)) {
            staged.abandon().await;
            self.open_attempts.end(source, Some(attempt));
            return Err(error);
        }
        let published = self.publish_attempt(staged).await;
        // Syncing may have taken until after the expiry; then it is swept, and nobody can fetch it.
        source.check_expiry(self.clock.now())?;
        if !matches!(published, Err(SourceError::Store(_))) {
            self.open_attempts.end(source, Some(attempt));
        }
        published
    }

    async fn publish_attempt(&self, staged: Staged) -> Result<Facts, SourceError> {
        let (size_bytes, digests) = (staged.size_bytes, staged.digests.clone());
        match staged.publish(self.clock.now()).await? {
            Published::New(facts) => Ok(facts),
            Published::AlreadyUploaded(first) => same_or_conflict(first, size_bytes, &digests),
        }
    }
}

/// Stores the received bytes of a part that broke off, unless it can only be kept whole, and returns the offset. When this
/// returns, nothing of the part is still on its way to the store, where the next request would run into it.
async fn keep(open: &mut OpenAttempt, part: &Part, error: &SourceError) -> u64 {
    let is_broken = matches!(
        error,
        SourceError::PartBroken { .. } | SourceError::PartTooSlow { .. } | SourceError::Superseded
    );
    let kept = if is_broken && part.expected.is_empty() {
        open.commit().await
    } else {
        open.kept_bytes().await
    };
    kept.unwrap_or_else(|failed| {
        tracing::error!(
            error = chain(&failed),
            "the received bytes of a broken part could not be stored"
        );
        open.progress().saved.offset
    })
}

/// The archive is there: the report again, if it is this attempt, and nothing more is sent of it.
fn again(progress: &Progress, part: &Part) -> Result<Appended, SourceError> {
    let published = progress.published();
    if let (Some(first), None) = (progress.first, published) {
        return Err(SourceError::AlreadyUploaded { first });
    }
    let offset = progress.saved.offset;
    check_offset(offset, part)?;
    match part.size_bytes {
        Some(0) => Ok(Appended { offset, published }),
        more => Err(inconsistent(
            offset,
            offset.saturating_add(more.unwrap_or(1)),
        )),
    }
}

const fn check_offset(expected: u64, part: &Part) -> Result<(), SourceError> {
    let provided = part.offset;
    if expected != provided {
        return Err(SourceError::WrongOffset { expected, provided });
    }
    Ok(())
}

const fn inconsistent(first_bytes: u64, then_bytes: u64) -> SourceError {
    SourceError::InconsistentLength {
        first_bytes,
        then_bytes,
    }
}
