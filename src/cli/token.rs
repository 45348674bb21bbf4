//! `waystation token create | list | revoke`.

use super::{CliError, open_store, print};
use crate::clock::Clock;
use crate::config::StoreSettings;
use crate::service::account::TokenId;
use crate::service::accounts::Accounts;

pub(super) async fn create(
    settings: &StoreSettings,
    name: &str,
    user: &str,
) -> Result<(), CliError> {
    let accounts = Accounts::new(open_store(settings).await?);
    let now = Clock::System.now();
    accounts.ensure_first_user(now).await?;
    let user = accounts.find_user(user).await?;
    let (_, secret) = accounts.create_token(name, user.id, now).await?;
    print(secret.reveal())
}

pub(super) async fn list(settings: &StoreSettings) -> Result<(), CliError> {
    let accounts = Accounts::new(open_store(settings).await?);
    let users = accounts.list_users().await?;
    for token in accounts.list_tokens().await? {
        let user = users
            .iter()
            .find(|user| user.id == token.user)
            .map_or("(no user)", |user| user.name.as_str());
        print(&format!(
            "{}\t{}\t{user}\t{}",
            token.id, token.name, token.created_at
        ))?;
    }
    Ok(())
}

pub(super) async fn revoke(settings: &StoreSettings, id: TokenId) -> Result<(), CliError> {
    let accounts = Accounts::new(open_store(settings).await?);
    accounts.revoke_token(id).await?;
    print(&format!("revoked {id}"))
}
