//! `waystation serve`: opens what is needed, runs it, and ends it cleanly.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::SignalKind;
use tokio_rustls::rustls::ServerConfig;

use super::deploy_runner::DeployRunner;
use super::error::CliError;
use super::signals::{Signals, listen_for};
use super::{open_files, parts, welcome};
use crate::api::{App, router};
use crate::config::{ServeSettings, StorePlace};
use crate::keys::KeyRing;
use crate::ops::admin::{UnderWay, admin_router, for_this_machine};
use crate::ops::metrics::QueueGauge;
use crate::ops::reaper;
use crate::ownership;
use crate::server::{Certificate, Server};
use crate::service::deployments::{QueueSummary, UPKEEP_EVERY};
use crate::service::sources::TransferMode;
use crate::store::{FolderStore, Store};

pub(super) async fn serve(mut settings: ServeSettings) -> Result<(), CliError> {
    check_privacy(&settings)?;
    open_files::fit(&mut settings);
    let mut signals = Signals::listen()?;

    let tls = start_tls(&settings)?;
    let (store, keys) = open_store(&settings).await?;
    let (listener, address) = listen(settings.listen).await?;
    let app = Arc::new(parts::app(&settings, &store, &keys, address));
    welcome::welcome(&settings, &store, &app).await?;

    let mut reaper = tokio::spawn(reaper::run(
        store.clone(),
        app.service.clock.clone(),
        Arc::clone(&app.metrics),
        settings.sweep_every,
    ));
    let upkeep = tokio::spawn(keep_up(Arc::clone(&app)));
    start_admin(&settings, &app, &store).await?;
    let limits = parts::connection_limits(&settings);
    let address_limit = parts::address_limit(&settings, Arc::clone(&app.metrics));
    let runner = DeployRunner::start(&settings, &app).await?;
    let server = Server::new(router(app), limits, tls)
        .with_address_limit(address_limit)
        .on_all_cores()
        .map_err(CliError::Runtime)?;
    tracing::info!("listening on {}", parts::local_url(&settings, address));
    let stopped = tokio::select! {
        () = server.accept(&listener) => Ok(()),
        name = signals.next() => {
            tracing::info!(
                "{name}: shutting down, draining transfers for up to {}",
                humantime::format_duration(settings.drain)
            );
            Ok(())
        }
        _ = &mut reaper => Err(CliError::Reaper),
    };
    if let Some(runner) = runner {
        tokio::select! {
            () = runner.end() => {}
            _name = signals.next() => return Err(CliError::CutOff),
        }
    }
    drop(listener);
    let finished = finish(server, &settings, &mut signals).await;
    reaper.abort();
    upkeep.abort();
    stopped.and(finished)
}

/// Ends deployments whose time is up, or whose runner is lost.
async fn keep_up(app: Arc<App>) {
    let round = || async {
        let deployments = &app.service.deployments;
        deployments.keep_up().await?;
        let QueueSummary { unfinished, oldest } = deployments.queue_summary();
        app.metrics.note_queue(QueueGauge { unfinished, oldest });
        Ok(())
    };
    reaper::repeat(UPKEEP_EVERY, "the upkeep of deployments", round).await;
}

/// Lets what is under way finish, for as long as it may, or until a second signal.
async fn finish(
    server: Server,
    settings: &ServeSettings,
    signals: &mut Signals,
) -> Result<(), CliError> {
    tokio::select! {
        all_finished = server.finish(settings.drain) => {
            if all_finished {
                tracing::info!("all transfers finished");
            } else {
                tracing::warn!("--drain is over: cutting off the remaining transfers");
            }
            Ok(())
        }
        _name = signals.next() => Err(CliError::CutOff),
    }
}

/// Links cross a network within TLS only, be it spoken here or in front.
fn check_privacy(settings: &ServeSettings) -> Result<(), CliError> {
    let address = settings.listen;
    if address.ip().is_loopback() || settings.tls_cert.is_some() || settings.plain_http {
        Ok(())
    } else {
        Err(CliError::PlainHttp { address })
    }
}

