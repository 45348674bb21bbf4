//! Downloads that go on past their source's expiry: they keep its bytes from being deleted.
//!
//! A local file that is deleted can be read to its end by who has it open; objects cannot. So a
//! download that is still running when its source expires writes a small object beside the parts, and
//! writes it again for as long as it runs. Who sweeps sees it in the list, at no cost, and passes the
//! source over while it is fresh. A server that dies leaves one that soon is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::task::JoinHandle;

use super::Shared;
use crate::source::SourceId;
use crate::telemetry::chain;

/// How long before the expiry the first lease is written.
const LEAD: Duration = Duration::from_secs(5);
/// How often it is written again.
const RENEWAL: Duration = Duration::from_secs(15);
/// How old one may be that still keeps a source; some renewals may fail, and clocks differ.
pub(super) const FRESH_FOR: Duration = Duration::from_mins(1);

/// Held by a download; dropped with it.
pub(super) struct Lease {
    shared: Arc<Shared>,
    key: Path,
    is_written: Arc<AtomicBool>,
    renewal: JoinHandle<()>,
}

impl Lease {
    pub(super) fn hold(shared: Arc<Shared>, source: SourceId) -> Self {
        let mut random = [0; 8];
        // Without randomness two downloads share a lease, and it may end with the first of them.
        let _ = getrandom::fill(&mut random);
        let key = shared.keys.lease(source, random);
        let is_written = Arc::new(AtomicBool::new(false));
        let renewal = tokio::spawn(renew(
            Arc::clone(&shared),
            source,
            key.clone(),
            Arc::clone(&is_written),
        ));
        Self {
            shared,
            key,
            is_written,
            renewal,
        }
    }
}

async fn renew(shared: Arc<Shared>, source: SourceId, key: Path, is_written: Arc<AtomicBool>) {
    let first = source.expires_at().before(LEAD);
    shared.clock.wait_until(first).await;
    loop {
        is_written.store(true, Ordering::Relaxed);
        let put = shared
            .objects()
            .put(&key, PutPayload::from_static(b"lease"))
            .await;
        if let Err(error) = put {
            tracing::warn!(error = chain(&error), "a lease was not renewed");
        }
        tokio::time::sleep(RENEWAL).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        if !self.is_written.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let shared = Arc::clone(&self.shared);
            let key = self.key.clone();
            runtime.spawn(async move {
                // What cannot be deleted now goes with the source.
                let _ = shared.objects().delete(&key).await;
            });
        }
    }
}
