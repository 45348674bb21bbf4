//! The log of a deployment: what its command prints goes to a file, so that it outlives a server that is away, and
//! from there to the server, each byte once and in order.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;

use super::secret_mask::SecretMask;
use super::server::{LogReply, Server};
use super::stop_reason::{StopReason, StopSignal};
use crate::backoff::Backoff;
use crate::error_chain::{chain, printable};

/// How much of the end of a log is sent if it is longer than the server takes. The server takes this much beyond its limit.
pub(super) const TAIL_BYTES: usize = 64 * 1024;
/// How much is sent at once.
const PIECE_BYTES: u64 = 512 * 1024;
/// How long the server may hear nothing; after a minute of silence it takes the runner for lost.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// The one that writes. When it is dropped, the log has ended.
pub(super) struct LogWriter {
    file: Arc<File>,
    /// The bytes of the log that are sent while the command runs.
    limit_bytes: u64,
    secret_mask: SecretMask,
    /// How many bytes are in the file.
    length: watch::Sender<u64>,
    is_within_line: bool,
    /// The end of what has no room in the file, and how much was left out before it.
    tail: VecDeque<u8>,
    left_out_bytes: u64,
}

/// The one that sends.
pub(super) struct LogSender {
    file: Arc<File>,
    length: watch::Receiver<u64>,
}

pub(super) fn log_to(
    file: File,
    limit_bytes: u64,
    secret_mask: SecretMask,
) -> (LogWriter, LogSender) {
    let (length, seen_length) = watch::channel(0);
    let file = Arc::new(file);
    let writer = LogWriter {
        file: Arc::clone(&file),
        limit_bytes,
        secret_mask,
        length,
        is_within_line: false,
        tail: VecDeque::new(),
        left_out_bytes: 0,
    };
    let length = seen_length;
    (writer, LogSender { file, length })
}

impl LogWriter {
    /// Adds what the command has printed.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let shown = self.secret_mask.mask(bytes);
        self.append(&shown)
    }

    /// Adds a line of the runner's own.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        let rest = self.secret_mask.rest();
        self.append(&rest)?;
        let start = if self.is_within_line { "\n" } else { "" };
        let line = format!("{start}waystation: {}\n", printable(text));
        self.append(line.as_bytes())
    }

    /// Adds what was held back.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let rest = self.secret_mask.rest();
        self.append(&rest)?;
        let tail = std::mem::take(&mut self.tail);
        if tail.is_empty() {
            return Ok(());
        }
        if self.left_out_bytes > 0 {
            let line = format!(
                "\nwaystation: the log is longer than {}; {} bytes are left out here\n",
                bytesize::ByteSize(self.limit_bytes).display().iec(),
                self.left_out_bytes
            );
            self.put(line.as_bytes())?;
        }
        let (first, second) = tail.as_slices();
        self.put(first)?;
        self.put(second)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(last) = bytes.last() {
            self.is_within_line = *last != b'\n';
        }
        let room = self.limit_bytes.saturating_sub(*self.length.borrow());
        let fits = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let (now, later) = bytes.split_at(fits);
        self.put(now)?;
        self.tail.extend(later);
        let excess = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..excess);
        self.left_out_bytes += excess as u64;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        (&*self.file).write_all(bytes)?;
        self.length
            .send_modify(|length| *length += bytes.len() as u64);
        Ok(())
    }
}

impl LogSender {
    /// Sends the log until it has ended and the server has all of it, or wants none of it. Stops the deployment
    /// if the server says that it is cancelled, or over.
    pub(super) async fn send(mut self, server: Server, report_url: String, signal: StopSignal) {
        let mut offset = 0;
        // A server may take less than another had said with the claim. It is still to be heard of.
        let mut is_full = false;
        let mut backoff = Backoff::between(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            let wanted = if is_full { u64::MAX } else { offset };
            let has_ended = self.await_more(wanted).await;
            let Ok(piece) = self.piece(wanted) else {
                tracing::error!("the log of a deployment cannot be read any more");
                return;
            };
            if has_ended && piece.is_empty() {
                return;
            }
            match server.append_log(&report_url, offset, piece).await {
                Ok(LogReply::Taken(answer)) => {
                    backoff.reset();
                    offset = answer.log_bytes;
                    if answer.cancel {
                        signal.stop(StopReason::Cancelled);
                    }
                }
                Ok(LogReply::Elsewhere(log_bytes)) if log_bytes <= *self.length.borrow() => {
                    offset = log_bytes;
                    backoff.wait().await;
                }
                Ok(LogReply::Full) => is_full = true,
                // Somebody else has written to it.
                Ok(LogReply::Elsewhere(_) | LogReply::Over) => {
                    signal.stop(StopReason::Lost);
                    return;
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "cannot send a log; trying again");
                    backoff.wait().await;
                }
            }
        }
    }

    /// Waits until there is more than `offset` bytes, the log has ended, or it is time for a sign of life.
    async fn await_more(&mut self, offset: u64) -> bool {
        let more = self.length.wait_for(|length| *length > offset);
        let waited = timeout(SIGN_OF_LIFE, more).await;
        waited.is_ok_and(|more| more.is_err())
    }

    fn piece(&self, offset: u64) -> io::Result<Bytes> {
        let left = self.length.borrow().saturating_sub(offset);
        let mut piece = vec![0; usize::try_from(left.min(PIECE_BYTES)).unwrap_or(0)];
        self.file.read_exact_at(&mut piece, offset)?;
        Ok(piece.into())
    }
}

#[cfg(test)]
mod tests {
    use crate::secret::Secret;

    use super::*;

    const LIMIT: usize = 16 * 1024 * 1024;

    fn logged(write: impl FnOnce(&mut LogWriter)) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let file = super::super::work::create_private(&path).unwrap();
        let secrets = [Secret::new("a-secret-link".to_owned())];
        let (mut writer, _sender) = log_to(file, LIMIT as u64, SecretMask::of(secrets));
        write(&mut writer);
        writer.finish().unwrap();
        std::fs::read(&path).unwrap()
    }

    #[test]
    fn a_line_of_ours_begins_a_line_and_shows_no_secret() {
        let text = logged(|log| {
            log.write(b"cloning a-secr").unwrap();
            log.write(b"et-link").unwrap();
            log.line("stopped").unwrap();
            log.write(b"more\n").unwrap();
            log.line("done\x1b").unwrap();
        });
        let text = String::from_utf8(text).unwrap();
        assert_eq!(
            text,
            "cloning ***\nwaystation: stopped\nmore\nwaystation: done\\u{1b}\n"
        );
    }

    #[test]
    fn a_log_of_the_limit_is_whole_and_of_a_longer_one_the_end_is_kept() {
        let whole = logged(|log| log.write(&vec![b'a'; LIMIT + TAIL_BYTES]).unwrap());
        assert_eq!(whole.len(), LIMIT + TAIL_BYTES);
        let cut = logged(|log| {
            log.write(&vec![b'a'; LIMIT]).unwrap();
            log.write(&vec![b'Q'; 1000]).unwrap();
            log.write(&vec![b'c'; TAIL_BYTES]).unwrap();
        });
        let cut = String::from_utf8(cut).unwrap();
        assert!(cut.contains("longer than 16.0 MiB; 1000 bytes are left out here\nccc"));
        assert!(cut.ends_with(&"c".repeat(TAIL_BYTES)) && !cut.contains('Q'));
        assert!(cut.len() <= LIMIT + TAIL_BYTES + 4096);
    }
}
