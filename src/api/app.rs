//! What the handlers share.

use std::sync::Arc;
use std::time::Duration;

use crate::limits::{CallLimiter, PerAddressLimit};
use crate::ops::metrics::Metrics;
use crate::proxies::TrustedProxies;
use crate::public_url::PublicUrl;
use crate::service::Service;

/// The use cases, and what only HTTP needs besides.
pub struct App {
    pub service: Service,
    pub limiter: CallLimiter,
    /// The limit on transfers of one address: without it, the holder of one link could take every slot.
    pub transfers: Arc<PerAddressLimit>,
    pub metrics: Arc<Metrics>,
    pub proxies: TrustedProxies,
    /// What links begin with; without it, they follow the host that was asked.
    pub public_url: Option<PublicUrl>,
    /// What links begin with where a request does not even name a host.
    pub local_url: PublicUrl,
    pub api_body_limit_bytes: u64,
    pub api_body_timeout: Duration,
    /// Whether browsers are served the page.
    pub has_page: bool,
}
