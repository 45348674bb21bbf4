//! Receiving an archive: limits, pace, digests and expiry. A refused upload leaves nothing.

use futures_util::Stream;

use super::body::{BrokenBody, Sent, Sink, next_of};
use super::{SourceError, Sources};
use crate::digest::{Algorithm, Digester, Digests, ExpectedDigests};
use crate::grant::UploadGrant;
use crate::pace::PaceMeter;
use crate::source::{Expired, Facts, SourceId};
use crate::store::{Published, Staged, Upload, UploadStart};

/// What a client says about the archive it is going to send.
pub struct Announced {
    /// Its length, if that is known.
    pub size_bytes: Option<u64>,
    /// The length of the whole archive, if the client says that as well: a body of another length is not the archive.
    pub total_bytes: Option<u64>,
    pub expected: ExpectedDigests,
    /// Of which more digests may come after the last byte.
    pub trailing: Vec<Algorithm>,
    /// The client's preconditions, given the facts of the stored archive, if there is one.
    pub precondition: Precondition,
}

/// A client's wish about what is stored where it uploads.
pub type Precondition = Box<dyn Fn(Option<&Facts>) -> bool + Send + Sync>;

impl Announced {
    fn check_precondition(&self, stored: Option<&Facts>) -> Result<(), SourceError> {
        if (self.precondition)(stored) {
            Ok(())
        } else {
            Err(SourceError::PreconditionFailed)
        }
    }

    /// Can so many bytes be all of it?
    fn check_total(&self, size_bytes: u64) -> Result<(), SourceError> {
        match self.total_bytes {
            Some(total_bytes) if total_bytes != size_bytes => {
                Err(SourceError::InconsistentLength {
                    first_bytes: total_bytes,
                    then_bytes: size_bytes,
                })
            }
            _ => Ok(()),
        }
    }

    /// Can it still be the archive that is there?
    fn check_first(&self, first: &Facts) -> Result<(), SourceError> {
        self.check_precondition(Some(first))?;
        match self.size_bytes {
            Some(size_bytes) if size_bytes != first.size_bytes => {
                Err(SourceError::AlreadyUploaded { first: *first })
            }
            _ => Ok(()),
        }
    }
}

impl Sources {
    /// Receives an archive. Returns its facts once it is durable, or those of the same bytes stored before. After any
    /// error nothing of it is left.
    pub async fn receive(
        &self,
        grant: UploadGrant,
        mut announced: Announced,
        body: impl Stream<Item = Result<Sent, BrokenBody>> + Unpin,
    ) -> Result<Facts, SourceError> {
        let source = grant.source();
        if announced.size_bytes > Some(self.limits.upload_bytes) {
            return Err(self.too_large(announced.size_bytes));
        }
        if announced.size_bytes == Some(0) {
            return Err(SourceError::Empty);
        }
        if let Some(size_bytes) = announced.size_bytes {
            announced.check_total(size_bytes)?;
        }
        let _slot = self.take_slot()?;
        // Otherwise a holder of the link could fill the store with uploads that cannot win.
        let limit = self.uploads.limit();
        let permit = self.uploads.acquire_for(source);
        let _permit = permit.ok_or(SourceError::TooManyUploads { limit })?;
        let digester = Digester::expecting(&announced.expected).computing(&announced.trailing);
        let received = match self.begin(source, &announced, digester.clone()).await? {
            UploadStart::Accepted(upload) => {
                let stored = self.store_new(upload, source, &mut announced, body).await;
                match stored {
                    Ok(facts) => Ok(facts),
                    Err(error) => Err(self.refusal(source, &announced, error).await),
                }
            }
            UploadStart::AlreadyUploaded(first) => {
                self.compare(first, digester, source, &mut announced, body)
                    .await
            }
        };
        if matches!(received, Ok(_) | Err(SourceError::AlreadyUploaded { .. })) {
            self.open_attempts.end_all_of(source);
        }
        received
    }

    /// A store may let an upload begin without a look at what is there: a client's wish about that needs one.
    async fn begin(
        &self,
        source: SourceId,
        announced: &Announced,
        digester: Digester,
    ) -> Result<UploadStart<Upload>, SourceError> {
        let begin = self
            .store
            .begin_upload(source, announced.size_bytes, digester);
        let start = begin.await?;
        if let UploadStart::Accepted(_) = start
            && announced.check_precondition(None).is_err()
            && let Some(first) = self.store.find_first(source).await?
        {
            return Ok(UploadStart::AlreadyUploaded(first));
        }
        Ok(start)
    }

    /// The error of an upload that may have begun without that look: the error that the look would have found has
    /// precedence.
    async fn refusal(
        &self,
        source: SourceId,
        announced: &Announced,
        error: SourceError,
    ) -> SourceError {
        let is_of_client = matches!(
            error,
            SourceError::EndedEarly { .. }
                | SourceError::TooSlow { .. }
                | SourceError::TooLarge { .. }
                | SourceError::Empty
                | SourceError::InconsistentLength { .. }
                | SourceError::InvalidDigest(_)
                | SourceError::DigestMismatch(_)
        );
        if !is_of_client {
            return error;
        }
        match self.store.find_first(source).await {
            Ok(Some(first)) => announced.check_first(&first).err().unwrap_or(error),
            Ok(None) => error,
            Err(unknown) => unknown.into(),
        }
    }

