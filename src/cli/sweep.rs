//! `waystation sweep`.

use super::{CliError, open_store, print};
use crate::clock::Clock;
use crate::config::StoreSettings;

pub(super) async fn sweep(settings: &StoreSettings) -> Result<(), CliError> {
    let store = open_store(settings)?;
    let swept = store.sweep(Clock::System.now()).await?;
    print(&format!(
        "deleted {} expired sources, {} could not be deleted; the latest deletion came {} ms after expiry",
        swept.sources,
        swept.failures,
        swept.max_lag.as_millis()
    ))
}
