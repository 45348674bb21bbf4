//! `waystation serve`: puts the parts together, runs them, and ends them cleanly.

use std::net::SocketAddr;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::{CliError, welcome};
use crate::accounts::Accounts;
use crate::clock::Clock;
use crate::config::ServeSettings;
use crate::grant::GrantKeys;
use crate::http::connection::{ConnectionLimits, Server};
use crate::http::{App, router};
use crate::keys::KeyRing;
use crate::pace::Pace;
use crate::public_url::PublicUrl;
use crate::reaper;
use crate::sources::{Limits, Sources};
use crate::store::{DiskStore, Store};
use crate::telemetry::{chain, log_panics, start_log};

/// Files that are open besides those of connections and transfers.
const OTHER_OPEN_FILES: u64 = 64;

pub(super) async fn serve(settings: ServeSettings) -> Result<(), CliError> {
    start_log(settings.log);
    log_panics();
    raise_open_files(&settings);
    let mut signals = Signals::listen()?;

    let (store, keys) = open_store(&settings).await?;
    let listener = listen(settings.listen).await?;
    let address = listener
        .local_addr()
        .map_err(|source| listen_error(settings.listen, source))?;
    let app = Arc::new(assemble(&settings, &store, &keys, address));
    welcome::print(&settings, &app).await?;

    let reaper = tokio::spawn(reaper::run(store, app.clock.clone(), settings.sweep_every));
    let server = Server::new(router(app), connection_limits(&settings));
    tracing::info!("listening on http://{address}");
    tokio::select! {
        () = server.accept(&listener) => {}
        name = signals.next() => tracing::info!(
            "{name}: accepting no more; transfers have {} to finish",
            humantime::format_duration(settings.drain)
        ),
    }
    drop(listener);
    let done = finish(server, &settings, &mut signals).await;
    reaper.abort();
    done
}

/// Lets what is under way finish, for as long as it may, or until a second signal.
async fn finish(
    server: Server,
    settings: &ServeSettings,
    signals: &mut Signals,
) -> Result<(), CliError> {
    tokio::select! {
        finished = timeout(settings.drain, server.finish()) => {
            if finished.is_ok() {
                tracing::info!("all transfers have finished; the end");
            } else {
                tracing::warn!("the time is up; what was under way is cut off; the end");
            }
            Ok(())
        }
        _name = signals.next() => Err(CliError::CutOff),
    }
}

/// The store, claimed for this server, and the keys that its links are signed with.
async fn open_store(settings: &ServeSettings) -> Result<(Store, KeyRing), CliError> {
    let disk = DiskStore::open(
        settings.store.store.clone(),
        settings.sync,
        settings.keep_free.as_u64(),
    )?;
    let store_key_file = disk.key_file();
    let store = Store::Disk(disk);
    let leftovers = store.claim().await?;
    if leftovers > 0 {
        tracing::info!(
            leftovers,
            "removed uploads that an earlier server could not end"
        );
    }
    let keys = match &settings.key_file {
        Some(key_file) => KeyRing::load(key_file)?,
        None => KeyRing::load_or_create(&store_key_file)?,
    };
    Ok((store, keys))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, CliError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| listen_error(address, source))
}

const fn listen_error(address: SocketAddr, source: std::io::Error) -> CliError {
    CliError::Listen { address, source }
}

fn assemble(settings: &ServeSettings, store: &Store, keys: &KeyRing, address: SocketAddr) -> App {
    let clock = Clock::System;
    let limits = Limits {
        lifetime: settings.lifetime,
        upload_bytes: settings.upload_limit.as_u64(),
        transfers: settings.max_transfers,
        upload_pace: pace(settings),
    };
    App {
        sources: Sources::new(
            store.clone(),
            GrantKeys::derive(keys),
            clock.clone(),
            limits,
        ),
        accounts: Accounts::new(store.clone()),
        clock,
        public_url: settings.public_url.clone(),
        local_url: PublicUrl::of_address(address),
        api_body_limit_bytes: settings.api_body_limit.as_u64(),
        api_body_timeout: settings.header_timeout,
    }
}

fn connection_limits(settings: &ServeSettings) -> ConnectionLimits {
    ConnectionLimits {
        connections: settings.max_connections,
        head_timeout: settings.header_timeout,
        head_bytes: usize::try_from(settings.header_limit.as_u64())
            .expect("settings hold it to a megabyte"),
        download_pace: pace(settings),
    }
}

fn pace(settings: &ServeSettings) -> Pace {
    Pace {
        idle_timeout: settings.idle_timeout,
        min_bytes_per_second: settings.min_rate.as_u64(),
    }
}

/// Each connection and each transfer needs an open file, and systems start programs with a limit
/// that is lower than what they allow.
fn raise_open_files(settings: &ServeSettings) {
    let wanted = (settings.max_connections + settings.max_transfers) as u64 + OTHER_OPEN_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let current = limit.maximum.map_or(wanted, |most| most.min(wanted));
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(current),
            maximum: limit.maximum,
        },
    );
    if let Err(error) = raised {
        tracing::warn!(
            error = chain(&error),
            "cannot raise the limit of open files"
        );
    }
    if current < wanted {
        tracing::warn!(
            "the system allows {current} open files, fewer than the {wanted} that --max-connections and --max-transfers may need"
        );
    }
}

/// The two ways to be told to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(CliError::Signals);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Returns the name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
