//! `waystation deployment list | show | log | cancel`.

use serde_json::json;

use super::app;
use super::error::CliError;
use super::print::{print_json, print_log};
use super::shown::ShownDeployment;
use super::store::{open_store, open_store_to_write};
use crate::clock::Clock;
use crate::config::{OutputSettings, StoreSettings};
use crate::keys::KeyRing;
use crate::service::deployments::{Deployment, DeploymentError, DeploymentLimits, Deployments};
use crate::store::Store;

/// How much of a log is read at once.
const PIECE_BYTES: usize = 256 * 1024;

pub(super) async fn list(
    settings: &StoreSettings,
    asked: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let app = app::find(&store, asked).await?;
    // An application stays its owner's, so all of its deployments are theirs.
    let pusher = app::user(&store, app.owner).await?;
    let id = *app.id.as_bytes();
    let deployments = deployments(&store);
    let ids = deployments.list_of(id).await?;
    let all = deployments.get_all(id, &ids).await?.into_iter();
    let all: Vec<_> = all
        .map(|deployment| ShownDeployment::of(deployment, pusher.clone()))
        .collect();
    if output.json {
        return print_json(&json!({"deployments": all}));
    }
    all.iter().try_for_each(ShownDeployment::print_in_list)
}

pub(super) async fn show(
    settings: &StoreSettings,
    asked: &str,
    id: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let (deployments, deployment) = find(&store, asked, id).await?;
    let log_bytes = deployments.log_bytes(&deployment).await?;
    let pusher = app::user(&store, deployment.record.pusher).await?;
    let mut shown = ShownDeployment::of(deployment, pusher);
    shown.log_bytes = Some(log_bytes);
    if output.json {
        return print_json(&json!({"deployment": shown}));
    }
    shown.print()
}

pub(super) async fn log(
    settings: &StoreSettings,
    asked: &str,
    id: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let (deployments, deployment) = find(&store, asked, id).await?;
    let log_bytes = deployments.log_bytes(&deployment).await?;
    let mut whole = Vec::new();
    let mut offset = 0;
    while offset < log_bytes {
        let left = usize::try_from(log_bytes - offset).unwrap_or(usize::MAX);
        let limit = left.min(PIECE_BYTES);
        let piece = deployments.read_log(deployment.id, offset, limit).await?;
        if piece.is_empty() {
            break;
        }
        offset += piece.len() as u64;
        if output.json {
            whole.extend_from_slice(&piece);
        } else {
            print_log(&piece)?;
        }
    }
    if output.json {
        let log = String::from_utf8_lossy(&whole);
        return print_json(&json!({"log": log}));
    }
    Ok(())
}

pub(super) async fn cancel(
    settings: &StoreSettings,
    asked: &str,
    id: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let store = open_store_to_write(settings).await?;
    let (deployments, deployment) = find(&store, asked, id).await?;
    let pusher = app::user(&store, deployment.record.pusher).await?;
    let cancelled = deployments.cancel(&deployment).await?;
    let cancelled = ShownDeployment::of(cancelled, pusher);
    if output.json {
        return print_json(&json!({"deployment": cancelled}));
    }
    cancelled.print_cancelled()
}

async fn find(store: &Store, asked: &str, id: &str) -> Result<(Deployments, Deployment), CliError> {
    let app = app::find(store, asked).await?;
    let deployments = deployments(store);
    match deployments.find(*app.id.as_bytes(), id).await {
        Ok(deployment) => Ok((deployments, deployment)),
        Err(DeploymentError::Unknown) => Err(CliError::NoSuchDeployment {
            app: app.name,
            id: id.to_owned(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Here no link is made or opened, so any key does; and what is kept is the server's to say.
fn deployments(store: &Store) -> Deployments {
    let keys = KeyRing::of(&[rand::random()]);
    let limits = DeploymentLimits {
        kept: usize::MAX,
        ..DeploymentLimits::default()
    };
    Deployments::new(store, &keys, Clock::System, limits)
}
