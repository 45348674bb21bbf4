//! `waystation app list | show`.

use serde_json::{Value, json};

use super::error::CliError;
use super::print::{print, print_json};
use super::store::open_store;
use crate::config::{OutputSettings, StoreSettings};
use crate::error_chain::printable;
use crate::service::apps::{App, Apps};
use crate::service::users::{User, UserId, Users};
use crate::store::Store;

pub(super) async fn list(settings: &StoreSettings, output: OutputSettings) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let apps = Apps::new(store.clone());
    let mut all = Vec::new();
    for user in Users::new(store).list().await? {
        for app in apps.list(user.id).await? {
            if output.json {
                all.push(json_of(&app, &user_json(user.id, Some(&user))));
                continue;
            }
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
    if output.json {
        return print_json(&json!({"apps": all}));
    }
    Ok(())
}

pub(super) async fn show(
    settings: &StoreSettings,
    asked: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let app = find(&store, asked).await?;
    let owner = Users::new(store).get(app.owner).await?;
    if output.json {
        let owner = user_json(app.owner, owner.as_ref());
        return print_json(&json!({"app": json_of(&app, &owner)}));
    }
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

/// A user as the API names them beside what is theirs: by the id alone, if there is no more of them.
pub(super) fn user_json(id: UserId, user: Option<&User>) -> Value {
    json!({
        "id": id.to_string(),
        "username": user.map_or_else(|| id.to_string(), |user| user.name.clone()),
        "email": user.map_or("", |user| &user.email),
    })
}

/// Those members of the API's that a store knows.
fn json_of(app: &App, owner: &Value) -> Value {
    let last = app.last_deployment.as_ref();
    json!({
        "id": app.id,
        "name": app.name,
        "owner": owner,
        "status": status_of(app),
        "last_deployed_at": last.map(|last| last.ended_at),
        "last_deployed_by": last.map(|last| &last.by),
        "last_deployment_id": last.map(|last| &last.id),
        "created_at": app.created_at,
    })
}

const fn status_of(app: &App) -> &'static str {
    if app.is_running { "running" } else { "new" }
}
