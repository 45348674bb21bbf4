//! Which connections are served: no address may have so many that none are left for others.

use std::net::IpAddr;
use std::sync::Arc;

use crate::limits::{AtOnce, Held};
use crate::ops::metrics::Metrics;
use crate::proxies::TrustedProxies;

/// The limit of connections for each address.
pub struct Admission {
    per_address: Arc<AtOnce>,
    /// Many clients may stand behind one address of these.
    proxies: TrustedProxies,
    metrics: Arc<Metrics>,
}

/// A connection that may be served, for as long as this is kept.
pub(super) struct Admitted {
    _held: Option<Held>,
}

impl Admission {
    /// Lets each address have so many connections, but for those of `proxies`.
    #[must_use]
    pub fn new(
        connections_per_address: u32,
        proxies: TrustedProxies,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            per_address: AtOnce::new(connections_per_address),
            proxies,
            metrics,
        }
    }

    /// A place for a connection from `address`; `None` if it has as many as it may. That is not told:
    /// within TLS, each answer would cost a handshake.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Admitted> {
        if self.proxies.trusts(address) {
            return Some(Admitted { _held: None });
        }
        let held = self.per_address.take(address);
        if held.is_none() {
            self.metrics.note_refused_connection();
            tracing::debug!(client = %address, "closed a connection of an address that has too many");
        }
        held.map(|held| Admitted { _held: Some(held) })
    }
}