    async fn store_new(
        &self,
        mut upload: Upload,
        source: SourceId,
        announced: &mut Announced,
        body: impl Stream<Item = Result<Sent, BrokenBody>> + Unpin,
    ) -> Result<Facts, SourceError> {
        let sink = Sink::Store(&mut upload);
        let taken = match announced.check_precondition(None) {
            Ok(()) => self.take_in(source, announced, body, sink).await,
            Err(failed) => Err(failed),
        };
        if let Err(error) = taken {
            upload.abandon().await;
            return Err(error);
        }
        let staged = upload.finish().await?;
        // Before anything is published: is it what was announced, and could anyone still fetch it?
        let expected = announced.expected.check(&staged.digests);
        let expiry = source.check_expiry(self.clock.now());
        if let Err(error) = expected
            .map_err(SourceError::from)
            .and(expiry.map_err(SourceError::from))
        {
            staged.abandon().await;
            return Err(error);
        }
        let published = self.publish(staged, announced).await;
        // Syncing may have taken until after the expiry; then it is swept, and nobody can fetch it.
        source.check_expiry(self.clock.now())?;
        published
    }

    async fn publish(&self, staged: Staged, announced: &Announced) -> Result<Facts, SourceError> {
        let (size_bytes, digests) = (staged.size_bytes, staged.digests.clone());
        match staged.publish(self.clock.now()).await? {
            Published::New(facts) => Ok(facts),
            Published::AlreadyUploaded(first) => {
                announced.check_precondition(Some(&first))?;
                same_or_conflict(first, size_bytes, &digests)
            }
        }
    }

    /// The source has its archive: the same bytes again are a success, since their sender may have
    /// lost the first answer. They are digested, not stored.
    async fn compare(
        &self,
        first: Facts,
        mut digester: Digester,
        source: SourceId,
        announced: &mut Announced,
        body: impl Stream<Item = Result<Sent, BrokenBody>> + Unpin,
    ) -> Result<Facts, SourceError> {
        announced.check_first(&first)?;
        let sink = Sink::Digest(&mut digester);
        let size_bytes = self.take_in(source, announced, body, sink).await?;
        let digests = digester.finish();
        announced.expected.check(&digests)?;
        same_or_conflict(first, size_bytes, &digests)
    }

    /// Moves the whole body into `sink`, until the source expires. Returns how many bytes it had.
    async fn take_in(
        &self,
        source: SourceId,
        announced: &mut Announced,
        body: impl Stream<Item = Result<Sent, BrokenBody>> + Unpin,
        sink: Sink<'_>,
    ) -> Result<u64, SourceError> {
        tokio::select! {
            received = self.pump(announced, body, sink) => received,
            () = self.clock.wait_until(source.expires_at()) => Err(SourceError::Expired(Expired {
                expired_at: source.expires_at(),
                now: self.clock.now(),
            })),
        }
    }

    async fn pump(
        &self,
        announced: &mut Announced,
        mut body: impl Stream<Item = Result<Sent, BrokenBody>> + Unpin,
        mut sink: Sink<'_>,
    ) -> Result<u64, SourceError> {
        let mut meter = PaceMeter::new(self.limits.upload_pace);
        let mut received_bytes = 0;
        let announced_bytes = announced.size_bytes;
        let ended_early = |received_bytes| SourceError::EndedEarly {
            received_bytes,
            announced_bytes,
        };
        loop {
            match next_of(&mut body, &mut meter, &mut sink).await? {
                Err(pace) => {
                    return Err(SourceError::TooSlow {
                        received_bytes,
                        pace,
                    });
                }
                Ok(Some(Err(BrokenBody::EndedEarly))) => return Err(ended_early(received_bytes)),
                Ok(Some(Err(BrokenBody::InvalidDigest(error)))) => return Err(error.into()),
                Ok(None) if announced_bytes > Some(received_bytes) => {
                    return Err(ended_early(received_bytes));
                }
                Ok(None) if received_bytes == 0 => return Err(SourceError::Empty),
                Ok(None) => {
                    announced.check_total(received_bytes)?;
                    return Ok(received_bytes);
                }
                Ok(Some(Ok(Sent::Digests(late)))) => {
                    announced.expected.add_late(late, &announced.trailing);
                }
                Ok(Some(Ok(Sent::Bytes(chunk)))) => {
                    received_bytes += chunk.len() as u64;
                    if received_bytes > self.limits.upload_bytes {
                        return Err(self.too_large(None));
                    }
                    if announced
                        .total_bytes
                        .is_some_and(|total_bytes| received_bytes > total_bytes)
                    {
                        announced.check_total(received_bytes)?;
                    }
                    sink.write(chunk).await?;
                    if let Some(first) = sink.first() {
                        announced.check_first(first)?;
                    }
                }
            }
        }
    }

    pub(super) const fn too_large(&self, size_bytes: Option<u64>) -> SourceError {
        SourceError::TooLarge {
            limit_bytes: self.limits.upload_bytes,
            size_bytes,
        }
    }
}

pub(super) fn same_or_conflict(
    first: Facts,
    size_bytes: u64,
    digests: &Digests,
) -> Result<Facts, SourceError> {
    if first.size_bytes == size_bytes && first.sha256 == digests.sha256 {
        Ok(first)
    } else {
        Err(SourceError::AlreadyUploaded { first })
    }
}
