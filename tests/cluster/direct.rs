//! `--transfers direct`: the links are the object store's own, and no byte passes through a server.

use std::fs;

use jiff::SignedDuration;
use waystation_testing::curl::curl;
use waystation_testing::program::run;
use waystation_testing::seaweedfs::SeaweedFs;
use waystation_testing::wall_clock::WallClock;
use waystation_testing::{Server, Source, archive};

use crate::shared_store::SharedStore;

const DIRECT: [&str; 4] = ["--transfers", "direct", "--lifetime", "5m"];

/// Links by a server whose clock is off by so much.
fn create_source(store: &SharedStore, clock: &WallClock) -> Source {
    let server = Server::start(clock.rule(store.serve(&DIRECT)));
    server.create_source(&store.create_bearer())
}

fn upload_with_curl(store: &SharedStore, source: &Source, archive: &[u8]) -> u16 {
    let file = store.file("app.tar.gz");
    fs::write(&file, archive).unwrap();
    curl(&["-L", "-T", file.to_str().unwrap(), &source.upload_url]).status
}

#[test]
fn the_object_stores_own_links_work_with_curl_and_are_gone_after_expiry() {
    let objects = SeaweedFs::shared();
    let store = SharedStore::on(objects);
    let clock = WallClock::new();
    let source = create_source(&store, &clock);
    let archive = archive(3_000_000, 1);
    for link in [&source.upload_url, &source.download_url] {
        assert!(link.starts_with(&objects.endpoint()), "{link}");
    }
    assert_eq!(upload_with_curl(&store, &source, &archive), 200);
    let back = curl(&["-L", &source.download_url]);
    assert_eq!(back.status, 200, "{back:?}");
    assert!(back.body == archive);

    // Past the expiry, and the time for which what has expired is left alone.
    clock.run_off_by(SignedDuration::from_mins(6));
    let swept = run(clock.rule(store.command(&["sweep"])));
    assert_eq!(swept.code, Some(0), "{swept:?}");
    assert_eq!(objects.keys(&store.key_of(None)), [] as [&str; 0]);

    // Made so long ago that by the object store's clock they are over.
    clock.run_off_by(SignedDuration::from_mins(-6));
    let expired = create_source(&store, &clock);
    assert_eq!(upload_with_curl(&store, &expired, &archive), 403);
    assert_eq!(curl(&["-L", &expired.download_url]).status, 403);
}

#[test]
fn an_upload_link_of_the_object_store_cannot_download_nor_the_other_upload() {
    let store = SharedStore::on(SeaweedFs::shared());
    let source = create_source(&store, &WallClock::new());
    let swapped = Source {
        upload_url: source.download_url.clone(),
        download_url: source.upload_url.clone(),
    };
    assert_eq!(upload_with_curl(&store, &swapped, b"archive"), 403);
    assert_eq!(upload_with_curl(&store, &source, b"archive"), 200);
    assert_eq!(curl(&["-L", &swapped.download_url]).status, 403);
}
