//! What an error's answer says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// The body of every answer that is no success: what happened, and what to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemBody {
    /// What kind of problem it is, as a URI (RFC 9457), where the protocol has one for it.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub problem_type: Option<String>,
    /// The kind of resource that was not found. Clients show it in place of the sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// A sentence for people; not where there are `errors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of each attribute that is wrong or missing, why: `{"name":["can't be blank"]}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, Vec<String>>,
    /// A word for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// When the link expired that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired_at: Option<Timestamp>,
    /// The current length of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
    /// Where the next part of an upload is to begin.
    #[serde(
        default,
        rename = "expected-offset",
        skip_serializing_if = "Option::is_none"
    )]
    pub expected_offset: Option<u64>,
    /// Where the part begins that was sent.
    #[serde(
        default,
        rename = "provided-offset",
        skip_serializing_if = "Option::is_none"
    )]
    pub provided_offset: Option<u64>,
    /// Under which the log has the cause of an internal error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
