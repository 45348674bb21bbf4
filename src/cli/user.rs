//! `waystation user add | list`.

use super::error::CliError;
use super::print::print;
use super::store::{open_store, open_store_to_write};
use crate::clock::Clock;
use crate::config::StoreSettings;
use crate::error_chain::printable;
use crate::service::users::Users;

pub(super) async fn add(settings: &StoreSettings, name: &str, email: &str) -> Result<(), CliError> {
    let users = Users::new(open_store_to_write(settings).await?);
    let user = users.add(name, email, Clock::System.now()).await?;
    print(&user.id.to_string())
}

pub(super) async fn list(settings: &StoreSettings) -> Result<(), CliError> {
    let users = Users::new(open_store(settings).await?);
    for user in users.list().await? {
        print(&format!(
            "{}\t{}\t{}\t{}",
            user.id,
            printable(&user.name),
            printable(&user.email),
            user.created_at
        ))?;
    }
    Ok(())
}
