//! The client that a request is from, and the URL at which it reached this service.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header::HOST;
use http::request::Parts;
use http::{Extensions, HeaderMap};

use super::app::App;
use crate::proxies::Peer;
use crate::public_url::PublicUrl;

/// The address of the client that a request is from.
pub(super) fn client_of(headers: &HeaderMap, extensions: &Extensions, app: &App) -> IpAddr {
    app.proxies.client_of(Peer::of(extensions), headers)
}

/// What links begin with for this request: what the operator says, or else the host that was asked,
/// as a trusted proxy may know it better.
pub(super) struct LinkBase(pub(super) PublicUrl);

impl FromRequestParts<Arc<App>> for LinkBase {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let base = app
            .public_url
            .clone()
            .or_else(|| asked_url(parts, app))
            .unwrap_or_else(|| app.local_url.clone());
        Ok(Self(base))
    }
}

/// All URLs that lead here, as far as they are known.
pub(super) struct KnownBases(pub(super) Vec<PublicUrl>);

impl FromRequestParts<Arc<App>> for KnownBases {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let local = Some(app.local_url.clone());
        let bases = [app.public_url.clone(), asked_url(parts, app), local];
        Ok(Self(bases.into_iter().flatten().collect()))
    }
}

fn asked_url(parts: &Parts, app: &App) -> Option<PublicUrl> {
    let header = || parts.headers.get(HOST)?.as_bytes().try_into().ok();
    let host = parts.uri.authority().cloned().or_else(header);
    let peer = Peer::of(&parts.extensions);
    app.proxies.asked_url(peer, &parts.headers, host)
}
