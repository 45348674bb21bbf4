//! `waystation app create | list | show | delete`, of a server.

use http::Method;
use serde::Serialize;
use serde_json::json;

use super::calls::{change, segment};
use super::error::CliError;
use super::print::{print, print_json};
use super::screen::Screen;
use crate::client::{Repeat, Server};
use crate::config::OutputSettings;
use crate::error_chain::printable;
use crate::wire::apps::{App, AppAnswer, AppStatus, AppsAnswer};

/// What is gone.
#[derive(Serialize)]
struct DeletedAnswer {
    deleted: String,
}

pub(super) async fn create(
    server: &Server,
    name: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let answer = make(server, name).await?;
    if output.json {
        return print_json(&answer);
    }
    print(&printable(&answer.app.name))
}

/// Made again, it would be refused as taken.
pub(super) async fn make(server: &Server, name: &str) -> Result<AppAnswer, CliError> {
    let body = json!({"app": {"name": name}});
    change(
        server,
        Method::POST,
        "/v1/apps",
        Some(body),
        Repeat::OnlyUnsent,
    )
    .await
}

pub(super) async fn list(server: &Server, output: OutputSettings) -> Result<(), CliError> {
    let answer: AppsAnswer = server.get("/v1/apps").await?;
    if output.json {
        return print_json(&answer);
    }
    for app in &answer.apps {
        print(&format!(
            "{}\t{}\t{}\t{}\t{}",
            printable(&app.id),
            printable(&app.name),
            printable(&app.owner.username),
            status_of(app),
            app.created_at
        ))?;
    }
    Ok(())
}

pub(super) async fn find(server: &Server, app: &str) -> Result<App, CliError> {
    let answer: AppAnswer = server.get(&format!("/v1/apps/{}", segment(app))).await?;
    Ok(answer.app)
}

pub(super) async fn show(
    server: &Server,
    asked: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let app = find(server, asked).await?;
    if output.json {
        return print_json(&AppAnswer { app });
    }
    print(&format!("id\t{}", printable(&app.id)))?;
    print(&format!("name\t{}", printable(&app.name)))?;
    print(&format!("owner\t{}", printable(&app.owner.username)))?;
    print(&format!("status\t{}", status_of(&app)))?;
    print(&format!("created\t{}", app.created_at))?;
    match (&app.last_deployment_id, &app.last_deployed_at) {
        (Some(id), Some(at)) => print(&format!("last deployment\t{}\t{at}", printable(id))),
        _ => print("last deployment\tnone"),
    }
}

/// The server wants its name, so that no other is deleted by a slip.
pub(super) async fn delete(
    server: &Server,
    asked: &str,
    output: OutputSettings,
) -> Result<(), CliError> {
    let app = find(server, asked).await?;
    let (id, name) = (segment(&app.id), segment(&app.name));
    let path = format!("/v1/apps/{id}?current_name={name}");
    server
        .call(Method::DELETE, &path, None, Repeat::OnlyUnsent)
        .await?;
    Screen::new(output.quiet).note(&format!("deleted {}", app.name));
    if output.json {
        return print_json(&DeletedAnswer { deleted: app.name });
    }
    Ok(())
}

const fn status_of(app: &App) -> &'static str {
    match app.status {
        AppStatus::New => "new",
        AppStatus::Running => "running",
    }
}
