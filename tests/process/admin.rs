//! Health and metrics, on an address of their own.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use waystation::clock::Timestamp;
use waystation::source::SourceId;
use waystation_testing::connection::{Connection, exchange, head_for};
use waystation_testing::store_folder::{Store, archive_path};
use waystation_testing::wall_clock::WallClock;
use waystation_testing::{Waystation, archive, eventually};

fn start(flags: &[&str]) -> Waystation {
    Waystation::start(&[&["--admin-listen", "0"], flags].concat())
}

#[test]
fn without_its_store_it_is_alive_but_not_ready_and_has_the_metrics_that_need_none() {
    let server = start(&[]);
    let status = |path| server.ask_admin(path).status;
    eventually("a sweep has ended", || {
        server.metric("waystation_last_sweep_timestamp_seconds") > Some(1.7e9)
    });
    assert_eq!((status("/healthz"), status("/readyz")), (200, 200));
    fs::remove_dir_all(server.store.path()).unwrap();
    assert_eq!((status("/healthz"), status("/readyz")), (200, 503));
    assert_eq!(server.metric("waystation_transfers_in_flight"), Some(0.0));
}

/// Folders cannot be deleted as files are.
#[test]
fn a_sweep_that_fails_logs_one_line_and_is_no_last_good_one() {
    let store = Store::new();
    for random in 0..3 {
        let source = SourceId::mint(Timestamp::from_ms(1_700_000_000_000), [random; 10]);
        fs::create_dir_all(archive_path(&store.path(), &source.to_string())).unwrap();
    }
    let server = Waystation::start_on(store, &["--admin-listen", "0"]);
    eventually("two sweeps have failed", || {
        server.metric("waystation_source_deletion_failures_total") >= Some(6.0)
    });
    assert_eq!(
        server.metric("waystation_last_sweep_timestamp_seconds"),
        None
    );
    server.program.await_line("ERROR");
    let log = server.program.stderr();
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{log}");
    assert!(errors[0].contains("failures=3"), "{log}");
    assert!(errors[0].contains("cannot delete"), "{log}");
}

#[test]
fn metrics_count_requests_bytes_and_deletions() {
    let clock = WallClock::new();
    let server = clock.start(Store::new(), &["--admin-listen", "0"]);
    let source = server.create_and_upload(&archive(100_000, 1));
    assert!(server.metric("waystation_received_bytes_total") >= Some(100_000.0));
    let puts =
        r#"waystation_requests_total{method="PUT",route="/v1/sources/{source}",status="200"}"#;
    assert_eq!(server.ask_admin("/metrics").text().matches(puts).count(), 1);
    assert!(server.metric("waystation_store_room_bytes") > Some(0.0));
    clock.stand_at(source.expires_at());
    eventually("the expired source is deleted", || {
        server.metric("waystation_sources_deleted_total") > Some(0.5)
    });
    assert!(server.metric("waystation_deletion_lag_seconds_count") > Some(0.5));
}

#[test]
fn admin_and_public_routes_are_separate() {
    let server = start(&[]);
    assert!(server.admin().ip().is_loopback());
    for path in ["/metrics", "/healthz", "/readyz"] {
        let reply = exchange(server.address, "GET", path, b"");
        assert_eq!(reply.status, 404, "{path}");
    }
    assert_eq!(server.ask_admin("/v1/sources").status, 404);
}

#[test]
fn an_address_that_others_can_reach_is_warned_of_and_one_on_loopback_is_not() {
    let warning = "can read the metrics";
    let open = Waystation::start(&["--admin-listen", "0.0.0.0:0"]);
    assert!(open.program.await_line(warning).contains("--admin-listen"));
    let closed = start(&[]);
    assert!(!closed.program.stderr().contains(warning));
}

/// From another address of this machine, as a stranger in the network would be.
#[test]
fn silent_connections_of_one_address_take_nobody_elses_place() {
    let server = start(&[]);
    let from = SocketAddr::from(([127, 0, 0, 2], 0));
    let silent: Vec<_> = (0..80)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.bind(&from.into()).unwrap();
            socket.connect(&server.admin().into()).unwrap();
            socket
        })
        .collect();
    assert_eq!(server.ask_admin("/healthz").status, 200);
    drop(silent);
    let begun_at = Instant::now();
    assert_eq!(Connection::open(server.admin()).into_rest(), b"");
    assert!(begun_at.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_name_that_a_page_has_chosen_is_not_answered() {
    let server = start(&[]);
    for (host, status) in [
        ("evil.example", 421),
        ("evil.example:9090", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost", 200),
        ("LocalHost:9090", 200),
        ("192.0.2.1:9090", 200),
        ("[::1]:9090", 200),
    ] {
        let mut connection = Connection::open(server.admin());
        connection.send(head_for(host, "GET", "/healthz", &["Connection: close"]));
        assert_eq!(connection.next_reply().status, status, "{host}");
    }
}
