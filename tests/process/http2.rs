//! HTTP/2, spoken frame by frame where curl would not: streams that are reset, and clients that say
//! nothing more.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use rustix::process::Signal;

use waystation_testing::certificate::Certificate;
use waystation_testing::line::Target;
use waystation_testing::program::Program;
use waystation_testing::reply::Reply;
use waystation_testing::store_folder::Store;
use waystation_testing::{Source, archive, assert_refused, eventually};

const HALF_BYTES: usize = 100_000;
/// Far less than any limit in the server but the one for a farewell.
const SOON: Duration = Duration::from_secs(4);

/// A server that speaks TLS, and how it is reached.
struct Scene {
    program: Program,
    store: Store,
    target: Target,
    bearer: String,
}

impl Scene {
    fn start(flags: &[&str]) -> Self {
        let store = Store::new();
        let certificate = Certificate::make(&store);
        let flags = [&certificate.flags()[..], flags].concat();
        let program = Program::start(store.serve(&flags));
        let line = program.await_line("listening on https://");
        let (_, address) = line.trim_end().rsplit_once("https://").unwrap();
        let address = address.parse().unwrap();
        Self {
            bearer: format!("Bearer {}", store.create_token("a test")),
            store,
            program,
            target: Target::new(address, &certificate.cert_file),
        }
    }

    async fn open(&self) -> SendRequest<Bytes> {
        let line = self.target.open_http2(1).await.unwrap();
        let (client, connection) = h2::client::handshake(line.into_stream()).await.unwrap();
        tokio::spawn(connection);
        client
    }

    fn request(&self, method: &str, path: &str) -> Request<()> {
        let uri = format!("https://localhost:{}{path}", self.target.address.port());
        let request = Request::builder().method(method).uri(uri);
        let request = request.header("authorization", &self.bearer);
        request.body(()).unwrap()
    }

    /// Asks for something without a body.
    async fn call(&self, method: &str, path: &str) -> Reply {
        let mut client = self.open().await.ready().await.unwrap();
        let request = self.request(method, path);
        let (response, _) = client.send_request(request, true).unwrap();
        read(response.await.unwrap()).await
    }

    async fn create_source(&self) -> Source {
        let created = self.call("POST", "/v1/sources").await;
        assert_eq!(created.status, 201);
        Source::of(&created)
    }

    /// Sends the beginning of an upload, and keeps the rest.
    async fn begin_upload(&self, source: &Source, id: &str, bytes: &[u8]) -> SendStream<Bytes> {
        let mut client = self.open().await.ready().await.unwrap();
        let mut request = self.request("PUT", &source.upload_path());
        request
            .headers_mut()
            .insert("x-request-id", id.parse().unwrap());
        let (_, mut body) = client.send_request(request, false).unwrap();
        let bytes = Bytes::copy_from_slice(bytes);
        body.send_data(bytes, false).unwrap();
        body
    }
}

/// The whole answer.
async fn read(response: Response<RecvStream>) -> Reply {
    let (parts, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend(piece);
    }
    let headers = parts.headers.iter();
    Reply {
        status: parts.status.as_u16(),
        headers: headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
        body: bytes,
        trace: String::new(),
    }
}

/// A client may say that its reset is no error (RFC 9113, section 8.1, allows servers to): what it has
/// sent is half an archive all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_reset_is_broken_off_whatever_the_reason() {
    let scene = Scene::start(&[]);
    let whole = archive(2 * HALF_BYTES, 1);
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        for is_written in [true, false] {
            let source = scene.create_source().await;
            let id = format!("{reason:?}-{is_written}");
            let mut body = scene.begin_upload(&source, &id, &whole[..HALF_BYTES]).await;
            if is_written {
                eventually("half of it is in the stage", || {
                    scene.store.staged_bytes() == Some(HALF_BYTES as u64)
                });
            }
            body.send_reset(reason);
            scene.program.await_line(&format!("request_id=\"{id}\""));
            eventually("nothing is left of it", || {
                scene.store.staged_bytes().is_none()
            });
            assert_eq!(scene.store.archives().len(), 0, "{id}");
            let missing = scene.call("GET", &source.download_path()).await;
            assert_eq!(missing.status, 404, "{id}");
        }
    }
}

/// Tells a server to stop, and expects it not to wait for `silent`.
fn assert_not_held_up<T>(mut scene: Scene, silent: T) {
    let told_at = Instant::now();
    scene.program.signal(Signal::TERM);
    assert_eq!(scene.program.await_end(), Some(0));
    assert!(told_at.elapsed() < SOON, "{:?}", told_at.elapsed());
    drop(silent);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_does_not_hold_up_the_end() {
    let scene = Scene::start(&[]);
    let silent = scene.target.connect(1).await.unwrap();
    // Connections are accepted in their order: after this answer the silent one has been.
    scene.create_source().await;
    assert_not_held_up(scene, silent);
}

#[tokio::test]
async fn a_client_that_takes_no_leave_does_not_hold_up_the_end() {
    let scene = Scene::start(&[]);
    let mut silent = scene.target.open_http2(1).await.unwrap();
    // The preface, and settings of its own that say nothing.
    silent
        .send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    silent.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    // The server has answered them: it speaks HTTP/2 here.
    assert!(silent.take(9).await.unwrap() > 0);
    assert_not_held_up(scene, silent);
}

#[tokio::test]
async fn a_head_over_the_limit_is_told_with_the_limit() {
    let scene = Scene::start(&["--header-limit", "8KiB"]);
    for (bytes, status) in [(7 * 1024, 200), (8 * 1024, 431), (24 * 1024, 431)] {
        let mut request = scene.request("GET", "/v1/regions");
        let filler = "x".repeat(bytes).parse().unwrap();
        request.headers_mut().insert("x-filler", filler);
        let mut client = scene.open().await.ready().await.unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        let reply = read(response.await.unwrap()).await;
        assert_eq!(reply.status, status, "{reply:?}");
        if status == 431 {
            let told = assert_refused(&reply, 431)["error"].to_string();
            assert!(told.contains("8192 bytes"), "{told}");
        }
    }
}
