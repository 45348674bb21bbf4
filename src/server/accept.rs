//! Accepting connections for as long as there is room for more, and stopping cleanly.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::connection::{ConnectionLimits, Service};
use super::workers::Workers;
use crate::error_chain::chain;
use crate::limits::{PerAddressLimit, Permit};
use crate::proxies::{Peer, TrustedProxies};
use crate::public_url::Scheme;
use crate::stopping::StopSwitch;

/// How long to wait after the system refused to accept, as it does when it is out of file
/// descriptors: some have to be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Time to notify clients that they are cut off.
const LAST_WORD: Duration = Duration::from_millis(500);

/// The limit of connections for each address: none may have so many that no room is left for others.
pub struct AddressLimit {
    /// How many each may have.
    pub connections: Arc<PerAddressLimit>,
    /// Many clients may stand behind one address of these.
    pub exempt: TrustedProxies,
    /// Is called for each connection that is closed for this.
    pub on_refused: Box<dyn Fn() + Send + Sync>,
}

impl AddressLimit {
    /// Room for a connection from `address`; an error if it has as many as it may. It is closed without
    /// a word: within TLS, each answer would cost a handshake.
    fn admit(&self, address: IpAddr) -> Result<Option<Permit>, Refused> {
        if self.exempt.trusts(address) {
            return Ok(None);
        }
        self.connections.acquire(address).map(Some).ok_or_else(|| {
            (self.on_refused)();
            tracing::debug!(client = %address, "closed a connection: its address has too many");
            Refused
        })
    }
}

/// The address has as many connections as it may.
struct Refused;

/// Connections that are being accepted and served.
pub struct Server {
    service: Service,
    tls: Option<TlsAcceptor>,
    slots: Arc<Semaphore>,
    workers: Workers,
    address_limit: Option<AddressLimit>,
    stop: StopSwitch,
}

impl Server {
    /// One that serves `router` on the runtime of the caller, within TLS if there is a configuration
    /// for it.
    pub fn new(router: Router, limits: ConnectionLimits, tls: Option<Arc<ServerConfig>>) -> Self {
        let (stop, stopping) = StopSwitch::new();
        Self {
            service: Service {
                router,
                limits,
                stop: stopping,
            },
            tls: tls.map(TlsAcceptor::from),
            slots: Arc::new(Semaphore::new(limits.connections as usize)),
            workers: Workers::current(),
            address_limit: None,
            stop,
        }
    }

    /// The same, on threads of its own, one for each core.
    pub fn on_all_cores(self) -> io::Result<Self> {
        let workers = Workers::start()?;
        Ok(Self { workers, ..self })
    }

    /// The same, but an address may have only so many connections.
    pub fn with_address_limit(self, limit: AddressLimit) -> Self {
        Self {
            address_limit: Some(limit),
            ..self
        }
    }

    /// Accepts connections for as long as it is polled.
    pub async fn accept(&self, listener: &TcpListener) {
        loop {
            let slot = Arc::clone(&self.slots)
                .acquire_owned()
                .await
                .expect("this semaphore is never closed");
            // The stream belongs to no runtime yet: to that of its worker, once it is there.
            let accepted = listener.accept().await;
            match accepted.and_then(|(stream, address)| Ok((stream.into_std()?, address))) {
                Ok((stream, address)) => self.spawn(stream, address.ip(), slot),
                Err(error) => {
                    tracing::warn!(error = chain(&error), "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection to its end, unless its address has too many. `slot` is held meanwhile.
    fn spawn(&self, stream: std::net::TcpStream, address: IpAddr, slot: impl Send + 'static) {
        let limit = self.address_limit.as_ref();
        let Ok(permit) = limit.map(|limit| limit.admit(address)).transpose() else {
            return;
        };
        let scheme = match self.tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        };
        let peer = Peer { address, scheme };
        let (tls, service) = (self.tls.clone(), self.service.clone());
        self.workers.spawn(async move {
            service.serve(stream, peer, tls).await;
            drop((slot, permit));
        });
    }

    /// Closes idle connections, and the others when their requests have been answered, if that is within `limit`.
    /// Returns whether all were. Clients that can be notified are, before they are cut off.
    pub async fn finish(self, limit: Duration) -> bool {
        self.stop.stop();
        if timeout(limit, self.await_closed()).await.is_ok() {
            return true;
        }
        self.stop.cut_off();
        // Whether they have taken it or not.
        let _ = timeout(LAST_WORD, self.await_closed()).await;
        false
    }

    async fn await_closed(&self) {
        let all = self.service.limits.connections;
        let closed = self.slots.acquire_many(all).await;
        drop(closed.expect("this semaphore is never closed"));
    }
}
