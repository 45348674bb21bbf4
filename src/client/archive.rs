//! An archive that is sent: its bytes, as often as they are needed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::Body;
use tokio::sync::mpsc;

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
    pub sha256: Sha256Digest,
    /// For the server.
    pub media_type: &'static str,
}

impl Archive {
    /// As RFC 9530 spells it.
    pub(super) fn repr_digest(&self) -> String {
        format!("sha-256=:{}:", STANDARD.encode(self.sha256.0))
    }

    /// A part of it as the body of a request. `progress` is where the body is.
    pub(super) fn body(&self, from: u64, end: u64, progress: &Arc<Progress>) -> Body {
        let (hand_on, mut chunks) = mpsc::channel::<io::Result<Bytes>>(CHUNKS_AHEAD);
        let (file, progress) = (Arc::clone(&self.file), Arc::clone(progress));
        tokio::task::spawn_blocking(move || {
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
