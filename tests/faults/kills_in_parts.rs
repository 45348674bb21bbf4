//! `kill -9` in the middle of an upload in parts, again and again: it stands where it was last told to be, or further.

use std::fs;
use std::thread;

use waystation_testing::dice::Dice;
use waystation_testing::store_folder::{Store, files_in_parts};
use waystation_testing::tus_client::{TusUpload, offset_in};
use waystation_testing::{Waystation, archive, eventually};

const ARCHIVE_BYTES: usize = 90_000_000;
/// More than is made durable at a time.
const PART_BYTES: usize = 30_000_000;

/// How many bytes the only upload in parts has been sent, whether or not they are durable.
fn written(store: &Store) -> u64 {
    let files = files_in_parts(&store.path());
    let length = |path| fs::metadata(path).map_or(0, |file| file.len());
    files.first().map_or(0, length)
}

#[test]
fn an_upload_in_parts_goes_on_after_each_kill_and_no_offset_falls() {
    let mut dice = Dice::new("kills_in_parts");
    let bytes = archive(ARCHIVE_BYTES, 7);
    let flags = ["--lifetime", "1h", "--rate-limit", "0"];
    let mut server = Waystation::start(&flags);
    let source = server.create_source();
    let upload = TusUpload::begin(server.address, &source, bytes.len(), &[]);
    let (mut told, mut kills) = (0, 0);
    while told < bytes.len() {
        let offset = upload.offset(server.address);
        assert!(offset >= told, "{offset} < {told}");
        told = offset;
        let part = bytes[told..bytes.len().min(told + PART_BYTES)].to_vec();
        // The last ones come through.
        let kill_at = if kills < 4 {
            (told + dice.below(part.len())) as u64
        } else {
            u64::MAX
        };
        let (address, upload) = (server.address, upload.clone());
        let sent = thread::spawn(move || upload.try_patch(address, told, &part));
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
