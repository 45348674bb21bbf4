//! `waystation app list | show`.

use super::error::CliError;
use super::print::print;
use super::store::open_store;
use crate::config::StoreSettings;
use crate::error_chain::printable;
use crate::service::apps::{App, Apps};
use crate::service::users::Users;
use crate::store::Store;

pub(super) async fn list(settings: &StoreSettings) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let apps = Apps::new(store.clone());
    for user in Users::new(store).list().await? {
        for app in apps.list(user.id).await? {
            print(&format!(
                "{}\t{}\t{}\t{}\t{}",
                app.id,
                app.name,
                printable(&user.name),
                status_of(&app),
                app.created_at
            ))?;
        }
    }
    Ok(())
}

pub(super) async fn show(settings: &StoreSettings, asked: &str) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let app = find(&store, asked).await?;
    let owner = Users::new(store).get(app.owner).await?;
    let owner = owner.map_or_else(|| app.owner.to_string(), |owner| printable(&owner.name));
    print(&format!("id\t{}", app.id))?;
    print(&format!("name\t{}", app.name))?;
    print(&format!("owner\t{owner}"))?;
    print(&format!("status\t{}", status_of(&app)))?;
    print(&format!("created\t{}", app.created_at))?;
    match &app.last_deployment {
        Some(last) => print(&format!(
            "last deployment\t{}\t{}\t{}",
            last.id,
            printable(&last.by),
            last.ended_at
        )),
        None => print("last deployment\tnone"),
    }
}

/// The application that an operator names, whose ever it is.
pub(super) async fn find(store: &Store, asked: &str) -> Result<App, CliError> {
    let found = Apps::new(store.clone()).find_any(asked).await?;
    found.ok_or_else(|| CliError::NoSuchApp {
        asked: asked.to_owned(),
    })
}

const fn status_of(app: &App) -> &'static str {
    if app.is_running { "running" } else { "new" }
}
