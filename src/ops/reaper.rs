//! Periodic work while the server runs: above all, deleting expired sources.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::clock::Clock;
use crate::error_chain::chain;
use crate::ops::metrics::Metrics;
use crate::ops::ongoing_failure::{FailureChange, OngoingFailure};
use crate::store::{Store, StoreError};

/// Sweeps `store` about every `every`, forever; servers that share a store do not keep step. After a sweep
/// that fails the next one tries again: the store may be back by then.
pub async fn run(store: Store, clock: Clock, metrics: Arc<Metrics>, every: Duration) {
    let every = store.sweep_interval(every);
    let failure = OngoingFailure::default();
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
                match failure.note(swept.first_failure) {
                    FailureChange::Unchanged => {}
                    FailureChange::Recovered => tracing::info!("expired sources are deleted again"),
                    FailureChange::Failing(error) => tracing::error!(
                        failures = swept.failures,
                        error,
                        "expired sources could not be deleted; each sweep tries again"
                    ),
                }
            }
            Err(error) => {
                metrics.note_failed_sweep(&error);
                if let FailureChange::Failing(error) = failure.note(Some(chain(&error))) {
                    tracing::error!(error, "the sweep failed; trying again");
                }
            }
        }
    }
}

/// Runs `round` about every `every`, forever; `what` names it in the log. After a failure the next round tries again.
pub async fn repeat<F>(every: Duration, what: &'static str, mut round: impl FnMut() -> F)
where
    F: Future<Output = Result<(), StoreError>>,
{
    let failure = OngoingFailure::default();
    loop {
        sleep(jittered(every)).await;
        match failure.note(round().await.err().map(|error| chain(&error))) {
            FailureChange::Unchanged => {}
            FailureChange::Recovered => tracing::info!("{what} works again"),
            FailureChange::Failing(error) => tracing::error!(error, "{what} failed; trying again"),
        }
    }
}

/// Between three quarters of `pause` and all of it.
fn jittered(pause: Duration) -> Duration {
    pause / 1024 * (1024 - u32::from(rand::random::<u8>()))
}
