//! `waystation env list`.

use serde_json::json;

use super::app;
use super::error::CliError;
use super::print::{print, print_json};
use super::store::open_store;
use crate::config::{OutputSettings, StoreSettings};
use crate::error_chain::printable;
use crate::service::variables::{Variable, Variables};

/// What of each variable is printed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown {
    NamesAlone,
    Values,
}

pub(super) async fn list(
    settings: &StoreSettings,
    asked: &str,
    shown: Shown,
    output: OutputSettings,
) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let app = app::find(&store, asked).await?;
    let variables = Variables::new(store).list(app.id).await?;
    if output.json {
        let all = variables.iter().map(|variable| match shown {
            Shown::NamesAlone => json!({"name": variable.name}),
            Shown::Values => json!({"name": variable.name, "value": variable.value.reveal()}),
        });
        let all: Vec<_> = all.collect();
        return print_json(&json!({"variables": all}));
    }
    for Variable { name, value, .. } in variables {
        match shown {
            Shown::NamesAlone => print(&name)?,
            Shown::Values => print(&format!("{name}={}", printable(value.reveal())))?,
        }
    }
    Ok(())
}
