//! The pin of a download: what keeps an archive past its source's expiry, while a download still reads it.
//!
//! A file that is deleted can be read to its end by whoever has it open; objects cannot. So a download
//! that is still running shortly before the expiry puts a *pin* beside the archive: a small object whose
//! key says until when it holds. A sweep sees it in its list, at no cost, and keeps the source.
//!
//! ```text
//! start ──> a minute before the expiry ──> put a pin ──> the end of the download ──> delete it
//!                                             ^  │ a minute before it ends: put another
//!                                             └──┘
//! ```
//!
//! The pin of a server that was killed ends by its deadline, and the next sweep deletes all there is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::shared::BucketStore;
use crate::clock::Timestamp;
use crate::error_chain::chain;
use crate::source::SourceId;
use crate::store::pin::Pin;

/// How long before the archive could be deleted a pin is put: by then no server's clock says that it
/// may be, and there is time to try again.
const LEAD: Duration = Duration::from_mins(1);
/// How long a pin holds: longer than nearly all downloads go on, so that few need a second one, and no
/// longer than an archive may lie there because a server was killed.
const HOLDS_FOR: Duration = Duration::from_mins(15);
/// How long after a failed attempt the next one is made.
const RETRY: Duration = Duration::from_secs(8);
/// How long a download that begins so late waits for its pin before it reads.
const PATIENCE: Duration = Duration::from_secs(5);

/// Held by a download, which has ended when this is dropped.
pub(super) struct DownloadPin {
    _running: oneshot::Sender<()>,
}

impl DownloadPin {
    /// To be awaited before the first byte is read: if a pin is due by then, it has been put.
    pub(super) async fn hold(store: &Arc<BucketStore>, source: SourceId) -> Self {
        let due = source.expires_at().before(LEAD);
        let attempted = Arc::new(Notify::new());
        let (running, end) = oneshot::channel();
        let pin = Self { _running: running };
        let kept = keep(Arc::clone(store), source, due, Arc::clone(&attempted), end);
        tokio::spawn(kept);
        if due <= store.clock.now() {
            let _ = timeout(PATIENCE, attempted.notified()).await;
        }
        pin
    }
}

/// Keeps the source pinned from `due` to the end of the download. No request is broken off, so that none
/// that puts a pin can arrive after the one that deletes it.
async fn keep(
    store: Arc<BucketStore>,
    source: SourceId,
    mut due: Timestamp,
    attempted: Arc<Notify>,
    mut end: oneshot::Receiver<()>,
) {
    let mut held = None;
    loop {
        tokio::select! {
            biased;
            _ = &mut end => break,
            () = store.clock.wait_until(due) => {}
        }
        let until = store.clock.now().after(HOLDS_FOR);
        let pin = Pin::until(until);
        let obsolete = match store.put_pin(source, pin).await {
            Ok(()) => {
                due = until.before(LEAD);
                held.replace(pin)
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "a download could not pin its source");
                due = store.clock.now().after(RETRY);
                // It may be there all the same.
                Some(pin)
            }
        };
        attempted.notify_one();
        store.drop_pin(source, obsolete).await;
    }
    store.drop_pin(source, held).await;
}
