//! `waystation deploy`: pushes, creates the deployment, and follows it to its end.

use std::io;
use std::path::Path;

use super::apps;
use super::archive::blocking;
use super::deployments::{create, outcome};
use super::error::CliError;
use super::print::{print, print_json, show_log};
use super::push::send;
use super::remote::connect;
use super::screen::Screen;
use super::trust::link_in;
use crate::client::{DeploymentUpdate, Server, follow};
use crate::config::DeploySettings;
use crate::error_chain::printable;
use crate::secret::Secret;
use crate::wire::deployments::{Deployment, DeploymentAnswer};

pub(super) async fn deploy(settings: DeploySettings) -> Result<(), CliError> {
    let screen = Screen::new(settings.access.output.quiet);
    let server = connect(&settings.access.remote)?;
    if settings.create {
        create_app(&server, &settings.app, &screen).await?;
    } else {
        // Before all the work.
        apps::find(&server, &settings.app).await?;
    }
    let link = if settings.link_on_stdin {
        blocking(|| link_in(io::stdin().lock()).map_err(CliError::Link)).await?
    } else if settings.is_link() {
        settings.source.clone()
    } else {
        let path = Path::new(settings.source.reveal());
        let connection = &settings.access.remote.connection;
        send(&server, connection, path, &settings.pack, &screen)
            .await?
            .download_link
    };
    let git_ref = settings.git_ref.as_deref().or(settings.pack.git.as_deref());
    let deployment = create(&server, &settings.app, link.reveal(), git_ref).await?;
    if settings.detach {
        return print_deployment(&deployment, settings.access.output.json);
    }
    let (app, id) = (&settings.app, &deployment.id);
    screen.note(&format!(
        "deployment {id} of {app}; Ctrl-C leaves it running"
    ));
    let is_quiet = settings.access.output.quiet;
    let mut tell = |update| match update {
        DeploymentUpdate::Log(text) => {
            if !is_quiet {
                show_log(text.as_bytes());
            }
        }
        DeploymentUpdate::Status(status) => screen.note(&format!("the deployment is {status}")),
    };
    let app = super::calls::segment(app);
    let ended = follow(&server, &app, id, &mut tell).await?;
    print_deployment(&ended, settings.access.output.json)?;
    outcome(&ended)
}

async fn create_app(server: &Server, name: &str, screen: &Screen) -> Result<(), CliError> {
    match apps::find(server, name).await {
        Ok(_) => Ok(()),
        Err(CliError::Client(error)) if error.status() == Some(404) => {
            apps::make(server, name).await?;
            screen.note(&format!("created the app {name}"));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// The result is the deployment; its log is for those who watch.
fn print_deployment(deployment: &Deployment, as_json: bool) -> Result<(), CliError> {
    if as_json {
        return print_json(&DeploymentAnswer {
            deployment: deployment.clone(),
        });
    }
    print(&printable(&deployment.id))
}

impl DeploySettings {
    fn is_link(&self) -> bool {
        self.source.reveal().contains("://")
    }

    /// The link that stands in the arguments, if one does.
    pub(super) fn link(&self) -> Option<&Secret> {
        self.is_link().then_some(&self.source)
    }
}
