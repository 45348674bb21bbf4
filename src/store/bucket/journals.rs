//! Journals as chunks: each append creates an object where none was, whose key says at which offset its bytes
//! begin. So of two that append at once only one does, whichever server they ask.
//!
//! A journal reaches as far as its chunks follow each other; where it ends is found by listing them from the
//! last one that is known here.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use object_store::{Error, ObjectMeta, ObjectStoreExt, PutMode};

use super::errors::failed;
use super::shared::{BucketStore, Chunk, Overwrite};
use crate::mutex::lock;
use crate::store::archive::Audit;
use crate::store::error::{Result, StoreError};
use crate::store::journal::{Appended, JournalKey};

/// How often a chunk is tried to be created while the object store says that others do.
const CREATE_ATTEMPTS: u32 = 3;
/// Of how many journals the last chunk is kept in memory. Others are listed from their beginning.
const KNOWN_JOURNALS: usize = 10_000;
/// How many chunks are read at once.
const READ_AT_ONCE: usize = 8;
/// How many keys are deleted at once: as many as object stores take in one request.
const BATCH_KEYS: usize = 1000;

impl Chunk {
    const fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

impl BucketStore {
    pub(crate) async fn append_journal(
        &self,
        key: &JournalKey,
        offset: u64,
        bytes: Bytes,
    ) -> Result<Appended> {
        let length = bytes.len() as u64;
        let chunk = Chunk { offset, length };
        // It once ended there: whoever creates the next chunk has appended to it, and nobody else can.
        let is_known = self.known_end(key) == Some(offset) && self.overwrite == Overwrite::Refuse;
        if !is_known || bytes.is_empty() {
            let length = self.journal_length(key).await?;
            if offset != length || bytes.is_empty() {
                return Ok(Appended::Mismatch { length });
            }
        }
        let path = self.keys.chunk(key, offset);
        for _ in 0..CREATE_ATTEMPTS {
            let put = self.put_if(PutMode::Create, &path, bytes.clone().into());
            match put.await {
                Ok(_) => {
                    self.note_last(key, chunk);
                    let length = chunk.end();
                    return Ok(Appended::Done { length });
                }
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
                Err(error) => return Err(failed("append to a journal")(error)),
            }
            let length = self.journal_length(key).await?;
            // Object stores also say so when two create at once, and neither has yet.
            if length != offset {
                return Ok(Appended::Mismatch { length });
            }
        }
        Err(StoreError::Contended)
    }

    pub(crate) async fn journal_length(&self, key: &JournalKey) -> Result<u64> {
        let known = lock(&self.last_chunks).get(key).copied();
        if let Some(known) = known {
            if let Some(last) = self.last_from(key, known.offset).await? {
                return Ok(last.end());
            }
            // Another server has deleted it.
            lock(&self.last_chunks).remove(key);
        }
        let last = self.last_from(key, 0).await?;
        Ok(last.map_or(0, Chunk::end))
    }

    /// Ends where an append ended, unless that alone is more than `limit_bytes`: there it costs one list to
    /// read on.
    pub(crate) async fn read_journal(
        &self,
        key: &JournalKey,
        offset: u64,
        limit_bytes: usize,
    ) -> Result<Bytes> {
        let reads = self.find_reads(key, offset, limit_bytes as u64).await?;
        let objects = self.objects();
        let reads = reads.into_iter().map(|(chunk, range)| async move {
            let path = self.keys.chunk(key, chunk);
            let wanted = range.end - range.start;
            let problem = match objects.get_range(&path, range).await {
                Ok(bytes) if bytes.len() as u64 == wanted => return Ok(Some(bytes)),
                Ok(_) => "it is shorter than it was",
                // The journal was deleted just now.
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(failed("read a journal")(error)),
            };
            let path = path.as_ref().into();
            Err(StoreError::Corrupt { path, problem })
        });
        let mut reads = stream::iter(reads).buffered(READ_AT_ONCE);
        let mut read = BytesMut::new();
        while let Some(bytes) = reads.next().await {
            match bytes? {
                Some(bytes) => read.extend_from_slice(&bytes),
                None => break,
            }
        }
        Ok(read.freeze())
    }

    pub(crate) async fn delete_journal(&self, key: &JournalKey) -> Result<()> {
        lock(&self.last_chunks).remove(key);
        let folder = self.keys.journal(key);
        let listed = self.objects().list(Some(&folder));
        let mut batches = listed.chunks(BATCH_KEYS);
        while let Some(batch) = batches.next().await {
            let keys: object_store::Result<Vec<_>> = batch.into_iter().collect();
            let keys = keys.map_err(failed("list a journal"))?;
            let keys = keys.into_iter().map(|meta| meta.location);
            let ours = keys.filter(|path| self.keys.parse_chunk(path).is_some());
            let (_, errors) = self.delete(ours.collect()).await;
            if let Some(error) = errors.into_iter().next() {
                return Err(failed("delete a journal")(error));
            }
        }
        Ok(())
    }

