//! The bytes that are moved: noise that repeats with a period of just under a mebibyte, so that the
//! client's own side of a transfer stays in the processor's cache, and differs from any other by
//! where it starts.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// No multiple of anything that servers count in: a piece that comes twice, or not at all, is seen.
const PERIOD: usize = 1024 * 1024 - 4099;
/// Between the starts of bodies that are moved at the same time.
const STRIDE: usize = 40_009;

/// Some bytes, all of which are known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body {
    pub(crate) length: u64,
    start: usize,
}

impl Body {
    /// The body that the client of that number moves.
    pub(crate) fn new(length: u64, number: usize) -> Self {
        Self {
            length,
            start: number * STRIDE % PERIOD,
        }
    }

    /// What comes at `at`: as much as lies in one piece in memory.
    pub(crate) fn piece(&self, at: u64) -> &'static [u8] {
        let left = self.length - at;
        let begin = (self.start as u64 + at) % PERIOD as u64;
        let piece = &block()[usize::try_from(begin).unwrap()..];
        let end = usize::try_from(left.min(piece.len() as u64)).unwrap();
        &piece[..end]
    }

    /// Are these the bytes at `at`?
    pub(crate) fn has(&self, mut at: u64, mut bytes: &[u8]) -> bool {
        if at + bytes.len() as u64 > self.length {
            return false;
        }
        while !bytes.is_empty() {
            let piece = self.piece(at);
            let length = piece.len().min(bytes.len());
            if bytes[..length] != piece[..length] {
                return false;
            }
            at += length as u64;
            bytes = &bytes[length..];
        }
        true
    }

    /// SHA-256 of all of it, in hex.
    pub(crate) fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        let mut at = 0;
        while at < self.length {
            let piece = self.piece(at);
            hasher.update(piece);
            at += piece.len() as u64;
        }
        in_hex(&hasher.finalize())
    }
}

pub(crate) fn in_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn block() -> &'static [u8] {
    static BLOCK: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    BLOCK.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        noise.flatten().take(PERIOD).collect()
    })
}
