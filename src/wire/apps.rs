//! The resource `app`. The platform's clients read attributes that mean nothing here, and crash on some that are not there.

use serde::{Deserialize, Serialize};

use super::users::{Flags, UserReference};
use crate::clock::Timestamp;

/// `{"app":{…}}`: this key and no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppAnswer {
    pub app: App,
}

/// `{"apps":[…]}`: the answer to `GET /v1/apps`. This key and no other: clients refuse a list with pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppsAnswer {
    pub apps: Vec<App>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    pub id: String,
    pub name: String,
    pub region: String,
    pub owner: UserReference,
    /// Always null: there are no projects.
    pub project: Option<String>,
    /// Empty, like the two after it: nothing is pushed to, and what runs is not known here.
    pub git_url: String,
    pub url: String,
    pub base_url: String,
    pub status: AppStatus,
    pub last_deployed_at: Option<Timestamp>,
    pub last_deployed_by: Option<String>,
    pub last_deployment_id: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub links: AppLinks,
    pub stack_id: Option<String>,
    pub sticky_session: bool,
    pub force_https: bool,
    pub router_logs: bool,
    /// Always empty.
    pub flags: Flags,
    /// Always empty.
    pub limits: Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppStatus {
    /// No deployment has succeeded yet.
    New,
    Running,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppLinks {
    /// Where the deployments of the application are followed, by WebSocket.
    pub deployments_stream: String,
}
