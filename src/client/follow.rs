//! Following a deployment by WebSocket, through the same proxies and with the same trust as every other call. A stream that
//! breaks is opened again, and what was shown is not shown twice.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::error::ClientError;
use super::http::{Pauses, host_of};
use super::server::Server;
use crate::deployment::Status;
use crate::wire::deployments::{AuthData, ClientFrame, Deployment, DeploymentAnswer, Frame};

/// The server sends something each 20 s.
const SILENCE: Duration = Duration::from_mins(1);
/// How often a stream is opened in vain before the server is asked by plain calls instead.
const STREAMS: u32 = 3;
/// How often it is then asked.
const ASK_EVERY: Duration = Duration::from_secs(3);

/// What happens to a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeploymentUpdate {
    Log(String),
    Status(Status),
}

struct Follower<'a> {
    server: &'a Server,
    app: &'a str,
    id: &'a str,
    tell: &'a mut (dyn FnMut(DeploymentUpdate) + Send),
    /// How much was shown, in bytes of the text.
    shown_bytes: usize,
    known: Place,
    last: Option<Status>,
}

/// A place in the log, and in its text. A log need not be UTF-8: a stream brings U+FFFD where it is not, which is longer
/// than what it stands for, and ranges count the log itself.
#[derive(Clone, Copy, Default)]
struct Place {
    log_bytes: usize,
    text_bytes: usize,
}

/// Tells all that happens to a deployment, from its beginning to its end, and returns how it is then.
pub async fn follow(
    server: &Server,
    app: &str,
    id: &str,
    tell: &mut (dyn FnMut(DeploymentUpdate) + Send),
) -> Result<Deployment, ClientError> {
    let mut follower = Follower {
        server,
        app,
        id,
        tell,
        shown_bytes: 0,
        known: Place::default(),
        last: None,
    };
    let mut pauses = Pauses::new();
    let mut in_vain = 0;
    // The last look is at the deployment itself, which also knows why it ended.
    loop {
        let deployment = follower.look().await?;
        if deployment.status.is_end() {
            follower.show_rest().await?;
            follower.tell_status(deployment.status);
            return Ok(deployment);
        }
        if in_vain >= STREAMS {
            follower.tell_status(deployment.status);
            follower.show_lines().await?;
            tokio::time::sleep(ASK_EVERY).await;
            continue;
        }
        let before = follower.shown_bytes;
        match follower.read_stream().await {
            Ok(()) => {}
            Err(error) => {
                if follower.shown_bytes > before {
                    in_vain = 0;
                    pauses.reset();
                }
                in_vain += 1;
                pauses.wait_after(&error).await;
            }
        }
    }
}

impl Follower<'_> {
    fn path(&self, rest: &str) -> String {
        format!("/v1/apps/{}/deployments/{}{rest}", self.app, self.id)
    }

    async fn look(&self) -> Result<Deployment, ClientError> {
        let answer: DeploymentAnswer = self.server.get(&self.path("")).await?;
        Ok(answer.deployment)
    }

    /// What no stream has brought.
    async fn show_rest(&mut self) -> Result<(), ClientError> {
        let rest = self.read_rest().await?;
        self.show_log(&rest);
        Ok(())
    }

    /// As much of that as is whole lines, as a stream brings them: more of the last one may be on its way.
    async fn show_lines(&mut self) -> Result<(), ClientError> {
        let rest = self.read_rest().await?;
        let end = rest.iter().rposition(|byte| *byte == b'\n');
        self.show_log(&rest[..end.map_or(0, |end| end + 1)]);
        Ok(())
    }

    async fn read_rest(&self) -> Result<Bytes, ClientError> {
        let path = self.path("/output");
        let from = self.known.log_bytes;
        self.server.get_bytes_from(&path, from).await
    }

    /// Shows what is new of the log from the known place on.
    fn show_log(&mut self, piece: &[u8]) {
        let text = String::from_utf8_lossy(piece);
        self.show(self.known.text_bytes, &text);
        self.known.log_bytes += piece.len();
        self.known.text_bytes += text.len();
    }

    /// Shows what is new of a text that a stream brought, and that begins at the byte `begin`.
    fn show_text(&mut self, begin: usize, text: &str) {
        if begin == self.known.text_bytes {
            // So far the log is as long as its text.
            let same_bytes = text.find(char::REPLACEMENT_CHARACTER);
            let same_bytes = same_bytes.unwrap_or(text.len());
            self.known.log_bytes += same_bytes;
            self.known.text_bytes += same_bytes;
        }
        self.show(begin, text);
    }

    fn show(&mut self, begin: usize, text: &str) {
        let old_bytes = self.shown_bytes.saturating_sub(begin);
        let new = &text[text.floor_char_boundary(old_bytes)..];
        if !new.is_empty() {
            (self.tell)(DeploymentUpdate::Log(new.to_owned()));
        }
        self.shown_bytes = self.shown_bytes.max(begin + text.len());
    }

    fn tell_status(&mut self, status: Status) {
        if self.last.replace(status) != Some(status) {
            (self.tell)(DeploymentUpdate::Status(status));
        }
    }

    /// Reads one stream until the end of the deployment.
    async fn read_stream(&mut self) -> Result<(), ClientError> {
        let mut stream = self.open().await?;
        // A stream tells all of the log from its beginning.
        let mut told_bytes = 0;
        loop {
            let Ok(frame) = timeout(SILENCE, stream.next()).await else {
                return Err(self.broken("the stream is silent"));
            };
            let text = match frame {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(reason))) => {
                    let reason = reason.map(|reason| reason.reason.to_string());
                    return Err(self.broken(&reason.unwrap_or_default()));
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(self.broken(&error.to_string())),
                None => return Err(self.broken("the stream ended")),
            };
            match serde_json::from_str(&text) {
                Ok(Frame::Log { id, data }) if id == self.id => {
                    self.show_text(told_bytes, &data.content);
                    told_bytes += data.content.len();
                }
                Ok(Frame::Status { id, data }) if id == self.id => {
                    if data.status.is_end() {
                        return Ok(());
                    }
                    self.tell_status(data.status);
                }
                // Of another deployment, or of a later version.
                Ok(_) | Err(_) => {}
            }
        }
    }

    async fn open(&self) -> Result<WebSocketStream<reqwest::Upgraded>, ClientError> {
        let path = format!("/v1/apps/{}/deployments/stream", self.app);
        let http = &self.server.http().client;
        let key: [u8; 16] = rand::random();
        let request = http
            .get(self.server.at(&path))
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, STANDARD.encode(key));
        let request = request.build().map_err(ClientError::SetUp)?;
        let response = self.server.http().send(request).await?;
        if response.status().as_u16() != 101 {
            return Err(self.server.http().refusal(response).await);
        }
        let host = host_of(response.url());
        let upgraded = response.upgrade().await;
        let upgraded = upgraded.map_err(|error| super::http::broken(host, error))?;
        let mut stream = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
        let token = self.server.bearer().await?.reveal().to_owned();
        let auth = ClientFrame::Auth {
            data: AuthData { token },
        };
        let auth = serde_json::to_string(&auth).unwrap_or_default();
        let sent = stream.send(Message::text(auth)).await;
        sent.map_err(|error| self.broken(&error.to_string()))?;
        Ok(stream)
    }

    fn broken(&self, said: &str) -> ClientError {
        ClientError::Stream {
            host: self.server.url().to_string(),
            said: said.to_owned(),
        }
    }
}
