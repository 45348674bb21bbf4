//! Object stores that answer in ways of their own, as those do that are full, slow down, or lack an operation.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use waystation_testing::seaweedfs::SeaweedFs;
use waystation_testing::{Server, archive, assert_refused};

use crate::shared_store::SharedStore;

/// Of several parts.
const ARCHIVE_BYTES: usize = 12_000_000;

/// What is answered in the object store's place to a request that begins with this line, if anything is.
type Judge = dyn Fn(&str) -> Option<&'static str> + Send + Sync;

/// A way to an object store past which some requests do not come. Returns its address.
fn stand_before(objects: &SeaweedFs, judge: Arc<Judge>) -> String {
    let endpoint = objects.endpoint();
    let target = endpoint.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (judge, target) = (Arc::clone(&judge), target.clone());
            thread::spawn(move || pass_on(client.unwrap(), &target, &*judge));
        }
    });
    format!("http://{address}")
}

/// One request a connection.
fn pass_on(mut client: TcpStream, target: &str, judge: &Judge) {
    let mut sent = Vec::new();
    let head_end = loop {
        let mut bytes = [0; 4096];
        match client.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(length) => sent.extend_from_slice(&bytes[..length]),
        }
        if let Some(end) = sent.windows(4).position(|end| end == b"\r\n\r\n") {
            break end + 2;
        }
    };
    let head = String::from_utf8_lossy(&sent[..head_end]).into_owned();
    let lengths = head.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().unwrap())
    });
    let body_bytes = lengths.sum::<usize>();
    let mut rest = vec![0; head_end + 2 + body_bytes - sent.len()];
    client.read_exact(&mut rest).unwrap();
    sent.extend(rest);
    let answered = judge(head.lines().next().unwrap());
    if let Some(answer) = answered {
        let (status, code) = answer.split_once(' ').unwrap();
        let body = format!("<Error><Code>{code}</Code></Error>");
        let length = body.len();
        let _ = write!(
            client,
            "HTTP/1.1 {status} Quirk\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        return;
    }
    let mut objects = TcpStream::connect(target).unwrap();
    objects.write_all(&sent[..head_end]).unwrap();
    objects.write_all(b"Connection: close\r\n").unwrap();
    objects.write_all(&sent[head_end..]).unwrap();
    let _ = std::io::copy(&mut objects, &mut client);
}

/// A server whose object store is judged so, and a bearer.
fn start(objects: &SeaweedFs, judge: Arc<Judge>) -> (SharedStore, Server, String) {
    let mut store = SharedStore::on(objects);
    store.endpoint = stand_before(objects, judge);
    let node = Server::start(store.serve(&["--admin-listen", "0"]));
    let bearer = store.create_bearer();
    (store, node, bearer)
}

#[test]
fn an_object_store_that_deletes_only_one_by_one_is_asked_to() {
    let objects = SeaweedFs::start();
    let judge = |line: &str| {
        let is_bulk = line.starts_with("POST ") && line.contains("?delete");
        is_bulk.then_some("501 NotImplemented")
    };
    let (store, node, bearer) = start(&objects, Arc::new(judge));
    let source = node.create_source(&bearer);
    let digest = "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==";
    let bytes = archive(ARCHIVE_BYTES, 1);
    let path = source.upload_path();
    let wrong = node.try_call("PUT", &path, &[digest], &bytes).unwrap();
    assert_eq!(assert_refused(&wrong, 400)["code"], "digest_mismatch");
    assert_eq!(objects.keys(&store.key_of(Some(&source))), [""; 0]);
    assert_eq!(node.upload(&source, &bytes).status, 200);
    assert!(node.download(&source).body == bytes);
}

#[test]
fn an_object_store_that_asks_for_patience_gets_some() {
    let objects = SeaweedFs::start();
    let began = Instant::now();
    // While the server starts, and then once for each.
    let shown = Arc::new(AtomicUsize::new(0));
    let next = Arc::clone(&shown);
    let quirks = [
        ("PUT ", "/record", "409 ConditionalRequestConflict"),
        ("PUT ", "/00000001", "400 RequestTimeout"),
        ("PUT ", "/record", "503 SlowDown"),
        ("GET ", "/00000000", "503 SlowDown"),
    ];
    let judge = move |line: &str| {
        if began.elapsed() < Duration::from_secs(3) {
            return Some("503 SlowDown");
        }
        let (method, part, answer) = *quirks.get(next.load(Relaxed))?;
        if !line.starts_with(method) || !line.contains(part) {
            return None;
        }
        next.fetch_add(1, Relaxed);
        Some(answer)
    };
    let (_store, node, bearer) = start(&objects, Arc::new(judge));
    let retries = || node.metric("waystation_object_store_retries_total");
    let before = retries().unwrap();
    for seed in 1..=3 {
        let source = node.create_source(&bearer);
        let bytes = archive(ARCHIVE_BYTES, seed);
        assert_eq!(node.upload(&source, &bytes).status, 200);
        assert!(node.download(&source).body == bytes);
    }
    assert_eq!(shown.load(Relaxed), quirks.len());
    assert!(before > 0.0);
    assert!(retries().unwrap() - before >= 4.0);
    let busy = r#"waystation_object_store_requests_total{kind="put",outcome="busy"}"#;
    assert!(node.ask_admin("/metrics").text().contains(busy));
}

#[test]
fn an_object_store_that_is_full_is_no_fault_of_the_network() {
    let objects = SeaweedFs::start();
    for answer in ["507 XMinioStorageFull", "403 QuotaExceeded"] {
        let judge = move |line: &str| {
            let is_part = line.starts_with("PUT ") && line.contains("/0000000");
            is_part.then_some(answer)
        };
        let (_store, node, bearer) = start(&objects, Arc::new(judge));
        let source = node.create_source(&bearer);
        let began = Instant::now();
        let reply = node.upload(&source, &archive(ARCHIVE_BYTES, 1));
        assert_eq!(assert_refused(&reply, 507)["code"], "store_full");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
