//! What a server answers while its object store is away, and that it needs no help afterwards.

use waystation_testing::connection::{Connection, head};
use waystation_testing::reply::Reply;
use waystation_testing::seaweedfs::SeaweedFs;
use waystation_testing::{Server, Source, archive, assert_refused, eventually};

use crate::shared_store::SharedStore;

/// Of several parts.
const ARCHIVE_BYTES: usize = 12_000_000;

fn assert_refused_for_now(reply: &Reply) {
    assert_refused(reply, 503);
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
}

/// Begins an upload, and waits until some of it is in the bucket.
fn begin_upload(
    objects: &SeaweedFs,
    store: &SharedStore,
    node: &Server,
    source: &Source,
) -> Connection {
    let length = format!("Content-Length: {ARCHIVE_BYTES}");
    let mut connection = Connection::open(node.address);
    connection.send(head("PUT", &source.upload_path(), &[&length]));
    connection.send(&archive(ARCHIVE_BYTES, 1)[..ARCHIVE_BYTES - 1]);
    eventually("a part is in the bucket", || {
        !objects.keys(&store.key_of(Some(source))).is_empty()
    });
    connection
}

/// Asks for everything that needs the object store, and for some that does not.
fn ask_while_it_is_away(node: &Server, bearer: &str, whole: &Source, empty: &Source) {
    let bytes = archive(ARCHIVE_BYTES, 2);
    assert_refused_for_now(&node.call("POST", "/v1/sources", &[bearer]));
    assert_refused_for_now(&node.call("GET", "/v1/tokens", &[bearer]));
    assert_refused_for_now(&node.download(whole));
    assert_refused_for_now(&node.download(empty));
    assert_refused_for_now(&node.upload(whole, &bytes));
    assert_refused_for_now(&node.upload(empty, &bytes));

    let forged = Source {
        download_url: whole.upload_url.clone(),
        ..whole.clone()
    };
    assert_eq!(node.download(&forged).status, 403);
    assert_eq!(node.call("GET", "/v1/nothing", &[]).status, 404);
}

#[test]
fn while_the_object_store_is_away_what_needs_it_is_refused_for_now_and_then_all_works_again() {
    let objects = SeaweedFs::start();
    let store = SharedStore::on(&objects);
    let node = Server::start(store.serve(&["--admin-listen", "0"]));
    let bearer = store.create_bearer();
    let archive = archive(ARCHIVE_BYTES, 1);
    let whole = node.create_and_upload(&bearer, &archive);
    let [empty, begun] = [(); 2].map(|()| node.create_source(&bearer));
    let mut upload = begin_upload(&objects, &store, &node, &begun);

    objects.stop();
    upload.send(&archive[ARCHIVE_BYTES - 1..]);
    assert_refused_for_now(&upload.next_reply());
    ask_while_it_is_away(&node, &bearer, &whole, &empty);
    assert_eq!(node.ask_admin("/readyz").status, 503);
    assert_eq!(node.ask_admin("/healthz").status, 200);

    objects.resume();
    assert_eq!(node.ask_admin("/readyz").status, 200);
    assert!(node.download(&whole).body == archive);
    assert_eq!(node.download(&begun).status, 404);
    for source in [&empty, &begun] {
        assert_eq!(node.upload(source, &archive).status, 200);
        assert!(node.download(source).body == archive);
    }
}
