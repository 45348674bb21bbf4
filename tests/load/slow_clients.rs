//! What a thousand slow uploads cost the server.

use crate::all_at_once::alone;
use crate::victim::raise_open_files;
use waystation_testing::connection::{Connection, head};
use waystation_testing::{Source, Waystation, eventually};

const UPLOADS: usize = 1_000;
const PIECE_BYTES: usize = 2 * 1024;
/// How many times each upload sends a piece: one a second is what the limit is about; as the memory
/// does not depend on the pauses, there are none.
const ROUNDS: usize = 8;
/// Little more than it has.
const LIMIT_KIB: u64 = 54 * 1024;

#[test]
fn a_thousand_slow_uploads_leave_the_server_small() {
    let _alone = alone();
    raise_open_files();
    let server = Waystation::start(&["--rate-limit", "0"]);
    let sources = create_sources(&server, UPLOADS);
    let length = format!("Content-Length: {}", PIECE_BYTES * (ROUNDS + 1));
    let mut uploads: Vec<_> = sources
        .iter()
        .map(|source| {
            let mut upload = Connection::open(server.address);
            upload.send(head("PUT", &source.upload_path(), &[&length]));
            upload
        })
        .collect();
    for round in 1..=ROUNDS {
        for upload in &mut uploads {
            upload.send([1; PIECE_BYTES]);
        }
        let bytes = (round * UPLOADS * PIECE_BYTES) as u64;
        eventually("all of it has come", || {
            server.store.staged_bytes() == Some(bytes)
        });
    }
    let peak_kib = server.program.peak_memory_kib();
    println!("{UPLOADS} slow uploads at once: peak {peak_kib} KiB");
    for upload in &mut uploads {
        upload.send([1; PIECE_BYTES]);
    }
    for upload in &mut uploads {
        assert_eq!(upload.next_reply().status, 200);
    }
    assert!(peak_kib <= LIMIT_KIB, "{peak_kib} KiB");
}

fn create_sources(server: &Waystation, count: usize) -> Vec<Source> {
    let bearer = server.bearer();
    let create = head("POST", "/v1/sources", &[&bearer, "Content-Length: 0"]);
    let mut connection = Connection::open(server.address);
    let creations = (0..count).map(|_| {
        connection.send(&create);
        Source::of(&connection.next_reply())
    });
    creations.collect()
}
