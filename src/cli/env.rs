//! `waystation env list`.

use super::app;
use super::error::CliError;
use super::print::print;
use super::store::open_store;
use crate::config::StoreSettings;
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
) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let app = app::find(&store, asked).await?;
    for Variable { name, value, .. } in Variables::new(store).list(app.id).await? {
        match shown {
            Shown::NamesAlone => print(&name)?,
            Shown::Values => print(&format!("{name}={}", printable(value.reveal())))?,
        }
    }
    Ok(())
}
