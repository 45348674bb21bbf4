//! `waystation token create | list | revoke`.

use serde::Serialize;
use serde_json::json;

use super::error::CliError;
use super::print::{print, print_json};
use super::store::{open_store, open_store_to_write};
use crate::clock::{Clock, Timestamp};
use crate::config::OperatorSettings;
use crate::error_chain::printable;
use crate::service::api_tokens::{ApiToken, ApiTokens, TokenId, TokenKind};
use crate::service::users::Users;

/// An API token, and whose it is.
#[derive(Serialize)]
struct ShownToken {
    id: String,
    name: String,
    user: String,
    created_at: Timestamp,
    kind: &'static str,
    /// The secret itself: only where it was made just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl ShownToken {
    fn of(token: ApiToken, user: &str) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name,
            user: user.to_owned(),
            created_at: token.created_at,
            kind: token.kind.name(),
            token: None,
        }
    }
}

pub(super) async fn create(
    settings: &OperatorSettings,
    name: &str,
    kind: TokenKind,
    user: &str,
) -> Result<(), CliError> {
    let store = open_store_to_write(&settings.store).await?;
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
    let id = token.id;
    let printed = if settings.output.json {
        let mut shown = ShownToken::of(token, &user.name);
        shown.token = Some(secret.reveal().to_owned());
        print_json(&json!({"token": shown}))
    } else {
        print(secret.reveal())
    };
    if let Err(unseen) = printed {
        // Nobody has seen it, so nobody would miss it, or revoke it.
        tokens.revoke(id).await?;
        return Err(unseen);
    }
    Ok(())
}

pub(super) async fn list(settings: &OperatorSettings) -> Result<(), CliError> {
    let store = open_store(&settings.store).await?;
    let tokens = ApiTokens::new(store.clone());
    let mut all = Vec::new();
    for user in Users::new(store).list().await? {
        for token in tokens.list_all(user.id).await? {
            all.push(ShownToken::of(token, &user.name));
        }
    }
    if settings.output.json {
        return print_json(&json!({"tokens": all}));
    }
    for token in all {
        print(&format!(
            "{}\t{}\t{}\t{}\t{}",
            token.id,
            printable(&token.name),
            printable(&token.user),
            token.created_at,
            token.kind
        ))?;
    }
    Ok(())
}

pub(super) async fn revoke(settings: &OperatorSettings, id: TokenId) -> Result<(), CliError> {
    let store = open_store_to_write(&settings.store).await?;
    ApiTokens::new(store).revoke(id).await?;
    if settings.output.json {
        return print_json(&json!({"revoked": id.to_string()}));
    }
    print(&format!("revoked {id}"))
}
