//! `waystation app create | list | show | delete`, of a server.

use http::Method;
use serde::Serialize;
use serde_json::json;

use super::calls::{change, segment};
use super::error::CliError;
use super::print::{print, print_json};
use super::screen::Screen;
use super::shown::ShownApp;
use crate::client::{Retry, Server};
use crate::config::OutputSettings;
use crate::error_chain::printable;
use crate::wire::apps::{App, AppAnswer, AppsAnswer};

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
        Retry::OnlyUnsent,
    )
    .await
}

pub(super) async fn list(server: &Server, output: OutputSettings) -> Result<(), CliError> {
    let answer: AppsAnswer = server.get("/v1/apps").await?;
    if output.json {
        return print_json(&answer);
    }
    let mut apps = answer.apps.into_iter().map(ShownApp::from);
    apps.try_for_each(|app| app.print_in_list())
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
    ShownApp::from(app).print()
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
        .call(Method::DELETE, &path, None, Retry::OnlyUnsent)
        .await?;
    Screen::new(output.quiet).note(&format!("deleted {}", app.name));
    if output.json {
        return print_json(&DeletedAnswer { deleted: app.name });
    }
    Ok(())
}
