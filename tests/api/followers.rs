//! Following deployments by WebSocket: the frames that clients read, and who is refused.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use waystation::service::deployments::DeploymentLimits;
use waystation::stopping::StopSwitch;
use waystation::upgrade::{Upgrade, Upgraded};

use crate::app::NOW;
use crate::deploying::Deploying;

/// The handshake of RFC 6455, section 1.3.
const HANDSHAKE: [(&str, &str); 5] = [
    ("host", "x.example"),
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// What is under way to a client that takes nothing.
const PIPE_BYTES: usize = 32 * 1024;

/// A client, and the switch that stops its server.
struct Client {
    socket: WebSocketStream<DuplexStream>,
    stop: StopSwitch,
}

async fn shake_hands(it: &Deploying, app: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::builder().uri(format!("/v1/apps/{app}/deployments/stream"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    it.app.respond(request.body(Body::empty()).unwrap()).await
}

async fn connect(it: &Deploying, app: &str) -> Client {
    connect_with(it, app, &HANDSHAKE).await
}

async fn connect_with(it: &Deploying, app: &str, headers: &[(&str, &str)]) -> Client {
    let mut response = shake_hands(it, app, headers).await;
    assert_eq!(response.status(), 101);
    let accept = &response.headers()["sec-websocket-accept"];
    assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let upgrade: Upgrade = response.extensions_mut().remove().unwrap();
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let (stop, stopping) = StopSwitch::new();
    tokio::spawn(async move {
        let upgraded = Upgraded::new(Box::new(theirs), Bytes::new(), stopping);
        upgrade.run(upgraded).await;
    });
    let socket = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
    Client { socket, stop }
}

/// One that has said who it is.
async fn follow(it: &Deploying) -> Client {
    let mut client = connect(it, "my-shop").await;
    client.say_who(&it.app.api_token).await;
    client
}

impl Client {
    async fn say_who(&mut self, token: &str) {
        let auth = json!({ "type": "auth", "data": { "token": token } });
        self.send(&auth.to_string()).await;
    }

    async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    async fn read(&mut self) -> Value {
        let message = self.socket.next().await.unwrap().unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    /// The next frames, each as its type and what it says.
    async fn news(&mut self, count: usize) -> Vec<(String, String)> {
        let mut news = Vec::new();
        while news.len() < count {
            let frame = self.read().await;
            let said = match frame["type"].as_str().unwrap() {
                "ping" => continue,
                "new" => &frame["data"]["deployment"]["id"],
                "log" => &frame["data"]["content"],
                "status" => &frame["data"]["status"],
                other => panic!("{other}"),
            };
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            news.push((text(&frame["type"]), text(said)));
        }
        news
    }

    /// The code and the reason with which the server closes.
    async fn closed(&mut self) -> (u16, String) {
        loop {
            let message = self.socket.next().await.unwrap().unwrap();
            if let Message::Close(Some(frame)) = message {
                return (frame.code.into(), frame.reason.to_string());
            }
            assert!(message.is_text(), "{message:?}");
        }
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    expected.iter().map(owned).collect()
}

#[tokio::test]
async fn what_happens_is_told_as_it_happens_and_the_final_state_last() {
    let it = Deploying::new().await;
    let id = it.deploy("my-shop").await;
    let mut client = follow(&it).await;
    let new = client.read().await;
    let data = json!({ "deployment": { "id": id, "pusher": { "username": "admin" } } });
    assert_eq!(new, json!({ "type": "new", "id": id, "data": data }));
    let claim = it.run().await;
    assert_eq!(client.news(1).await, pairs(&[("status", "building")]));
    it.append(&claim, 0, "one\ntw").await;
    let log = client.read().await;
    assert_eq!(
        log,
        json!({ "type": "log", "id": id, "data": { "content": "one\n" } })
    );
    it.append(&claim, 6, "o\nthree").await;
    assert_eq!(client.news(1).await, pairs(&[("log", "two\n")]));
    it.report(&claim, "starting").await;
    assert_eq!(client.news(1).await, pairs(&[("status", "starting")]));
    it.report(&claim, "success").await;
    let last = pairs(&[("log", "three"), ("status", "success")]);
    assert_eq!(client.news(2).await, last);
    // What is deployed next is followed, too.
    let next = it.deploy("my-shop").await;
    assert_eq!(client.news(1).await, pairs(&[("new", &next)]));
}

/// `deployment-follow`, and what follows a `deploy`: the link of the application, a handshake, and its first frame.
#[tokio::test]
async fn the_platforms_command_line_follows() {
    let it = Deploying::new().await;
    let shown = it.get("/v1/apps/my-shop?").await.json();
    let link = shown["app"]["links"]["deployments_stream"]
        .as_str()
        .unwrap();
    let app = shown["app"]["id"].as_str().unwrap();
    assert_eq!(
        link,
        format!("ws://x.example/v1/apps/{app}/deployments/stream")
    );
    let headers = [
        ("host", "x.example"),
        ("user-agent", "Go-http-client/1.1"),
        ("connection", "Upgrade"),
        ("origin", "http://scalingo-cli.local/1"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("upgrade", "websocket"),
    ];
    let mut client = connect_with(&it, app, &headers).await;
    let basic = format!(
        "Basic {}",
        STANDARD.encode(format!(":{}", it.app.api_token))
    );
    let basic = [("authorization", basic.as_str())];
    let exchanged = it
        .app
        .call(Method::POST, "/v1/tokens/exchange", &basic, "{}");
    let exchanged = exchanged.await.json();
    let auth = json!({ "type": "auth", "data": { "token": exchanged["token"] } });
    client.send(&format!("{auth}\n")).await;
    let id = it.deploy("my-shop").await;
    assert_eq!(client.news(1).await, pairs(&[("new", &id)]));
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_late_is_told_all_there_is_even_of_what_has_just_ended() {
    let it = Deploying::new().await;
    let old = it.deploy("my-shop").await;
    let claim = it.run().await;
    it.append(&claim, 0, "a\n").await;
    it.report(&claim, "success").await;
    let ended = [("new", old.as_str()), ("log", "a\n"), ("status", "success")];
    assert_eq!(follow(&it).await.news(3).await, pairs(&ended));
    let id = it.deploy("my-shop").await;
    let claim = it.run().await;
    it.append(&claim, 0, "b\n").await;
    let mut client = follow(&it).await;
    let running = [("new", id.as_str()), ("status", "building"), ("log", "b\n")];
    assert_eq!(client.news(3).await, pairs(&running));
    it.report(&claim, "success").await;
    assert_eq!(client.news(1).await, pairs(&[("status", "success")]));
    it.app.clock.advance(Duration::from_mins(10));
    let mut client = follow(&it).await;
    assert_eq!(client.read().await["type"], "ping");
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_pinged() {
    let it = Deploying::new().await;
    let mut client = follow(&it).await;
    let ts = NOW.as_seconds();
    for _ in 0..2 {
        let asked_at = tokio::time::Instant::now();
        let ping = client.read().await;
        assert_eq!(ping, json!({ "type": "ping", "data": { "ts": ts } }));
        assert_eq!(asked_at.elapsed().as_secs(), 20);
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_the_wrong_thing_is_told_why_and_closed() {
    let it = Deploying::new().await;
    let unknown = format!("tk-us-{}", "A".repeat(48));
    for (said, says) in [
        (None, "no token came within 10 s"),
        (Some("{}".to_owned()), "the first frame must be"),
        (Some("nonsense".to_owned()), "the first frame must be"),
        (Some(auth("short")), "malformed"),
        (Some(auth(&unknown)), "unknown"),
        (Some(auth(&it.runner)), "runner"),
    ] {
        let mut client = connect(&it, "my-shop").await;
        if let Some(said) = said {
            client.send(&said).await;
        }
        let (code, reason) = client.closed().await;
        assert_eq!(code, 1008, "{reason}");
        assert!(reason.contains(says), "{reason}");
    }
    let mut client = connect(&it, "my-shop").await;
    client.send(&"a".repeat(16 * 1024 + 1)).await;
    assert_eq!(client.closed().await.0, 1009);
    let bob = it.app.users.add("bob", "", NOW).await.unwrap().id;
    let bobs = it
        .app
        .apps()
        .create(bob, "bobs-shop", NOW)
        .await
        .unwrap()
        .id;
    for app in ["other-shop", "bobs-shop", &bobs.to_string()] {
        let mut client = connect(&it, app).await;
        client.say_who(&it.app.api_token).await;
        let (code, reason) = client.closed().await;
        assert_eq!(code, 1008);
        assert!(reason.contains(&format!("no app called {app}")), "{reason}");
    }
}

fn auth(token: &str) -> String {
    json!({ "type": "auth", "data": { "token": token } }).to_string()
}

#[tokio::test]
async fn an_app_has_so_many_followers_and_the_place_of_one_that_goes_is_free() {
    let it = Deploying::with(DeploymentLimits {
        followers_per_app: 1,
        ..DeploymentLimits::default()
    })
    .await;
    let id = it.deploy("my-shop").await;
    let mut first = follow(&it).await;
    first.news(1).await;
    let mut second = follow(&it).await;
    let (code, reason) = second.closed().await;
    assert_eq!(code, 1013);
    assert!(reason.contains("1 clients follow this app"), "{reason}");
    drop(first);
    loop {
        let mut next = follow(&it).await;
        let frame = next.socket.next().await.unwrap().unwrap();
        if let Message::Text(text) = frame {
            assert!(text.contains(&id));
            break;
        }
    }
}

#[tokio::test]
async fn a_server_that_stops_closes_who_waits_and_stays_with_who_follows_to_the_end() {
    let it = Deploying::new().await;
    let mut idle = follow(&it).await;
    let id = it.deploy("my-shop").await;
    assert_eq!(idle.news(1).await, pairs(&[("new", &id)]));
    let claim = it.run().await;
    assert_eq!(idle.news(1).await, pairs(&[("status", "building")]));
    idle.stop.stop();
    it.append(&claim, 0, "a\n").await;
    it.report(&claim, "success").await;
    let rest = [("log", "a\n"), ("status", "success")];
    assert_eq!(idle.news(2).await, pairs(&rest));
    assert_eq!(idle.closed().await.0, 1001);
    it.app.clock.advance(Duration::from_mins(10));
    let mut idle = follow(&it).await;
    idle.stop.stop();
    assert_eq!(idle.closed().await.0, 1001);
}

#[tokio::test]
async fn a_request_that_is_no_handshake_is_told_what_this_is() {
    let it = Deploying::new().await;
    for missing in 1..HANDSHAKE.len() {
        let mut headers = HANDSHAKE.to_vec();
        headers.remove(missing);
        let response = shake_hands(&it, "my-shop", &headers).await;
        assert_eq!(response.status(), 426, "{missing}");
        assert_eq!(response.headers()["upgrade"], "websocket");
    }
}

#[tokio::test]
async fn of_a_line_that_is_longer_than_a_piece_nothing_comes_twice_and_all_of_it_comes() {
    let it = Deploying::new().await;
    it.deploy("my-shop").await;
    let mut client = follow(&it).await;
    let claim = it.run().await;
    client.news(2).await;
    let line = "a".repeat(20_000);
    it.append(&claim, 0, &line).await;
    let mut log = client.news(1).await.remove(0).1;
    assert!(log.len() < line.len());
    it.append(&claim, line.len(), " its end\nlast").await;
    it.report(&claim, "success").await;
    loop {
        let (kind, said) = client.news(1).await.remove(0);
        if kind == "status" {
            break;
        }
        log.push_str(&said);
    }
    assert_eq!(log, format!("{line} its end\nlast"));
}

#[tokio::test]
async fn a_follower_that_takes_nothing_holds_one_piece_and_others_go_on() {
    let it = Deploying::new().await;
    it.deploy("my-shop").await;
    let mut stuck = follow(&it).await;
    let mut quick = follow(&it).await;
    quick.news(1).await;
    let claim = it.run().await;
    quick.news(1).await;
    let line = format!("{}\n", "a".repeat(99));
    let piece = line.repeat(5_000);
    for number in 0..4 {
        it.append(&claim, number * piece.len(), &piece).await;
        let mut read = 0;
        while read < piece.len() {
            let news = quick.news(1).await;
            assert!(news[0].1.len() <= 64 * 1024 && news[0].1.ends_with('\n'));
            read += news[0].1.len();
        }
    }
    it.report(&claim, "success").await;
    assert_eq!(quick.news(1).await, pairs(&[("status", "success")]));
    // It comes to the same end, later.
    let mut log_bytes = 0;
    loop {
        let (kind, said) = stuck.news(1).await.remove(0);
        match (kind.as_str(), said.as_str()) {
            ("log", lines) => log_bytes += lines.len(),
            ("status", "success") => break,
            _ => {}
        }
    }
    assert_eq!(log_bytes, 4 * piece.len());
}
