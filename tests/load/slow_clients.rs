//! What a thousand slow uploads cost the server, and a thousand readers of HTTP/2 that take nothing.

use crate::all_at_once::alone;
use crate::honest::{Honest, create_source};
use crate::http2_floods::ask_and_take_nothing;
use crate::victim::{Victim, raise_open_files};
use waystation_testing::connection::{Connection, head};
use waystation_testing::{Source, Waystation, archive, eventually};

const UPLOADS: usize = 1_000;
const PIECE_BYTES: usize = 2 * 1024;
/// How many times each upload sends a piece: one a second is what the limit is about; as the memory
/// does not depend on the pauses, there are none.
const ROUNDS: usize = 8;
/// A third more than it has.
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

/// By how many connections, of how many downloads each.
const READERS: (u8, u32) = (16, 64);
const DOWNLOAD_BYTES: usize = 4 * 1024 * 1024;
/// A third more than it has.
const READERS_LIMIT_KIB: u64 = 192 * 1024;

#[test]
fn a_thousand_downloads_over_http2_that_nobody_takes_leave_the_server_small() {
    let _alone = alone();
    let victim = Victim::start(&["--max-transfers-per-address", "2048"]);
    let honest = Honest::new(&victim.target, &victim.api_token);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let readers = runtime.block_on(async {
        let mut line = victim.target.open(1).await.unwrap();
        let bearer = format!("Authorization: Bearer {}", victim.api_token);
        let source = create_source(&mut line, &bearer).await;
        let length = format!("Content-Length: {DOWNLOAD_BYTES}");
        line.send(head("PUT", &source.upload_path(), &[&length]))
            .await
            .unwrap();
        line.send(archive(DOWNLOAD_BYTES, 1)).await.unwrap();
        assert_eq!(line.next_reply().await.unwrap().status, 200);
        let mut readers = Vec::new();
        for _ in 0..READERS.0 {
            let path = source.download_path();
            let reader = ask_and_take_nothing(&victim.target, 2, &path, READERS.1).await;
            readers.push(reader.unwrap());
        }
        readers
    });
    let all = f64::from(READERS.0) * f64::from(READERS.1);
    eventually("all downloads are under way", || {
        victim.figure("waystation_transfers_in_flight") >= all
    });
    // Meanwhile each has been given what it will hold.
    honest.hand_offs(100);
    let peak_kib = victim.program.peak_memory_kib();
    println!("{all} downloads over HTTP/2 that nobody takes: peak {peak_kib} KiB");
    drop(readers);
    assert!(peak_kib <= READERS_LIMIT_KIB, "{peak_kib} KiB");
}
