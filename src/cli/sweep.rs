//! `waystation sweep`.

use serde_json::json;

use super::error::CliError;
use super::print::{print, print_json};
use super::store::open_store;
use crate::clock::Clock;
use crate::config::OperatorSettings;

pub(super) async fn sweep(settings: &OperatorSettings) -> Result<(), CliError> {
    let store = open_store(&settings.store).await?;
    let swept = store.sweep(Clock::System.now()).await?;
    let max_lag_ms = u64::try_from(swept.max_lag.as_millis()).unwrap_or(u64::MAX);
    if settings.output.json {
        print_json(&json!({"sweep": {
            "sources": swept.sources,
            "broken": swept.broken,
            "failures": swept.failures,
            "max_lag_ms": max_lag_ms,
        }}))?;
    } else {
        print(&format!(
            "deleted {} expired sources and {} broken uploads, {} deletions failed; the latest {max_lag_ms} ms after its expiry",
            swept.sources, swept.broken, swept.failures
        ))?;
    }
    match swept.first_failure {
        None => Ok(()),
        Some(first) => Err(CliError::Undeleted {
            failures: swept.failures,
            first,
        }),
    }
}
