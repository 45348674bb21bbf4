//! The resource `region`: where the platform's services are. Here all of them are this one.

use serde::{Deserialize, Serialize};

/// `{"regions":[…]}`: the answer to `GET /v1/regions`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RegionsAnswer {
    pub regions: Vec<Region>,
}

/// A region, with the attributes that the platform's clients read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Region {
    pub name: String,
    pub display_name: String,
    pub api: String,
    /// Where its dashboard would be.
    pub dashboard: String,
    /// Where its databases would be.
    pub database_api: String,
    /// Empty: there is no SSH.
    pub ssh: String,
    /// Whether clients choose it by themselves.
    pub default: bool,
}
