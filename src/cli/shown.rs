//! How applications, deployments and variables are shown, wherever they were read: as lines, and, of a store, as JSON
//! with those members of the API that a store knows.

use serde::Serialize;
use serde_json::json;

use super::error::CliError;
use super::print::{print, print_json};
use crate::clock::Timestamp;
use crate::config::OutputSettings;
use crate::deployment::Status;
use crate::error_chain::printable;
use crate::service::apps::{App as StoredApp, AppId};
use crate::service::deployments::Deployment as StoredDeployment;
use crate::wire::apps::{App, AppStatus};
use crate::wire::deployments::Deployment;
use crate::wire::users::UserReference;

#[derive(Serialize)]
pub(super) struct ShownApp {
    id: String,
    name: String,
    owner: UserReference,
    status: AppStatus,
    last_deployed_at: Option<Timestamp>,
    last_deployed_by: Option<String>,
    last_deployment_id: Option<String>,
    created_at: Timestamp,
}

#[derive(Serialize)]
pub(super) struct ShownDeployment {
    id: String,
    app_id: String,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    status: Status,
    reason: Option<String>,
    git_ref: Option<String>,
    pusher: UserReference,
    /// Not the API's: only a store tells it, of one deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log_bytes: Option<u64>,
}

/// A value may be a secret, so this cannot be printed but as a result.
#[derive(Serialize)]
pub(super) struct ShownVariable {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

/// What of each variable is shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum VariableParts {
    NameAlone,
    NameAndValue,
}

impl From<App> for ShownApp {
    fn from(app: App) -> Self {
        Self {
            id: app.id,
            name: app.name,
            owner: app.owner,
            status: app.status,
            last_deployed_at: app.last_deployed_at,
            last_deployed_by: app.last_deployed_by,
            last_deployment_id: app.last_deployment_id,
            created_at: app.created_at,
        }
    }
}

impl ShownApp {
    pub(super) fn of(app: StoredApp, owner: UserReference) -> Self {
        let last = app.last_deployment;
        let status = if app.is_running {
            AppStatus::Running
        } else {
            AppStatus::New
        };
        Self {
            id: app.id.to_string(),
            name: app.name,
            owner,
            status,
            last_deployed_at: last.as_ref().map(|last| last.ended_at),
            last_deployed_by: last.as_ref().map(|last| last.by.clone()),
            last_deployment_id: last.map(|last| last.id),
            created_at: app.created_at,
        }
    }

    const fn status(&self) -> &'static str {
        match self.status {
            AppStatus::New => "new",
            AppStatus::Running => "running",
        }
    }

    pub(super) fn print_in_list(&self) -> Result<(), CliError> {
        print(&format!(
            "{}\t{}\t{}\t{}\t{}",
            printable(&self.id),
            printable(&self.name),
            printable(&self.owner.username),
            self.status(),
            self.created_at
        ))
    }

    pub(super) fn print(&self) -> Result<(), CliError> {
        print(&format!("id\t{}", printable(&self.id)))?;
        print(&format!("name\t{}", printable(&self.name)))?;
        print(&format!("owner\t{}", printable(&self.owner.username)))?;
        print(&format!("status\t{}", self.status()))?;
        print(&format!("created\t{}", self.created_at))?;
        let (Some(id), Some(at)) = (&self.last_deployment_id, self.last_deployed_at) else {
            return print("last deployment\tnone");
        };
        let by = self.last_deployed_by.as_deref().map(printable);
        let by = by.map_or_else(String::new, |by| format!("{by}\t"));
        print(&format!("last deployment\t{}\t{by}{at}", printable(id)))
    }
}

impl From<Deployment> for ShownDeployment {
    fn from(deployment: Deployment) -> Self {
        Self {
            id: deployment.id,
            app_id: deployment.app_id,
            created_at: deployment.created_at,
            started_at: deployment.started_at,
            finished_at: deployment.finished_at,
            status: deployment.status,
            reason: deployment.reason,
            git_ref: deployment.git_ref,
            pusher: deployment.pusher,
            log_bytes: None,
        }
    }
}

impl ShownDeployment {
    pub(super) fn of(deployment: StoredDeployment, pusher: UserReference) -> Self {
        Self {
            id: deployment.id.to_string(),
            app_id: AppId::from_bytes(deployment.id.app).to_string(),
            created_at: deployment.record.created_at,
            started_at: deployment.started_at(),
            finished_at: deployment.end.as_ref().map(|end| end.at),
            status: deployment.status(),
            reason: deployment.end.and_then(|end| end.reason),
            git_ref: deployment.record.git_ref,
            pusher,
            log_bytes: None,
        }
    }

    pub(super) fn print_in_list(&self) -> Result<(), CliError> {
        print(&format!(
            "{}\t{}\t{}\t{}",
            printable(&self.id),
            self.status,
            printable(self.git_ref.as_deref().unwrap_or("-")),
            self.created_at
        ))
    }

    pub(super) fn print(&self) -> Result<(), CliError> {
        print(&format!("id\t{}", printable(&self.id)))?;
        print(&format!("status\t{}", self.status))?;
        if let Some(git_ref) = &self.git_ref {
            print(&format!("git ref\t{}", printable(git_ref)))?;
        }
        print(&format!("pusher\t{}", printable(&self.pusher.username)))?;
        print(&format!("created\t{}", self.created_at))?;
        if let Some(started_at) = self.started_at {
            print(&format!("started\t{started_at}"))?;
        }
        if let Some(finished_at) = self.finished_at {
            print(&format!("finished\t{finished_at}"))?;
        }
        if let Some(reason) = &self.reason {
            print(&format!("reason\t{}", printable(reason)))?;
        }
        if let Some(log_bytes) = self.log_bytes {
            print(&format!("log\t{log_bytes} bytes"))?;
        }
        Ok(())
    }

    pub(super) fn print_cancelled(&self) -> Result<(), CliError> {
        let (id, status) = (printable(&self.id), self.status);
        let more = if status.is_end() {
            ""
        } else {
            "; its runner is asked to stop"
        };
        print(&format!("{id} is {status}{more}"))
    }
}

impl ShownVariable {
    pub(super) fn of(name: String, value: &str, parts: VariableParts) -> Self {
        let value = match parts {
            VariableParts::NameAlone => None,
            VariableParts::NameAndValue => Some(value.to_owned()),
        };
        Self { name, value }
    }

    /// All of an application's.
    pub(super) fn print_all(all: &[Self], output: OutputSettings) -> Result<(), CliError> {
        if output.json {
            return print_json(&json!({"variables": all}));
        }
        all.iter().try_for_each(Self::print)
    }

    fn print(&self) -> Result<(), CliError> {
        let name = printable(&self.name);
        match &self.value {
            Some(value) => print(&format!("{name}={}", printable(value))),
            None => print(&name),
        }
    }
}
