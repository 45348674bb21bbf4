//! Reading everything and saying what does not fit together.

use futures_util::StreamExt;
use sha2::{Digest as _, Sha256};

use super::archive::Audit;
use super::error::Result;
use super::{Download, Store, StoreError};
use crate::digest::Sha256Digest;
use crate::source::SourceId;

impl Store {
    /// Reads every archive whole. Uploads and sweeps may go on meanwhile.
    pub async fn audit(&self) -> Result<Audit> {
        let (sources, mut audit) = ask!(self, store => store.list_all().await?);
        for source in sources {
            match self.digest(source).await {
                Ok(Some((expected, found))) if found == expected => audit.whole += 1,
                Ok(Some((expected, found))) => audit.faults.push(format!(
                    "{source} has changed: its SHA-256 was {expected} and is {found}"
                )),
                Ok(None) => {}
                Err(corrupt @ StoreError::Corrupt { .. }) => {
                    // Unless it was deleted while it was read.
                    if !matches!(self.open(source).await, Ok(None)) {
                        audit.faults.push(corrupt.to_string());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(audit)
    }

    /// What the digest of an archive should be, and what it is; `None` if there is none any more.
    async fn digest(&self, source: SourceId) -> Result<Option<(Sha256Digest, Sha256Digest)>> {
        let Some(download) = self.open(source).await? else {
            return Ok(None);
        };
        let facts = *download.facts();
        let mut digest = Sha256::new();
        let all = 0..facts.size_bytes;
        let mut pieces = match download {
            Download::Folder(download) => download.into_stream(all),
            // It is no reason to keep an archive any longer.
            Download::Bucket(download) => download.into_unpinned_stream(all),
        };
        while let Some(piece) = pieces.next().await {
            digest.update(&piece?);
        }
        let found = Sha256Digest(digest.finalize().into());
        Ok(Some((facts.sha256, found)))
    }
}
