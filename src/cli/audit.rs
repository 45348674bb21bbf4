//! `waystation audit`.

use super::error::CliError;
use super::print::print;
use super::store::open_store;
use crate::config::StoreSettings;
use crate::error_chain::printable;

pub(super) async fn audit(settings: &StoreSettings) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let audit = store.audit().await?;
    for fault in &audit.faults {
        print(&printable(fault))?;
    }
    print(&format!(
        "{} archives are intact, {} uploads are in the stage, {} uploads in parts can be resumed, {} faults",
        audit.whole,
        audit.staged,
        audit.attempts,
        audit.faults.len()
    ))?;
    if audit.faults.is_empty() {
        Ok(())
    } else {
        Err(CliError::Faults {
            store: settings.store.to_string(),
            faults: audit.faults.len(),
        })
    }
}
