//! `waystation token create | list | revoke`.

use super::error::CliError;
use super::print::print;
use super::store::{open_store, open_store_to_write};
use crate::clock::Clock;
use crate::config::StoreSettings;
use crate::error_chain::printable;
use crate::service::api_tokens::{ApiTokens, TokenId, TokenKind};
use crate::service::users::Users;

pub(super) async fn create(
    settings: &StoreSettings,
    name: &str,
    kind: TokenKind,
    user: &str,
) -> Result<(), CliError> {
    let store = open_store_to_write(settings).await?;
    let users = Users::new(store.clone());
    let now = Clock::System.now();
    // A store that has tokens needs no first one.
    users.ensure_first(now).await?;
    let user = users.find(user).await?;
    let tokens = ApiTokens::new(store);
    let (token, secret) = match kind {
        TokenKind::User => tokens.create(name, user.id, now).await?,
        TokenKind::Runner => tokens.create_for_runners(name, now).await?,
    };
    if let Err(unseen) = print(secret.reveal()) {
        // Nobody has seen it, so nobody would miss it, or revoke it.
        tokens.revoke(token.id).await?;
        return Err(unseen);
    }
    Ok(())
}

pub(super) async fn list(settings: &StoreSettings) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let tokens = ApiTokens::new(store.clone());
    for user in Users::new(store).list().await? {
        for token in tokens.list_all(user.id).await? {
            print(&format!(
                "{}\t{}\t{}\t{}\t{}",
                token.id,
                printable(&token.name),
                printable(&user.name),
                token.created_at,
                token.kind.name()
            ))?;
        }
    }
    Ok(())
}

pub(super) async fn revoke(settings: &StoreSettings, id: TokenId) -> Result<(), CliError> {
    let store = open_store_to_write(settings).await?;
    ApiTokens::new(store).revoke(id).await?;
    print(&format!("revoked {id}"))
}
