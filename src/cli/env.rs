//! `waystation env list`.

use super::app;
use super::error::CliError;
use super::shown::{ShownVariable, VariableParts};
use super::store::open_store;
use crate::config::{OutputSettings, StoreSettings};
use crate::service::variables::Variables;

pub(super) async fn list(
    settings: &StoreSettings,
    asked: &str,
    parts: VariableParts,
    output: OutputSettings,
) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let app = app::find(&store, asked).await?;
    let all = Variables::new(store).list(app.id).await?.into_iter();
    let all: Vec<_> = all
        .map(|variable| ShownVariable::of(variable.name, variable.value.reveal(), parts))
        .collect();
    ShownVariable::print_all(&all, output)
}
