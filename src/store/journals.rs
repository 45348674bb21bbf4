//! Appending to journals and reading them: logs that grow while others read them.
//!
//! * **At one place.** Bytes are appended where the journal ends, and nowhere else. The same bytes sent
//!   again, since an answer was lost, change nothing.
//! * **Durable is what is told.** No length and no byte is shown that a crash could take back, and none
//!   that is torn.
//! * **Nothing is cut and nothing skipped.** Whoever reads from where they stopped reads all there is.

use bytes::Bytes;

use super::Store;
use super::error::Result;
use super::journal::{Appended, JournalKey, check_append};

impl Store {
    /// Appends `bytes` to a journal that is to end at `offset`; a new one is empty. Returns when they are
    /// durable.
    pub async fn append_journal(
        &self,
        key: &JournalKey,
        offset: u64,
        bytes: Bytes,
    ) -> Result<Appended> {
        check_append(bytes.len())?;
        let added = bytes.clone();
        let appended = ask!(self, store => store.append_journal(key, offset, bytes).await?);
        if let Appended::Mismatch { length } = appended
            && self.is_there(key, offset, &added, length).await?
        {
            return Ok(Appended::Repeated { length });
        }
        Ok(appended)
    }

    /// Does a journal that ends at `length` hold these bytes at `offset`?
    async fn is_there(
        &self,
        key: &JournalKey,
        offset: u64,
        bytes: &[u8],
        length: u64,
    ) -> Result<bool> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > length || bytes.is_empty() && offset != length {
            return Ok(false);
        }
        let (mut left, mut at) = (bytes, offset);
        while !left.is_empty() {
            let found = self.read_journal(key, at, left.len()).await?;
            let Some(rest) = left.strip_prefix(&*found).filter(|_| !found.is_empty()) else {
                return Ok(false);
            };
            left = rest;
            at += found.len() as u64;
        }
        Ok(true)
    }

    /// What a journal holds from `offset` on, at most `limit_bytes` of it, which is more than none. There may
    /// be more behind what comes; nothing comes only at the end, or where there is no journal.
    pub async fn read_journal(
        &self,
        key: &JournalKey,
        offset: u64,
        limit_bytes: usize,
    ) -> Result<Bytes> {
        ask!(self, store => store.read_journal(key, offset, limit_bytes).await)
    }

    /// How long a journal is: 0 if there is none.
    pub async fn journal_length(&self, key: &JournalKey) -> Result<u64> {
        ask!(self, store => store.journal_length(key).await)
    }

    /// Deletes a journal, if there is one. Nobody may append to it meanwhile or later. If that fails, its end may
    /// be missing, and it has to be deleted again.
    pub async fn delete_journal(&self, key: &JournalKey) -> Result<()> {
        ask!(self, store => store.delete_journal(key).await)
    }
}
