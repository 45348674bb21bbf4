//! `waystation app list | show`.

use serde_json::json;

use super::error::CliError;
use super::print::print_json;
use super::shown::ShownApp;
use super::store::open_store;
use crate::config::{OutputSettings, StoreSettings};
use crate::service::apps::{App, Apps};
use crate::service::users::{User, UserId, Users};
use crate::store::Store;
use crate::wire::users::UserReference;

pub(super) async fn list(settings: &StoreSettings, output: OutputSettings) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let apps = Apps::new(store.clone());
    let mut all = Vec::new();
    for user in Users::new(store).list().await? {
        for app in apps.list(user.id).await? {
            all.push(ShownApp::of(app, reference_of(user.clone())));
        }
    }
    if output.json {
        return print_json(&json!({"apps": all}));
    }
    all.iter().try_for_each(ShownApp::print_in_list)
}

pub(super) async fn show(
    settings: &StoreSettings,
    asked: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let app = find(&store, asked).await?;
    let owner = user(&store, app.owner).await?;
    let app = ShownApp::of(app, owner);
    if output.json {
        return print_json(&json!({"app": app}));
    }
    app.print()
}

/// The application that an operator names, whose ever it is.
pub(super) async fn find(store: &Store, asked: &str) -> Result<App, CliError> {
    let found = Apps::new(store.clone()).find_any(asked).await?;
    found.ok_or_else(|| CliError::NoSuchApp {
        asked: asked.to_owned(),
    })
}

/// A user as named beside what is theirs: by the id alone, if there is no more of them.
pub(super) async fn user(store: &Store, id: UserId) -> Result<UserReference, CliError> {
    let found = Users::new(store.clone()).get(id).await?;
    Ok(found.map_or_else(
        || UserReference {
            id: id.to_string(),
            username: id.to_string(),
            email: String::new(),
        },
        reference_of,
    ))
}

fn reference_of(user: User) -> UserReference {
    UserReference {
        id: user.id.to_string(),
        username: user.name,
        email: user.email,
    }
}
