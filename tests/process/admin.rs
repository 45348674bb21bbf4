//! Health and metrics, on an address of their own.

use waystation_testing::connection::exchange;
use waystation_testing::{Waystation, archive, eventually};

/// A server with an address for operators.
struct Operated {
    server: Waystation,
    admin: std::net::SocketAddr,
}

impl Operated {
    fn start(flags: &[&str]) -> Self {
        let admin = ["--admin-listen", "0"];
        let server = Waystation::start(&[&admin[..], flags].concat());
        let line = server.program.await_line("metrics on http://");
        let (_, address) = line.split_once("http://").unwrap();
        let admin = address.trim_end_matches("/metrics").parse().unwrap();
        Self { server, admin }
    }

    fn ask(&self, path: &str) -> (u16, String) {
        let reply = exchange(self.admin, "GET", path, b"");
        (reply.status, String::from_utf8(reply.body).unwrap())
    }

    fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.ask("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .trim()
            .parse()
            .unwrap()
    }
}

#[test]
fn it_says_that_it_is_alive_and_ready() {
    let operated = Operated::start(&[]);
    assert!(operated.admin.ip().is_loopback());
    assert_eq!(operated.ask("/healthz").0, 200);
    assert_eq!(operated.ask("/readyz").0, 200);
}

#[test]
fn it_is_not_ready_without_its_store() {
    let operated = Operated::start(&[]);
    std::fs::remove_dir_all(operated.server.store.path()).unwrap();
    assert_eq!(operated.ask("/readyz").0, 503);
    assert_eq!(operated.ask("/healthz").0, 200);
}

#[test]
fn without_its_store_it_still_has_the_metrics_that_need_none() {
    let operated = Operated::start(&[]);
    eventually("a sweep has ended", || {
        operated.ask("/metrics").1.contains("last_sweep_timestamp")
    });
    assert!(operated.metric("waystation_last_sweep_timestamp_seconds ") > 1.7e9);
    std::fs::remove_dir_all(operated.server.store.path()).unwrap();
    let (status, text) = operated.ask("/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("waystation_transfers_in_flight 0"), "{text}");
    for unknown in ["sources_live", "sources_expired", "store_room"] {
        assert!(!text.contains(unknown), "{text}");
    }
}

#[test]
fn metrics_count_requests_bytes_and_deletions() {
    let operated = Operated::start(&["--lifetime", "2s"]);
    let server = &operated.server;
    server.create_and_upload(&archive(100_000, 1));
    assert!(operated.metric("waystation_received_bytes_total") >= 100_000.0);
    let puts =
        r#"waystation_requests_total{method="PUT",route="/v1/sources/{source}",status="200"}"#;
    assert_eq!(operated.ask("/metrics").1.matches(puts).count(), 1);
    assert!(operated.metric("waystation_store_room_bytes") > 0.0);
    eventually("the expired source is deleted", || {
        operated.metric("waystation_sources_deleted_total") > 0.5
    });
    assert!(operated.metric("waystation_deletion_lag_seconds_count") > 0.5);
}

#[test]
fn admin_and_public_routes_are_separate() {
    let operated = Operated::start(&[]);
    for path in ["/metrics", "/healthz", "/readyz"] {
        let reply = exchange(operated.server.address, "GET", path, b"");
        assert_eq!(reply.status, 404, "{path}");
    }
    assert_eq!(operated.ask("/v1/sources").0, 404);
}

#[test]
fn an_address_that_others_can_reach_is_warned_of_and_one_on_loopback_is_not() {
    let warning = "can read the metrics";
    let open = Waystation::start(&["--admin-listen", "0.0.0.0:0"]);
    assert!(open.program.await_line(warning).contains("--admin-listen"));
    let closed = Operated::start(&[]);
    assert!(!closed.server.program.stderr().contains(warning));
}
