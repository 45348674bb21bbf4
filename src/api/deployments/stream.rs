//! Following the deployments of an application by WebSocket.
//!
//! ```text
//! 101 ──> the client's first frame, within 10 s: its token ──> news, and a ping each 20 s ──> closed
//! ```
//!
//! What cannot be refused in the answer, since no token has come yet, is refused by a close frame. The session runs in
//! the task of its connection: a client that takes nothing is cut off as one that takes nothing of a download is, and
//! only one piece of news is ever held for it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::problems::not_a_web_socket;
use super::{App, Problem};
use crate::api::answer::set_header;
use crate::api::caller::verify_token;
use crate::error_chain::chain;
use crate::service::deployments::{DeploymentUpdate, Follower, LOOK_EVERY};
use crate::stopping::Stopping;
use crate::upgrade::{Io, Upgrade, Upgraded};
use crate::wire::deployments::{
    ClientFrame, Frame, LogData, NewData, NewDeployment, PingData, PusherName, StatusData,
};

/// How long a client may take to say who it is.
const AUTH_TIMEOUT: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(20);
/// The longest frame of a client: a token fits in many times.
const MAX_FRAME_BYTES: usize = 16 * 1024;
/// What is read at once; clients send next to nothing.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// How long a client may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest reason of a close frame (RFC 6455, section 5.5).
const MAX_CLOSE_REASON_BYTES: usize = 123;

type Socket = WebSocketStream<Box<dyn Io>>;

/// `GET /v1/apps/{app}/deployments/stream`, without a bearer.
pub(in crate::api) async fn stream(
    State(app): State<Arc<App>>,
    Path(named): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let key = key_of(&parts.headers).ok_or_else(not_a_web_socket)?;
    let mut headers = HeaderMap::new();
    set_header(&mut headers, CONNECTION, "upgrade");
    set_header(&mut headers, UPGRADE, "websocket");
    let accept = derive_accept_key(key.as_bytes());
    set_header(&mut headers, SEC_WEBSOCKET_ACCEPT, &accept);
    let mut response = (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
    let upgrade = Upgrade::new(move |upgraded| run(app, named, parts, upgraded));
    response.extensions_mut().insert(upgrade);
    Ok(response)
}

/// The key of a handshake (RFC 6455, section 4.2.1).
fn key_of(headers: &HeaderMap) -> Option<String> {
    let has_word = |name: &HeaderName, word: &str| {
        let values = headers.get_all(name).iter();
        let mut words = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        words.any(|found| found.trim().eq_ignore_ascii_case(word))
    };
    let is_handshake = has_word(&CONNECTION, "upgrade")
        && has_word(&UPGRADE, "websocket")
        && has_word(&SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(SEC_WEBSOCKET_KEY)?.to_str().ok()?.trim();
    (is_handshake && key.len() == 24).then(|| key.to_owned())
}

async fn run(app: Arc<App>, named: String, parts: Parts, upgraded: Upgraded) {
    let Upgraded { io, read, stopping } = upgraded;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES));
    let socket = WebSocketStream::from_partially_read(io, read.into(), Role::Server, Some(config));
    let mut socket: Socket = socket.await;
    let followed = match follower_of(&app, &named, &parts, &mut socket).await {
        Ok(follower) => follow(&app, follower, &mut socket, stopping).await,
        Err(refused) => Err(refused),
    };
    let goodbye = match followed {
        Err(Closed::ByUs(code, reason)) => Some(close_frame(code, &reason)),
        Ok(()) | Err(Closed::ByClient) => None,
    };
    // A client that does not answer is left alone.
    let _ = timeout(CLOSE_TIMEOUT, close(&mut socket, goodbye)).await;
}

/// Why the session is over.
enum Closed {
    /// The client closed it, or is gone.
    ByClient,
    ByUs(CloseCode, String),
}

impl From<Error> for Closed {
    fn from(error: Error) -> Self {
        if matches!(error, Error::Capacity(_)) {
            let text = format!("a frame has at most {MAX_FRAME_BYTES} bytes");
            Self::ByUs(CloseCode::Size, text)
        } else {
            Self::ByClient
        }
    }
}

impl Closed {
    fn shutting_down() -> Self {
        Self::ByUs(CloseCode::Away, "the server is shutting down".to_owned())
    }

    fn refused(reason: impl Into<String>) -> Self {
        Self::ByUs(CloseCode::Policy, reason.into())
    }
}

impl From<Problem> for Closed {
    fn from(problem: Problem) -> Self {
        if problem.is_for_now() {
            Self::ByUs(CloseCode::Again, problem.text())
        } else {
            Self::refused(problem.text())
        }
    }
}

