//! `waystation user add | list`.

use super::{CliError, open_store, print};
use crate::clock::Clock;
use crate::config::StoreSettings;
use crate::service::accounts::Accounts;

pub(super) async fn add(settings: &StoreSettings, name: &str, email: &str) -> Result<(), CliError> {
    let accounts = Accounts::new(open_store(settings).await?);
    let user = accounts.add_user(name, email, Clock::System.now()).await?;
    print(&user.id.to_string())
}

pub(super) async fn list(settings: &StoreSettings) -> Result<(), CliError> {
    let accounts = Accounts::new(open_store(settings).await?);
    for user in accounts.list_users().await? {
        print(&format!(
            "{}\t{}\t{}\t{}",
            user.id, user.name, user.email, user.created_at
        ))?;
    }
    Ok(())
}
