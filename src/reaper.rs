//! Makes expired sources vanish: one sweep after another, for as long as the server runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::telemetry::chain;

/// Sweeps `store` every `every`, for ever. A sweep that fails is logged, and the next one tries
/// again: the store may be back by then.
pub async fn run(store: Store, clock: Clock, metrics: Arc<Metrics>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match store.sweep(clock.now()).await {
            Ok(swept) => {
                metrics.note_sweep(&swept);
                if swept.sources > 0 {
                    tracing::info!(
                        sources = swept.sources,
                        failures = swept.failures,
                        max_lag_ms = swept.max_lag.as_millis(),
                        "deleted expired sources"
                    );
                }
            }
            Err(error) => tracing::error!(error = chain(&error), "the sweep failed"),
        }
    }
}
