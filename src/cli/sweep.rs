//! `waystation sweep`.

use super::error::CliError;
use super::print::print;
use super::store::open_store;
use crate::clock::Clock;
use crate::config::StoreSettings;

pub(super) async fn sweep(settings: &StoreSettings) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let swept = store.sweep(Clock::System.now()).await?;
    print(&format!(
        "deleted {} expired sources and {} broken uploads, {} deletions failed; the latest {} ms after its expiry",
        swept.sources,
        swept.broken,
        swept.failures,
        swept.max_lag.as_millis()
    ))?;
    match swept.first_failure {
        None => Ok(()),
        Some(first) => Err(CliError::Undeleted {
            failures: swept.failures,
            first,
        }),
    }
}
