//! `waystation audit`.

use serde_json::json;

use super::error::CliError;
use super::print::{print, print_json};
use super::store::open_store;
use crate::config::OperatorSettings;
use crate::error_chain::printable;
use crate::store::Audit;

pub(super) async fn audit(settings: &OperatorSettings) -> Result<(), CliError> {
    let store = open_store(&settings.store).await?;
    let audit = store.audit().await?;
    if settings.output.json {
        print_json(&json!({"audit": {
            "whole": audit.whole,
            "staged": audit.staged,
            "attempts": audit.attempts,
            "faults": audit.faults,
        }}))?;
    } else {
        print_lines(&audit)?;
    }
    if audit.faults.is_empty() {
        Ok(())
    } else {
        Err(CliError::Faults {
            store: settings.store.store.to_string(),
            faults: audit.faults.len(),
        })
    }
}

fn print_lines(audit: &Audit) -> Result<(), CliError> {
    for fault in &audit.faults {
        print(&printable(fault))?;
    }
    print(&format!(
        "{} archives are intact, {} uploads are in the stage, {} uploads in parts can be resumed, {} faults",
        audit.whole,
        audit.staged,
        audit.attempts,
        audit.faults.len()
    ))
}
