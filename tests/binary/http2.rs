//! HTTP/2, spoken frame by frame where curl would not: streams that are reset, and clients that say
//! nothing more.

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};

use crate::harness::certificate::Certificate;
use crate::harness::line::Target;
use crate::harness::program::Program;
use crate::harness::reply::Reply;
use crate::harness::store::Store;
use crate::harness::{Source, archive, eventually};

const HALF_BYTES: usize = 100_000;

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
