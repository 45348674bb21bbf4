//! An archive that is sent: its bytes, as often as they are needed, and their digest.

use std::fs::File;
use std::future::ready;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Weak};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use reqwest::Body;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::error::ClientError;
use super::progress::Progress;
use crate::digest::Sha256Digest;

const CHUNK_BYTES: u64 = 256 * 1024;
/// How many chunks are read ahead.
const CHUNKS_AHEAD: usize = 4;

/// An archive that stays as it is.
#[derive(Clone, Debug)]
pub struct Archive {
    pub file: Arc<File>,
    pub bytes: u64,
    /// For the server.
    pub media_type: &'static str,
    sha256: Shared<BoxFuture<'static, Result<Sha256Digest, Arc<io::Error>>>>,
}

impl Archive {
    /// One whose digest is known.
    pub fn packed(file: File, bytes: u64, sha256: Sha256Digest, media_type: &'static str) -> Self {
        Self {
            file: Arc::new(file),
            bytes,
            media_type,
            sha256: ready(Ok(sha256)).boxed().shared(),
        }
    }

    /// One that is read for its digest from now on, while it may be sent already.
    pub fn of_file(file: File, media_type: &'static str) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        let file = Arc::new(file);
        let read = Arc::downgrade(&file);
        let digesting = spawn_blocking(move || digest(&read, bytes));
        let sha256 = digesting.map(|digested| digested.map_err(io::Error::other).flatten());
        let sha256 = sha256.map(|sha256| sha256.map_err(Arc::new));
        Ok(Self {
            file,
            bytes,
            media_type,
            sha256: sha256.boxed().shared(),
        })
    }

    /// Waits until it is known.
    pub async fn sha256(&self) -> Result<Sha256Digest, ClientError> {
        let known = self.sha256.clone().await;
        known.map_err(|error| ClientError::Read(io::Error::new(error.kind(), error)))
    }

    /// Fails if it could not be computed.
    pub(super) async fn check_readable(&self) -> Result<(), ClientError> {
        match self.sha256.clone().now_or_never() {
            Some(Err(_)) => self.sha256().await.map(drop),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    /// As RFC 9530 spells it.
    pub(super) async fn repr_digest(&self) -> Result<String, ClientError> {
        let digest = STANDARD.encode(self.sha256().await?.0);
        Ok(format!("sha-256=:{digest}:"))
    }

    /// A part of it as the body of a request. `progress` is where the body is.
    pub(super) fn body(&self, from: u64, end: u64, progress: &Arc<Progress>) -> Body {
        let (hand_on, mut chunks) = mpsc::channel::<io::Result<Bytes>>(CHUNKS_AHEAD);
        let (file, progress) = (Arc::clone(&self.file), Arc::clone(progress));
        spawn_blocking(move || {
            let mut at = from;
            while at < end {
                let count = CHUNK_BYTES.min(end - at);
                let mut chunk = vec![0; usize::try_from(count).unwrap_or_default()];
                let read = file.read_exact_at(&mut chunk, at).map(|()| chunk.into());
                let has_failed = read.is_err();
                if hand_on.blocking_send(read).is_err() || has_failed {
                    return;
                }
                at += count;
                progress.set_done(at);
            }
        });
        Body::wrap_stream(futures_util::stream::poll_fn(move |context| {
            chunks.poll_recv(context)
        }))
    }
}

/// Reads a file for its digest, unless nobody wants that any more.
fn digest(file: &Weak<File>, bytes: u64) -> io::Result<Sha256Digest> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; usize::try_from(CHUNK_BYTES).unwrap_or_default()];
    let mut at = 0;
    while at < bytes {
        let file = file.upgrade().ok_or(io::ErrorKind::Interrupted)?;
        let rest = usize::try_from(bytes - at).unwrap_or(usize::MAX);
        let end = chunk.len().min(rest);
        file.read_exact_at(&mut chunk[..end], at)?;
        hash.update(&chunk[..end]);
        at += end as u64;
    }
    Ok(Sha256Digest(hash.finalize().into()))
}
