//! The resource `deployment`, and the frames of its stream.

use serde::{Deserialize, Serialize};

use super::pagination::Meta;
use super::users::UserReference;
use crate::clock::Timestamp;
use crate::deployment::Status;

/// `{"deployment":{…}}`: this key and no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentAnswer {
    pub deployment: Deployment,
}

/// `{"deployments":[…],"meta":{…}}`: the answer to `GET /v1/apps/{app}/deployments`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentsAnswer {
    pub deployments: Vec<Deployment>,
    pub meta: Meta,
}

/// A deployment. The platform's clients crash where `links`, `pusher` or `created_at` is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    pub id: String,
    pub app_id: String,
    pub created_at: Timestamp,
    /// When a runner began with it.
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub status: Status,
    /// Why it ended as it did, where there is more to say than its status.
    pub reason: Option<String>,
    pub git_ref: Option<String>,
    #[serde(rename = "type")]
    pub kind: DeploymentKind,
    /// Whole seconds from its start to its end, or so far.
    pub duration: u64,
    /// Always 0: what a command makes of an archive is not known here.
    pub image_size: u64,
    pub pusher: UserReference,
    pub source: DeploymentSource,
    pub links: DeploymentLinks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeploymentKind {
    Archive,
}

/// The archive, without its link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentSource {
    /// Its SHA-256, in hex, and its size, if it is in this service.
    pub sha256: Option<String>,
    pub size: Option<u64>,
    /// The host that has it, if it is elsewhere.
    pub host: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentLinks {
    /// Absolute, and without a query: clients drop one.
    pub output: String,
    pub deployments_stream: String,
}

/// What the server sends to those who follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Frame {
    New { id: String, data: NewData },
    Log { id: String, data: LogData },
    Status { id: String, data: StatusData },
    Ping { data: PingData },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewData {
    pub deployment: NewDeployment,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewDeployment {
    pub id: String,
    pub pusher: PusherName,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PusherName {
    pub username: String,
}

/// One line or more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogData {
    pub content: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusData {
    pub status: Status,
}

/// When it was sent, in seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingData {
    pub ts: u64,
}

/// The first frame of a client: `{"type":"auth","data":{"token":"…"}}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ClientFrame {
    Auth { data: AuthData },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuthData {
    /// An API token, or the JWT that one was exchanged for. A secret.
    pub token: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_spelled_as_clients_read_them() {
        let id = || "1".to_owned();
        let new = Frame::New {
            id: id(),
            data: NewData {
                deployment: NewDeployment {
                    id: id(),
                    pusher: PusherName {
                        username: "ada".to_owned(),
                    },
                },
            },
        };
        let log = Frame::Log {
            id: id(),
            data: LogData {
                content: "a\n".to_owned(),
            },
        };
        let status = Frame::Status {
            id: id(),
            data: StatusData {
                status: Status::BuildError,
            },
        };
        let ping = Frame::Ping {
            data: PingData { ts: 1 },
        };
        for (frame, json) in [
            (
                new,
                r#"{"type":"new","id":"1","data":{"deployment":{"id":"1","pusher":{"username":"ada"}}}}"#,
            ),
            (log, r#"{"type":"log","id":"1","data":{"content":"a\n"}}"#),
            (
                status,
                r#"{"type":"status","id":"1","data":{"status":"build-error"}}"#,
            ),
            (ping, r#"{"type":"ping","data":{"ts":1}}"#),
        ] {
            assert_eq!(serde_json::to_string(&frame).unwrap(), json);
        }
    }
}
