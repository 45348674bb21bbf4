//! The parts of a server, made from its settings.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::api::App;
use crate::clock::Clock;
use crate::config::ServeSettings;
use crate::keys::KeyRing;
use crate::limits::{CallLimiter, PerAddressLimit};
use crate::ops::metrics::Metrics;
use crate::pace::Pace;
use crate::proxies::TrustedProxies;
use crate::public_url::{PublicUrl, Scheme};
use crate::server::{AddressLimit, ConnectionLimits, TlsFiles};
use crate::service::Service;
use crate::service::deployments::DeploymentLimits;
use crate::service::sources::Limits;
use crate::store::Store;

/// How many connections the address for operators serves at once.
const ADMIN_CONNECTIONS: u32 = 64;
/// The same for one address of those who watch the service.
const ADMIN_CONNECTIONS_PER_ADDRESS: u32 = 16;
/// Monitoring sends its request at once.
const ADMIN_HEAD_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn tls_files(settings: &ServeSettings) -> Option<TlsFiles> {
    Some(TlsFiles {
        cert: settings.tls_cert.clone()?,
        key: settings.tls_key.clone()?,
    })
}

/// What the server's own address is called.
pub(super) fn local_url(settings: &ServeSettings, address: SocketAddr) -> PublicUrl {
    let scheme = match settings.tls_cert {
        Some(_) => Scheme::Https,
        None => Scheme::Http,
    };
    PublicUrl::of_address(scheme, address)
}

pub(super) fn app(
    settings: &ServeSettings,
    store: &Store,
    keys: &KeyRing,
    address: SocketAddr,
) -> App {
    let (limits, deployment_limits) = (limits(settings), deployment_limits(settings));
    let service = Service::build(keys, limits, deployment_limits, store, Clock::System);
    let metrics = Arc::new(Metrics::of(store));
    let noted = Arc::clone(&metrics);
    service.deployments.note_ends(Box::new(move |ended| {
        noted.note_deployment(ended.status.name(), ended.duration);
    }));
    App {
        service,
        limiter: CallLimiter::new(settings.rate_limit, settings.auth_failure_limit),
        transfers: per_address(settings.max_transfers_per_address, settings.max_transfers),
        metrics,
        proxies: TrustedProxies::new(settings.trusted_proxy.clone()),
        public_url: settings.public_url.clone(),
        local_url: local_url(settings, address),
        api_body_limit_bytes: settings.api_body_limit.as_u64(),
        api_body_timeout: settings.header_timeout,
        has_page: !settings.no_page,
    }
}

/// One address alone does not keep the others out.
fn per_address(set: Option<u32>, all: u32) -> Arc<PerAddressLimit> {
    PerAddressLimit::new(set.unwrap_or(all.div_ceil(2)))
}

fn limits(settings: &ServeSettings) -> Limits {
    Limits {
        lifetime: settings.lifetime,
        upload_bytes: match settings.upload_limit.as_u64() {
            0 => u64::MAX,
            bytes => bytes,
        },
        transfers: settings.max_transfers as usize,
        uploads_per_source: settings.max_uploads_per_source,
        open_attempts: settings.max_open_uploads as usize,
        open_attempt_bytes: match settings.max_open_upload_size.as_u64() {
            0 => u64::MAX,
            bytes => bytes,
        },
        upload_pace: pace(settings),
        transfer_mode: settings.transfers,
    }
}

fn deployment_limits(settings: &ServeSettings) -> DeploymentLimits {
    DeploymentLimits {
        queue_per_app: settings.max_queued_per_app as usize,
        queue: settings.max_queued as usize,
        queue_timeout: settings.queue_timeout,
        run_timeout: settings.deployment_timeout,
        log_bytes: settings.log_limit.as_u64(),
        kept: settings.keep_deployments as usize,
        followers_per_app: settings.max_followers_per_app,
    }
}

pub(super) fn address_limit(settings: &ServeSettings, metrics: Arc<Metrics>) -> AddressLimit {
    AddressLimit {
        connections: per_address(
            settings.max_connections_per_address,
            settings.max_connections,
        ),
        exempt: TrustedProxies::new(settings.trusted_proxy.clone()),
        on_refused: Box::new(move || metrics.note_refused_connection()),
    }
}

pub(super) fn connection_limits(settings: &ServeSettings) -> ConnectionLimits {
    ConnectionLimits {
        connections: settings.max_connections,
        head_timeout: settings.header_timeout,
        head_bytes: usize::try_from(settings.header_limit.as_u64())
            .expect("settings hold it to a megabyte"),
        download_pace: pace(settings),
    }
}

pub(super) fn admin_limits(settings: &ServeSettings) -> ConnectionLimits {
    ConnectionLimits {
        connections: ADMIN_CONNECTIONS,
        head_timeout: settings.header_timeout.min(ADMIN_HEAD_TIMEOUT),
        ..connection_limits(settings)
    }
}

pub(super) fn admin_address_limit() -> AddressLimit {
    AddressLimit {
        connections: PerAddressLimit::new(ADMIN_CONNECTIONS_PER_ADDRESS),
        exempt: TrustedProxies::default(),
        on_refused: Box::new(|| {}),
    }
}

fn pace(settings: &ServeSettings) -> Pace {
    Pace {
        idle_timeout: settings.idle_timeout,
        min_bytes_per_second: settings.min_rate.as_u64(),
    }
}
