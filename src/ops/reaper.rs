//! Makes expired sources vanish: one sweep after another, for as long as the server runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::clock::Clock;
use crate::error_chain::chain;
use crate::ops::metrics::Metrics;
use crate::store::Store;

/// Sweeps `store` about every `every`, forever; servers that share a store do not keep step. A sweep
/// that fails is logged, and the next one tries again: the store may be back by then.
pub async fn run(store: Store, clock: Clock, metrics: Arc<Metrics>, every: Duration) {
    let every = store.sweep_interval(every);
    loop {
        sleep(jittered(every)).await;
        match store.sweep(clock.now()).await {
            Ok(swept) => {
                metrics.note_sweep(&swept, clock.now());
                if swept.sources > 0 {
                    tracing::info!(
                        sources = swept.sources,
                        max_lag_ms = swept.max_lag.as_millis(),
                        "deleted expired sources"
                    );
                }
                if let Some(error) = swept.first_failure {
                    tracing::error!(
                        failures = swept.failures,
                        error,
                        "expired sources could not be deleted; the next sweep tries again"
                    );
                }
            }
            Err(error) => {
                metrics.note_failed_sweep(&error);
                tracing::error!(error = chain(&error), "the sweep failed");
            }
        }
    }
}

/// Between three quarters of `pause` and all of it.
fn jittered(pause: Duration) -> Duration {
    pause / 1024 * (1024 - u32::from(rand::random::<u8>()))
}