    /// What has to be read, as chunks and the places in them, from `offset` on.
    async fn find_reads(
        &self,
        key: &JournalKey,
        offset: u64,
        limit_bytes: u64,
    ) -> Result<Vec<(u64, Range<u64>)>> {
        let reads = self.reads_from(key, offset, offset, limit_bytes).await?;
        // Within a chunk, or at the end of all.
        if reads.is_empty() && offset > 0 && self.known_end(key) != Some(offset) {
            return self.reads_from(key, 0, offset, limit_bytes).await;
        }
        Ok(reads)
    }

    /// The same, found by a list of the chunks that begin at `listed_from` and behind it.
    async fn reads_from(
        &self,
        key: &JournalKey,
        listed_from: u64,
        offset: u64,
        limit_bytes: u64,
    ) -> Result<Vec<(u64, Range<u64>)>> {
        let mut reads: Vec<(u64, Range<u64>)> = Vec::new();
        let mut left = limit_bytes;
        let mut chunks = self.list_chunks(key, listed_from);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            self.note_last(key, chunk);
            if chunk.end() <= offset {
                continue;
            }
            let start = offset.saturating_sub(chunk.offset);
            let length = chunk.length - start;
            if length > left && !reads.is_empty() {
                break;
            }
            let length = length.min(left);
            reads.push((chunk.offset, start..start + length));
            left -= length;
        }
        Ok(reads)
    }

    /// The last chunk of those that follow each other from the one that begins at `offset` on.
    async fn last_from(&self, key: &JournalKey, offset: u64) -> Result<Option<Chunk>> {
        let mut chunks = self.list_chunks(key, offset);
        let mut last = None;
        while let Some(chunk) = chunks.next().await {
            last = Some(chunk?);
        }
        if let Some(last) = last {
            self.note_last(key, last);
        }
        Ok(last)
    }

    /// The chunks that follow each other from the one that begins at `offset` on.
    fn list_chunks(&self, key: &JournalKey, offset: u64) -> BoxStream<'_, Result<Chunk>> {
        let key = *key;
        let folder = self.keys.journal(&key);
        let listed = match offset.checked_sub(1) {
            Some(before) => {
                let before = self.keys.chunk(&key, before);
                self.objects().list_with_offset(Some(&folder), &before)
            }
            None => self.objects().list(Some(&folder)),
        };
        let chunks = listed.filter_map(move |meta| {
            let chunk = meta.map(|meta| self.chunk_of(&meta));
            ready(chunk.map(|chunk| chunk.map(|(_, chunk)| chunk)).transpose())
        });
        let mut next = offset;
        let following = chunks.take_while(move |chunk| {
            let follows = chunk.as_ref().map_or(true, |chunk| chunk.offset == next);
            next = chunk.as_ref().map_or(next, |chunk| chunk.end());
            ready(follows)
        });
        let failed = failed("list a journal");
        following.map(move |chunk| chunk.map_err(&failed)).boxed()
    }

    fn chunk_of(&self, meta: &ObjectMeta) -> Option<(JournalKey, Chunk)> {
        let (key, offset) = self.keys.parse_chunk(&meta.location)?;
        let length = meta.size;
        Some((key, Chunk { offset, length }))
    }

    fn known_end(&self, key: &JournalKey) -> Option<u64> {
        lock(&self.last_chunks).get(key).copied().map(Chunk::end)
    }

    /// A chunk that is behind all that are known.
    fn note_last(&self, key: &JournalKey, chunk: Chunk) {
        let mut known = lock(&self.last_chunks);
        if known
            .get(key)
            .is_some_and(|last| last.offset >= chunk.offset)
        {
            return;
        }
        if known.len() >= KNOWN_JOURNALS {
            known.clear();
        }
        known.insert(*key, chunk);
    }

    /// Counts the journals; one in which something is missing is a fault.
    pub(super) async fn audit_journals(&self, audit: &mut Audit) -> Result<()> {
        let mut ends: BTreeMap<JournalKey, u64> = BTreeMap::new();
        let mut broken = BTreeSet::new();
        let mut listed = self.objects().list(Some(&self.keys.journals()));
        while let Some(next) = listed.next().await {
            let meta = next.map_err(failed("list the journals"))?;
            let Some((key, chunk)) = self.chunk_of(&meta) else {
                let fault = format!("{} is nothing that this store made", meta.location);
                audit.faults.push(fault);
                continue;
            };
            let end = ends.entry(key).or_default();
            if *end != chunk.offset {
                broken.insert(key);
            }
            *end = chunk.end();
        }
        audit.journals += (ends.len() - broken.len()) as u64;
        for key in broken {
            // Unless it was being deleted while it was listed.
            if let Some(fault) = self.find_gap(&key).await? {
                audit.faults.push(fault);
            }
        }
        Ok(())
    }

    /// What is missing between the chunks of a journal, if anything is.
    async fn find_gap(&self, key: &JournalKey) -> Result<Option<String>> {
        let end = self.last_from(key, 0).await?.map_or(0, Chunk::end);
        let mut listed = self.objects().list(Some(&self.keys.journal(key)));
        while let Some(next) = listed.next().await {
            let meta = next.map_err(failed("list a journal"))?;
            if let Some((_, chunk)) = self.chunk_of(&meta)
                && chunk.offset > end
            {
                let missing = format!(
                    "of {key} the bytes from {end} to {} are missing",
                    chunk.offset
                );
                return Ok(Some(missing));
            }
        }
        Ok(None)
    }
}
