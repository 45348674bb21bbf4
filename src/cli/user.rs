//! `waystation user add | list`.

use serde::Serialize;
use serde_json::json;

use super::error::CliError;
use super::print::{print, print_json};
use super::store::{open_store, open_store_to_write};
use crate::clock::{Clock, Timestamp};
use crate::config::OperatorSettings;
use crate::error_chain::printable;
use crate::service::users::{User, Users};

/// A user, under the names that the API has for what they are.
#[derive(Serialize)]
struct ShownUser {
    id: String,
    username: String,
    email: String,
    created_at: Timestamp,
}

impl From<User> for ShownUser {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            username: user.name,
            email: user.email,
            created_at: user.created_at,
        }
    }
}

pub(super) async fn add(
    settings: &OperatorSettings,
    name: &str,
    email: &str,
) -> Result<(), CliError> {
    let users = Users::new(open_store_to_write(&settings.store).await?);
    let user = users.add(name, email, Clock::System.now()).await?;
    let user = ShownUser::from(user);
    if settings.output.json {
        return print_json(&json!({"user": user}));
    }
    print(&user.id)
}

pub(super) async fn list(settings: &OperatorSettings) -> Result<(), CliError> {
    let users = Users::new(open_store(&settings.store).await?);
    let all = users.list().await?.into_iter().map(ShownUser::from);
    if settings.output.json {
        return print_json(&json!({"users": all.collect::<Vec<_>>()}));
    }
    for user in all {
        print(&format!(
            "{}\t{}\t{}\t{}",
            user.id,
            printable(&user.username),
            printable(&user.email),
            user.created_at
        ))?;
    }
    Ok(())
}