/// The follower, once the client has authenticated.
async fn follower_of(
    app: &Arc<App>,
    named: &str,
    parts: &Parts,
    socket: &mut Socket,
) -> Result<Follower, Closed> {
    let text = timeout(AUTH_TIMEOUT, first_text(socket)).await;
    let text = text.map_err(|_| {
        let seconds = AUTH_TIMEOUT.as_secs();
        Closed::refused(format!("no token came within {seconds} s"))
    })??;
    let Ok(ClientFrame::Auth { data }) = serde_json::from_str(&text) else {
        return Err(Closed::refused(
            r#"the first frame must be {"type":"auth","data":{"token":"…"}}"#,
        ));
    };
    let caller = verify_token(&data.token, parts, app).await?;
    let found = app.service.apps.find(caller.user, named).await;
    let record = found.map_err(Problem::from)?;
    let follower = app.service.deployments.follow(*record.id.as_bytes());
    follower.ok_or_else(|| {
        let limit = app.service.deployments.limits().followers_per_app;
        let text = format!("{limit} clients follow this app, which is the limit");
        Closed::ByUs(CloseCode::Again, text)
    })
}

async fn first_text(socket: &mut Socket) -> Result<String, Closed> {
    loop {
        match socket.next().await.ok_or(Closed::ByClient)?? {
            Message::Text(text) => return Ok(text.as_str().to_owned()),
            Message::Binary(_) => return Err(Closed::refused("the first frame must be text")),
            Message::Close(_) => return Err(Closed::ByClient),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// Sends news for as long as the client takes them. A server that is shutting down stays until what is followed has
/// ended, or its time is up: a client would take an earlier close for a failure.
async fn follow(
    app: &App,
    mut follower: Follower,
    socket: &mut Socket,
    mut stopping: Stopping,
) -> Result<(), Closed> {
    let _counted = app.metrics.note_follower();
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut cut_off = stopping.clone();
    let mut is_stopping = false;
    loop {
        if is_stopping && follower.is_idle() {
            return Err(Closed::shutting_down());
        }
        let frame = tokio::select! {
            biased;
            read = socket.next() => {
                note_read(read)?;
                continue;
            }
            () = cut_off.wait_for_cut_off(), if is_stopping => return Err(Closed::shutting_down()),
            () = stopping.wait(), if !is_stopping => {
                is_stopping = true;
                continue;
            }
            // It may have nothing to wait for any more.
            () = sleep(LOOK_EVERY), if is_stopping => continue,
            _ = pings.tick() => Frame::Ping {
                data: PingData { ts: app.service.clock.now().as_seconds() },
            },
            update = follower.next() => match update {
                Ok(update) => frame_of(update),
                Err(error) => {
                    tracing::warn!(error = chain(&error), "cannot read a deployment for its followers");
                    let text = "the store cannot be reached just now";
                    return Err(Closed::ByUs(CloseCode::Again, text.to_owned()));
                }
            },
        };
        let text = serde_json::to_string(&frame).expect("frames are plain structs with text keys");
        socket.send(Message::text(text)).await?;
    }
}

/// A client has nothing to say any more but that it closes; the library answers its pings.
fn note_read(read: Option<Result<Message, Error>>) -> Result<(), Closed> {
    match read.ok_or(Closed::ByClient)?? {
        Message::Close(_) => Err(Closed::ByClient),
        Message::Text(_)
        | Message::Binary(_)
        | Message::Ping(_)
        | Message::Pong(_)
        | Message::Frame(_) => Ok(()),
    }
}

fn frame_of(update: DeploymentUpdate) -> Frame {
    match update {
        DeploymentUpdate::New { id, pusher } => {
            let id = id.to_string();
            let pusher = PusherName { username: pusher };
            let deployment = NewDeployment {
                id: id.clone(),
                pusher,
            };
            let data = NewData { deployment };
            Frame::New { id, data }
        }
        DeploymentUpdate::Log { id, content } => Frame::Log {
            id: id.to_string(),
            data: LogData { content },
        },
        DeploymentUpdate::Status { id, status } => Frame::Status {
            id: id.to_string(),
            data: StatusData { status },
        },
    }
}

fn close_frame(code: CloseCode, reason: &str) -> CloseFrame {
    let length = reason.floor_char_boundary(MAX_CLOSE_REASON_BYTES);
    CloseFrame {
        code,
        reason: reason[..length].into(),
    }
}

/// Closes as RFC 6455 (section 7.1.2) asks: each side sends a close frame, or answers the other's. What the client still
/// sends is read, so that it receives the close frame.
async fn close(socket: &mut Socket, goodbye: Option<CloseFrame>) {
    if let Some(frame) = goodbye
        && socket.send(Message::Close(Some(frame))).await.is_err()
    {
        return;
    }
    while let Some(Ok(_)) = socket.next().await {}
    let _ = socket.get_mut().shutdown().await;
}
