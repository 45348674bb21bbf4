//! `kill -9` in the middle of an upload in parts, again and again: it stands where it was last told to be, or further.

use std::fs;
use std::thread;

use waystation_testing::dice::Dice;
use waystation_testing::reply::Reply;
use waystation_testing::server::try_call;
use waystation_testing::store_folder::Store;
use waystation_testing::{Waystation, archive, eventually};

const ARCHIVE_BYTES: usize = 90_000_000;
/// More than is made durable at a time.
const PART_BYTES: usize = 30_000_000;
const VERSION: &str = "Tus-Resumable: 1.0.0";

/// How many bytes the only upload in parts has been sent, whether or not they are durable.
fn written(store: &Store) -> u64 {
    let files = store.entries_below("attempts").into_iter();
    let mut bytes =
        files.filter(|path| path.is_file() && path.extension().is_some_and(|end| end != "state"));
    bytes
        .next()
        .map_or(0, |path| fs::metadata(path).map_or(0, |file| file.len()))
}

fn offset_in(reply: &Reply) -> u64 {
    reply.header("upload-offset").unwrap().parse().unwrap()
}

#[test]
fn an_upload_in_parts_goes_on_after_each_kill_and_no_offset_falls() {
    let mut dice = Dice::new("kills_in_parts");
    let bytes = archive(ARCHIVE_BYTES, 7);
    let flags = ["--lifetime", "1h", "--rate-limit", "0"];
    let mut server = Waystation::start(&flags);
    let source = server.create_source();
    let length = format!("Upload-Length: {}", bytes.len());
    let begun = server.call("POST", &source.upload_path(), &[VERSION, &length]);
    assert_eq!(begun.status, 201, "{begun:?}");
    let url = begun.header("location").unwrap();
    let path = url[url.find("/v1/").unwrap()..].to_owned();
    let (mut told, mut kills) = (0, 0);
    while told < bytes.len() as u64 {
        let head = server.call("HEAD", &path, &[VERSION]);
        let offset = offset_in(&head);
        assert!(offset >= told, "{offset} < {told}");
        told = offset;
        let start = usize::try_from(told).unwrap();
        let part = bytes[start..bytes.len().min(start + PART_BYTES)].to_vec();
        // The last ones come through.
        let kill_at = if kills < 4 {
            told + dice.below(part.len()) as u64
        } else {
            u64::MAX
        };
        let (address, to) = (server.address, path.clone());
        let sent = thread::spawn(move || {
            let at = format!("Upload-Offset: {start}");
            let part_type = "Content-Type: application/offset+octet-stream";
            try_call(address, "PATCH", &to, &[VERSION, part_type, &at], &part)
        });
        eventually("so much has come", || {
            sent.is_finished() || written(&server.store) >= kill_at
        });
        if kill_at < u64::MAX {
            server = Waystation::start_on(server.kill(), &flags);
            kills += 1;
        }
        if let Some(reply) = sent.join().unwrap() {
            assert_eq!(reply.status, 204, "{reply:?}");
            told = offset_in(&reply);
        }
    }
    assert!(server.download(&source).body == bytes);
    let audit = server.store.run(&["audit"]);
    assert_eq!(audit.code, Some(0), "{audit:?}");
}