/// Reads the certificate, and again when its files change or SIGHUP asks for it, for as long as the server runs.
fn start_tls(settings: &ServeSettings) -> Result<Option<Arc<ServerConfig>>, CliError> {
    let Some(files) = parts::tls_files(settings) else {
        return Ok(None);
    };
    ownership::check_path(&files.key)?;
    let certificate = Certificate::load(files)?;
    let config = certificate.server_config()?;
    let mut hangups = listen_for(SignalKind::hangup())?;
    tokio::spawn(Arc::clone(&certificate).follow());
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            certificate.reload();
        }
    });
    Ok(Some(config))
}

/// Serves the routes for operators, if they are asked for. They end with the process.
async fn start_admin(
    settings: &ServeSettings,
    app: &Arc<App>,
    store: &Store,
) -> Result<(), CliError> {
    let Some(address) = settings.admin_listen else {
        return Ok(());
    };
    let (listener, address) = listen(address).await?;
    let metrics = Arc::clone(&app.metrics);
    let clock = app.service.clock.clone();
    let app = Arc::clone(app);
    let mut router = admin_router(metrics, store.clone(), clock, move || {
        let sources = &app.service.sources;
        let (open_uploads, open_upload_bytes) = sources.open_attempts();
        UnderWay {
            transfers: sources.transfers(),
            open_uploads,
            open_upload_bytes,
        }
    });
    if address.ip().is_loopback() {
        router = for_this_machine(router);
    }
    let server = Server::new(router, parts::admin_limits(settings), None)
        .with_address_limit(parts::admin_address_limit());
    tracing::info!("metrics on http://{address}/metrics");
    if !address.ip().is_loopback() {
        tracing::warn!(
            "anybody who can reach {address} can read the metrics, which need no credentials: let only the monitoring reach it, or give --admin-listen an address on loopback"
        );
    }
    tokio::spawn(async move { server.accept(&listener).await });
    Ok(())
}

/// The store, claimed for this server, and the keys that its links are signed with.
async fn open_store(settings: &ServeSettings) -> Result<(Store, KeyRing), CliError> {
    let (store, own_key_file) = match &settings.store.store {
        StorePlace::Folder(folder) => {
            ownership::check_folder(folder)?;
            let store =
                FolderStore::open(folder.clone(), settings.sync, settings.keep_free.as_u64())?;
            let key_file = store.key_file();
            (Store::Folder(store), Some(key_file))
        }
        StorePlace::Bucket(url) => {
            let memory_bytes = usize::try_from(settings.upload_memory.as_u64());
            let memory_bytes = memory_bytes.unwrap_or(usize::MAX);
            let store = super::store::open_bucket(url, &settings.store, memory_bytes)?;
            (store, None)
        }
    };
    if settings.transfers == TransferMode::Direct && own_key_file.is_some() {
        return Err(CliError::DirectNeedsBucket);
    }
    let keys = load_keys(settings, own_key_file)?;
    let leftovers = store.claim().await?;
    if leftovers > 0 {
        tracing::info!(leftovers, "removed unfinished uploads of an earlier server");
    }
    if store.room_bytes().await? == Some(0) {
        tracing::warn!(
            "every upload will be refused: the store has less room than the {} that --keep-free keeps free",
            settings.keep_free
        );
    }
    Ok((store, keys))
}

/// The keys that are given, or else the store's own, made if it has none yet.
fn load_keys(settings: &ServeSettings, own: Option<PathBuf>) -> Result<KeyRing, CliError> {
    match (&settings.key_file, &settings.keys, own) {
        (Some(key_file), _, _) => Ok(KeyRing::load(key_file)?),
        (None, Some(keys), _) => Ok(KeyRing::from_text(keys, "WAYSTATION_KEYS")?),
        (None, None, Some(key_file)) => Ok(KeyRing::load_or_create(&key_file)?),
        (None, None, None) => Err(CliError::KeysNeeded),
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), CliError> {
    let listen_error = |source| CliError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let bound = listener.local_addr().map_err(listen_error)?;
    Ok((listener, bound))
}
