//! `--transfers direct`: the links are the engine's own, and no byte passes through a server.

use std::fs;
use std::time::Duration;

use waystation_testing::curl::curl;
use waystation_testing::engine::Engine;
use waystation_testing::{Server, Source, archive, eventually, eventually_within};

use crate::shared_store::SharedStore;

const DIRECT: [&str; 4] = ["--transfers", "direct", "--lifetime", "8s"];
/// What is promised of a bucket: gone a minute after the expiry.
const DELETION: Duration = Duration::from_mins(1);

fn create_source(store: &SharedStore) -> (Server, Source) {
    let node = Server::start(store.serve(&DIRECT));
    let source = node.create_source(&store.create_bearer());
    (node, source)
}

fn upload_with_curl(store: &SharedStore, source: &Source, archive: &[u8]) -> u16 {
    let file = store.file("app.tar.gz");
    fs::write(&file, archive).unwrap();
    curl(&["-L", "-T", file.to_str().unwrap(), &source.upload_url]).status
}

#[test]
fn the_engines_own_links_work_with_curl_and_are_gone_after_expiry() {
    let engine = Engine::shared();
    let store = SharedStore::on(engine);
    let (_node, source) = create_source(&store);
    let archive = archive(3_000_000, 1);
    for link in [&source.upload_url, &source.download_url] {
        assert!(link.starts_with(&engine.endpoint()), "{link}");
    }
    assert_eq!(upload_with_curl(&store, &source, &archive), 200);
    let back = curl(&["-L", &source.download_url]);
    assert_eq!(back.status, 200, "{back:?}");
    assert!(back.body == archive);

    // Each by itself: the engine counts in whole seconds, and they were signed one after the other.
    eventually("the links have expired", || {
        upload_with_curl(&store, &source, &archive) == 403
            && curl(&["-L", &source.download_url]).status == 403
    });
    eventually_within(DELETION, "the bytes are gone", || {
        engine.keys(&store.key_of(None)).is_empty()
    });
}

#[test]
fn an_upload_link_of_the_engine_cannot_download_nor_the_other_upload() {
    let store = SharedStore::on(Engine::shared());
    let (_node, source) = create_source(&store);
    let swapped = Source {
        upload_url: source.download_url.clone(),
        download_url: source.upload_url.clone(),
    };
    assert_eq!(upload_with_curl(&store, &swapped, b"archive"), 403);
    assert_eq!(upload_with_curl(&store, &source, b"archive"), 200);
    assert_eq!(curl(&["-L", &swapped.download_url]).status, 403);
}
