//! The resource `region`: this service is the only one.

use axum::response::Response;
use http::StatusCode;

use super::answer::private_json;
use super::caller::Authenticated;
use super::client::LinkBase;
use crate::wire::regions::{Region, RegionsAnswer};

/// The name of the only region.
pub(super) const REGION: &str = "waystation";

/// `GET /v1/regions`: where clients find the platform's services.
pub(super) async fn list(_caller: Authenticated, LinkBase(base): LinkBase) -> Response {
    let url = base.to_string();
    let region = Region {
        name: REGION.to_owned(),
        display_name: "Waystation".to_owned(),
        api: url.clone(),
        dashboard: url.clone(),
        database_api: url,
        ssh: String::new(),
        default: true,
    };
    let regions = vec![region];
    private_json(StatusCode::OK, &RegionsAnswer { regions })
}
