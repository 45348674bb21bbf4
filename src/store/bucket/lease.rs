//! Downloads that go on past their source's expiry: they keep its bytes from being deleted.
//!
//! A local file that is deleted can be read to its end by who has it open; objects cannot. So a
//! download that is running when its source is about to expire writes a small object beside the parts,
//! and writes it again for as long as it runs. Who sweeps sees it in the list, at no cost, and passes
//! the source over while it is fresh. A server that dies leaves one that soon is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Shared;
use crate::clock::Timestamp;
use crate::error_chain::chain;
use crate::source::SourceId;

/// How long before the expiry the first lease is written: by then the clocks of all servers together
/// have not reached it.
const LEAD: Duration = Duration::from_mins(1);
/// How often it is written again, and how long that may take.
const RENEWAL: Duration = Duration::from_secs(8);
const PUT_TIMEOUT: Duration = Duration::from_secs(5);
/// How old one may be, by the engine's own clock, that still keeps a source: two renewals may fail.
const FRESH_FOR: Duration = Duration::from_secs(35);

/// How far a node's clock may be ahead of the engine's where the engine cannot be asked. S3 refuses what
/// is signed a quarter of an hour ahead.
const MAX_SKEW: Duration = Duration::from_hours(1);

/// Does a lease that was written then still keep its source? Both times are the engine's.
pub(super) fn is_fresh(written: Timestamp, engine_now: Timestamp) -> bool {
    engine_now.since(written) < FRESH_FOR
}

/// Has one that was written then, by the engine's clock, ended for sure at `own_now`, by this node's?
pub(super) fn is_surely_over(written: Timestamp, own_now: Timestamp) -> bool {
    !is_fresh(written, own_now.before(MAX_SKEW))
}

/// Held by a download; dropped with it.
pub(super) struct Lease {
    shared: Arc<Shared>,
    source: SourceId,
    key: Path,
    is_written: Arc<AtomicBool>,
    renewal: Option<JoinHandle<()>>,
}

impl Lease {
    pub(super) fn hold(shared: Arc<Shared>, source: SourceId) -> Self {
        Self {
            key: shared.keys.lease(source, rand::random()),
            shared,
            source,
            is_written: Arc::default(),
            renewal: None,
        }
    }

    /// To be awaited before the first byte is read: one that begins shortly before the expiry has
    /// its lease by then.
    pub(super) async fn secure(&mut self) {
        if self.renewal.is_some() {
            return;
        }
        let first = self.source.expires_at().before(LEAD);
        let is_due = first <= self.shared.clock.now();
        if is_due {
            write(&self.shared, &self.key, &self.is_written).await;
        }
        let shared = Arc::clone(&self.shared);
        let key = self.key.clone();
        let is_written = Arc::clone(&self.is_written);
        self.renewal = Some(tokio::spawn(async move {
            shared.clock.wait_until(first).await;
            if is_due {
                sleep(RENEWAL).await;
            }
            loop {
                write(&shared, &key, &is_written).await;
                sleep(RENEWAL).await;
            }
        }));
    }
}

async fn write(shared: &Shared, key: &Path, is_written: &AtomicBool) {
    is_written.store(true, Ordering::Relaxed);
    let put = shared.objects().put(key, PutPayload::from_static(b"lease"));
    match timeout(PUT_TIMEOUT, put).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(error = chain(&error), "a lease was not written"),
        Err(_) => tracing::warn!("a lease was not written in time"),
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(renewal) = self.renewal.take() else {
            return;
        };
        renewal.abort();
        if !self.is_written.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let shared = Arc::clone(&self.shared);
            let key = self.key.clone();
            runtime.spawn(async move {
                // One that is being written must not arrive after its deletion.
                let _ = renewal.await;
                // What cannot be deleted now goes with the source.
                let _ = shared.objects().delete(&key).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_outlives_two_failed_renewals_and_not_much_more() {
        let written = Timestamp::from_ms(1_700_000_000_000);
        let after = |pause| written.after(pause);
        assert!(is_fresh(written, after(3 * RENEWAL + PUT_TIMEOUT)));
        assert!(is_fresh(
            written,
            after(FRESH_FOR).before(Duration::from_millis(1))
        ));
        assert!(!is_fresh(written, after(FRESH_FOR)));
        // The engine's clock was set back.
        assert!(is_fresh(written, written.before(Duration::from_hours(1))));
    }

    #[test]
    fn a_clock_that_is_an_hour_ahead_ends_no_lease_that_is_fresh() {
        let written = Timestamp::from_ms(1_700_000_000_000);
        let over = written.after(FRESH_FOR + Duration::from_hours(1));
        assert!(!is_surely_over(
            written,
            over.before(Duration::from_millis(1))
        ));
        assert!(is_surely_over(written, over));
    }
}
