//! `waystation deployment list | show | log | follow | cancel`, of a server.

use http::Method;
use serde_json::{Value, json};

use super::calls::{change, segment};
use super::error::CliError;
use super::print::{print_json, print_log};
use super::screen::Screen;
use super::shown::ShownDeployment;
use crate::client::{DeploymentUpdate, Retry, Server, follow as follow_to_end};
use crate::config::OutputSettings;
use crate::deployment::Status;
use crate::wire::deployments::{Deployment, DeploymentAnswer, DeploymentsAnswer};

/// As many as the server gives at once.
const PAGE: usize = 50;

fn path_of(app: &str, id: &str) -> String {
    format!("/v1/apps/{}/deployments/{}", segment(app), segment(id))
}

pub(super) async fn list(
    server: &Server,
    app: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let mut all = Vec::new();
    let mut page = Some(1);
    while let Some(number) = page {
        let app = segment(app);
        let path = format!("/v1/apps/{app}/deployments?page={number}&per_page={PAGE}");
        let answer: DeploymentsAnswer = server.get(&path).await?;
        page = answer.meta.pagination.next_page;
        all.extend(answer.deployments);
    }
    if output.json {
        return print_json(&json!({"deployments": all}));
    }
    let mut all = all.into_iter().map(ShownDeployment::from);
    all.try_for_each(|deployment| deployment.print_in_list())
}

pub(super) async fn show(
    server: &Server,
    app: &str,
    id: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let answer: DeploymentAnswer = server.get(&path_of(app, id)).await?;
    if output.json {
        return print_json(&answer);
    }
    ShownDeployment::from(answer.deployment).print()
}

pub(super) async fn log(
    server: &Server,
    app: &str,
    id: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let path = format!("{}/output", path_of(app, id));
    let log = server.get_bytes_from(&path, 0).await?;
    if output.json {
        let log = String::from_utf8_lossy(&log);
        return print_json(&json!({"log": log}));
    }
    print_log(&log)
}

pub(super) async fn cancel(
    server: &Server,
    app: &str,
    id: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let path = format!("{}/cancel", path_of(app, id));
    let answer: DeploymentAnswer = change(server, Method::POST, &path, None, Retry::Always).await?;
    if output.json {
        return print_json(&answer);
    }
    ShownDeployment::from(answer.deployment).print_cancelled()
}

/// Follows a deployment whose log is the result.
pub(super) async fn follow(
    server: &Server,
    app: &str,
    id: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let screen = Screen::new(output.quiet);
    let mut failure = Ok(());
    let mut tell = |update| match update {
        DeploymentUpdate::Log(text) if !output.json && failure.is_ok() => {
            failure = print_log(text.as_bytes());
        }
        DeploymentUpdate::Log(_) => {}
        DeploymentUpdate::Status(status) => screen.note(&format!("the deployment is {status}")),
    };
    let deployment = follow_to_end(server, &segment(app), &segment(id), &mut tell).await?;
    failure?;
    if output.json {
        print_json(&DeploymentAnswer {
            deployment: deployment.clone(),
        })?;
    }
    outcome(&deployment)
}

/// A deployment that failed is not a command that did: it has an exit code of its own.
pub(super) fn outcome(deployment: &Deployment) -> Result<(), CliError> {
    if deployment.status == Status::Success {
        return Ok(());
    }
    Err(CliError::DeploymentFailed {
        id: deployment.id.clone(),
        status: deployment.status,
        reason: deployment.reason.clone().unwrap_or_default(),
    })
}

/// What a deployment is made of.
pub(super) async fn create(
    server: &Server,
    app: &str,
    source_url: &str,
    git_ref: Option<&str>,
) -> Result<Deployment, CliError> {
    let path = format!("/v1/apps/{}/deployments", segment(app));
    let body: Value = json!({"deployment": {"source_url": source_url, "git_ref": git_ref}});
    // Made twice, it would be two.
    let answer: DeploymentAnswer =
        change(server, Method::POST, &path, Some(body), Retry::OnlyUnsent).await?;
    Ok(answer.deployment)
}
