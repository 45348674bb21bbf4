//! `waystation deployment list | show | log | cancel`.

use serde_json::{Value, json};

use super::app;
use super::error::CliError;
use super::print::{print, print_json, print_log};
use super::store::{open_store, open_store_to_write};
use crate::clock::Clock;
use crate::config::{OutputSettings, StoreSettings};
use crate::error_chain::printable;
use crate::keys::KeyRing;
use crate::service::apps::{App, AppId};
use crate::service::deployments::{Deployment, DeploymentError, DeploymentLimits, Deployments};
use crate::service::users::{UserId, Users};
use crate::store::Store;

/// How much of a log is read at once.
const PIECE_BYTES: usize = 256 * 1024;

pub(super) async fn list(
    settings: &StoreSettings,
    asked: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let App { id, owner, .. } = app::find(&store, asked).await?;
    let app = *id.as_bytes();
    let deployments = deployments(&store);
    let ids = deployments.list_of(app).await?;
    let found = deployments.get_all(app, &ids).await?;
    if output.json {
        // An application stays its owner's, so they asked for all of these.
        let pusher = pusher_json(&store, owner).await?;
        let all = found.iter().map(|one| json_of(one, &pusher));
        return print_json(&json!({"deployments": all.collect::<Vec<_>>()}));
    }
    for deployment in found {
        print(&format!(
            "{}\t{}\t{}\t{}",
            deployment.id,
            deployment.status(),
            printable(deployment.record.git_ref.as_deref().unwrap_or("-")),
            deployment.record.created_at
        ))?;
    }
    Ok(())
}

pub(super) async fn show(
    settings: &StoreSettings,
    asked: &str,
    id: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let store = open_store(settings).await?;
    let (deployments, deployment) = find(&store, asked, id).await?;
    if output.json {
        let pusher = pusher_json(&store, deployment.record.pusher).await?;
        let mut shown = json_of(&deployment, &pusher);
        // Not the API's, but what a store tells of one deployment.
        shown["log_bytes"] = deployments.log_bytes(&deployment).await?.into();
        return print_json(&json!({"deployment": shown}));
    }
    let record = &deployment.record;
    let pusher = Users::new(store).get(record.pusher).await?;
    let pusher = pusher.map_or_else(|| record.pusher.to_string(), |user| printable(&user.name));
    let log_bytes = deployments.log_bytes(&deployment).await?;
    print(&format!("id\t{}", deployment.id))?;
    print(&format!("status\t{}", deployment.status()))?;
    if let Some(git_ref) = &record.git_ref {
        print(&format!("git ref\t{}", printable(git_ref)))?;
    }
    print(&format!("pusher\t{pusher}"))?;
    print(&format!("created\t{}", record.created_at))?;
    if let Some(started_at) = deployment.started_at() {
        print(&format!("started\t{started_at}"))?;
    }
    if let Some(end) = &deployment.end {
        print(&format!("finished\t{}", end.at))?;
        if let Some(reason) = &end.reason {
            print(&format!("reason\t{}", printable(reason)))?;
        }
    }
    print(&format!("log\t{log_bytes} bytes"))
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
    if output.json {
        // Read first: what fails has changed nothing.
        let pusher = pusher_json(&store, deployment.record.pusher).await?;
        let cancelled = deployments.cancel(&deployment).await?;
        return print_json(&json!({"deployment": json_of(&cancelled, &pusher)}));
    }
    let cancelled = deployments.cancel(&deployment).await?;
    if cancelled.end.is_some() {
        print(&format!("{} is {}", cancelled.id, cancelled.status()))
    } else {
        let status = cancelled.status();
        print(&format!(
            "{} is {status}; its runner is asked to stop",
            cancelled.id
        ))
    }
}

/// Those members of the API's that a store knows.
fn json_of(deployment: &Deployment, pusher: &Value) -> Value {
    let (record, end) = (&deployment.record, deployment.end.as_ref());
    json!({
        "id": deployment.id.to_string(),
        "app_id": AppId::from_bytes(deployment.id.app),
        "created_at": record.created_at,
        "started_at": deployment.started_at(),
        "finished_at": end.map(|end| end.at),
        "status": deployment.status(),
        "reason": end.and_then(|end| end.reason.as_deref()),
        "git_ref": record.git_ref,
        "pusher": pusher,
    })
}

async fn pusher_json(store: &Store, id: UserId) -> Result<Value, CliError> {
    let user = Users::new(store.clone()).get(id).await?;
    Ok(app::user_json(id, user.as_ref()))
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
