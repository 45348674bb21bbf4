//! The resource `event`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pagination::Meta;
use super::users::UserReference;
use crate::clock::Timestamp;

/// `{"events":[…],"meta":{…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsAnswer {
    pub events: Vec<Event>,
    pub meta: Meta,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub id: String,
    pub created_at: Timestamp,
    /// Whose doing it was.
    pub user: UserReference,
    /// The application that it is about, if it is about one.
    pub app_id: Option<String>,
    pub app_name: Option<String>,
    /// `type` and `type_data`: clients crash where the second is missing.
    #[serde(flatten)]
    pub kind: EventKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventKind {
    #[serde(rename = "type")]
    pub name: String,
    #[serde(rename = "type_data")]
    pub data: Value,
}
