//! Metrics: what is counted while the server runs, and its text for Prometheus.
//!
//! Labels are route patterns, methods the API knows, and statuses: their number does not grow with
//! what clients send.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::clock::Timestamp;
use crate::mutex::lock;
use crate::store::bucket::RequestMetrics;
use crate::store::{ArchiveCounts, Store, StoreError, Swept};

const PREFIX: &str = "waystation";
/// For how long it counts that a runner asked for work.
const RUNNER_SEEN_FOR: Duration = Duration::from_mins(2);

#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    pub method: &'static str,
    pub route: &'a str,
    /// Its status; 0 if the client was gone before there was one.
    pub status: u16,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// From its head to the end of the answer.
    pub duration: Duration,
}

/// What is not counted but looked up when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    pub transfers: usize,
    pub open_uploads: usize,
    pub open_upload_bytes: u64,
    pub lost_log_lines: usize,
    /// The stored archives, if they can be counted.
    pub counted: Option<ArchiveCounts>,
    /// What the store can still take in, if it has an end.
    pub room_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

type NewHistogram = fn() -> Histogram;

pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, NewHistogram>,
    received_bytes: Counter,
    sent_bytes: Counter,
    refused_connections: Counter,
    deleted: Counter,
    deletion_failures: Counter,
    sweep_failures: Family<[(&'static str, &'static str); 1], Counter>,
    deletion_lag: Histogram,
    deployments: Family<[(&'static str, &'static str); 1], Histogram, NewHistogram>,
    log_bytes: Counter,
    followers: Gauge,
    /// When each runner asked for work last, by the id of its API token.
    runners: Mutex<HashMap<String, Instant>>,
    /// What the queue of deployments looked like last; nothing before it was looked at.
    queue: Mutex<Option<QueueGauge>>,
    /// When the last sweep ended that could delete all it found, in seconds since the epoch; 0 if none has.
    last_sweep: AtomicU64,
}

/// What the queue of deployments looked like.
#[derive(Clone, Copy, Debug)]
pub struct QueueGauge {
    pub unfinished: usize,
    /// How long the first of them has been there.
    pub oldest: Duration,
}

/// Counts as a follower until it is dropped.
pub struct FollowerCount(Gauge);

impl Drop for FollowerCount {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        // From half a millisecond to about two minutes: a call, and a transfer.
        let durations: NewHistogram = || Histogram::new(exponential_buckets(0.0005, 4.0, 10));
        // From ten milliseconds to about three minutes.
        let lags = Histogram::new(exponential_buckets(0.01, 3.0, 10));
        // From a tenth of a second to about half an hour.
        let runs: NewHistogram = || Histogram::new(exponential_buckets(0.1, 3.0, 10));
        let mut registry = Registry::with_prefix(PREFIX);
        Self {
            requests: register(
                &mut registry,
                "requests",
                "Answered requests, by method, route and status",
                Family::default(),
            ),
            durations: register(
                &mut registry,
                "request_duration_seconds",
                "From a request's head to the end of its answer",
                Family::new_with_constructor(durations),
            ),
            received_bytes: register(
                &mut registry,
                "received_bytes",
                "Bytes of request bodies",
                Counter::default(),
            ),
            sent_bytes: register(
                &mut registry,
                "sent_bytes",
                "Bytes of answers' bodies",
                Counter::default(),
            ),
            refused_connections: register(
                &mut registry,
                "connections_refused",
                "Connections closed at once, since their address had too many",
                Counter::default(),
            ),
            deleted: register(
                &mut registry,
                "sources_deleted",
                "Expired sources that were deleted",
                Counter::default(),
            ),
            deletion_failures: register(
                &mut registry,
                "source_deletion_failures",
                "Deletions that failed, and are tried again",
                Counter::default(),
            ),
            sweep_failures: register(
                &mut registry,
                "sweep_failures",
                "Sweeps that did not come to their end, since the store failed or another program put a key there",
                Family::default(),
            ),
            deletion_lag: register(
                &mut registry,
                "deletion_lag_seconds",
                "Of each sweep that deleted something, the longest time from an expiry to its deletion",
                lags,
            ),
            deployments: register(
                &mut registry,
                "deployment_duration_seconds",
                "Deployments that ended, by status: from the claim to the end",
                Family::new_with_constructor(runs),
            ),
            log_bytes: register(
                &mut registry,
                "deployment_log_bytes",
                "Bytes of logs that runners sent",
                Counter::default(),
            ),
            followers: register(
                &mut registry,
                "deployment_followers",
                "Clients that follow the deployments of an app",
                Gauge::default(),
            ),
            runners: Mutex::default(),
            queue: Mutex::default(),
            last_sweep: AtomicU64::default(),
            registry,
        }
    }
}

fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Those of a server on `store`.
    pub fn of(store: &Store) -> Self {
        let mut metrics = Self::default();
        if let Some(asked) = store.request_metrics() {
            metrics.add_object_store(asked);
        }
        metrics
    }

    fn add_object_store(&mut self, asked: &RequestMetrics) {
        register(
            &mut self.registry,
            "object_store_requests",
            "Requests to the object store, each try, by kind and outcome",
            asked.requests.clone(),
        );
        register(
            &mut self.registry,
            "object_store_retries",
            "Requests to the object store that were made again",
            asked.retries.clone(),
        );
        register(
            &mut self.registry,
            "object_store_request_duration_seconds",
            "From the beginning of a request to the object store to the head of its answer",
            asked.durations.clone(),
        );
    }

    pub fn note_refused_connection(&self) {
        self.refused_connections.inc();
    }

    pub fn note_request(&self, finished: &Finished<'_>) {
        let labels = RouteLabels {
            method: finished.method,
            route: finished.route.to_owned(),
        };
        self.durations
            .get_or_create(&labels)
            .observe(finished.duration.as_secs_f64());
        self.requests
            .get_or_create(&RequestLabels {
                method: labels.method,
                route: labels.route,
                status: finished.status,
            })
            .inc();
        self.received_bytes.inc_by(finished.received_bytes);
        self.sent_bytes.inc_by(finished.sent_bytes);
    }

    /// Counts what a sweep did that ended `now`.
    pub fn note_sweep(&self, swept: &Swept, now: Timestamp) {
        if swept.failures == 0 {
            self.last_sweep.store(now.as_seconds(), Ordering::Relaxed);
        }
        self.deleted.inc_by(swept.sources);
        self.deletion_failures.inc_by(swept.failures);
        if swept.sources > 0 {
            self.deletion_lag.observe(swept.max_lag.as_secs_f64());
        }
    }

    /// A deployment ended after running for so long.
    pub fn note_deployment(&self, status: &'static str, duration: Duration) {
        self.deployments
            .get_or_create(&[("status", status)])
            .observe(duration.as_secs_f64());
    }

    pub fn note_log_bytes(&self, bytes: usize) {
        self.log_bytes.inc_by(bytes as u64);
    }

    /// One more follower, for as long as what this returns is kept.
    #[must_use]
    pub fn note_follower(&self) -> FollowerCount {
        self.followers.inc();
        FollowerCount(self.followers.clone())
    }

    /// A runner asked for work. Runners that have gone are forgotten.
    pub fn note_runner(&self, id: &str) {
        let now = Instant::now();
        let mut runners = lock(&self.runners);
        runners.retain(|_, at| now.duration_since(*at) < RUNNER_SEEN_FOR);
        runners.insert(id.to_owned(), now);
    }

    pub fn note_queue(&self, look: QueueGauge) {
        *lock(&self.queue) = Some(look);
    }

    pub fn note_failed_sweep(&self, error: &StoreError) {
        let is_foreign_key = matches!(error, StoreError::ForeignKey { .. });
        let reason = if is_foreign_key {
            "foreign_key"
        } else {
            "store"
        };
        self.sweep_failures
            .get_or_create(&[("reason", reason)])
            .inc();
    }

    /// All metrics as text in the `OpenMetrics` format. What is not known is left out.
    pub fn text(&self, snapshot: &Snapshot) -> String {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &self.gauges(snapshot)))
            .and_then(|()| encode_eof(&mut text))
            .expect("writing to a String does not fail");
        text
    }

    /// What is true just now.
    fn gauges(&self, snapshot: &Snapshot) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        let lost = Counter::<u64>::default();
        lost.inc_by(snapshot.lost_log_lines as u64);
        registry.register(
            "log_lines_lost",
            "Log lines that were dropped, since standard error did not take them",
            lost,
        );
        let last_sweep = self.last_sweep.load(Ordering::Relaxed);
        let mut gauge = |name, help, value: Option<u64>| {
            if let Some(value) = value {
                let gauge = Gauge::<i64>::default();
                gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
                registry.register(name, help, gauge);
            }
        };
        gauge(
            "transfers_in_flight",
            "Uploads and downloads under way",
            Some(snapshot.transfers as u64),
        );
        gauge(
            "open_uploads",
            "Uploads in parts that were begun here and have neither ended nor expired",
            Some(snapshot.open_uploads as u64),
        );
        gauge(
            "open_upload_bytes",
            "How long these are going to be, in bytes, or are, where that was not announced",
            Some(snapshot.open_upload_bytes),
        );
        gauge(
            "sources_live",
            "Uploaded sources that have not expired, if the store can count them",
            snapshot.counted.map(|counted| counted.live),
        );
        gauge(
            "sources_expired",
            "Uploaded sources that have expired and are not deleted yet, if the store can count them",
            snapshot.counted.map(|counted| counted.expired),
        );
        gauge(
            "store_room_bytes",
            "What uploads may still take of the store, if it has an end",
            snapshot.room_bytes,
        );
        let queue = *lock(&self.queue);
        gauge(
            "deployments_unfinished",
            "Deployments of all servers of the store that have not ended",
            queue.map(|queue| queue.unfinished as u64),
        );
        gauge(
            "deployments_oldest_age_seconds",
            "How long ago the first of these was accepted",
            queue.map(|queue| queue.oldest.as_secs()),
        );
        let now = Instant::now();
        let seen = |at: &&Instant| now.duration_since(**at) < RUNNER_SEEN_FOR;
        let runners = lock(&self.runners).values().filter(seen).count();
        gauge(
            "runner_tokens_seen",
            "Tokens by which runners asked this server for work within the last two minutes",
            Some(runners as u64),
        );
        gauge(
            "last_sweep_timestamp_seconds",
            "When the last sweep ended that deleted all that had expired, since the Unix epoch",
            (last_sweep > 0).then_some(last_sweep),
        );
        registry
    }
}

/// A client may call with any word, of any length; only those of the API are labels, and logged.
pub fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        for word in ["PUT", "BREW", "FRY"] {
            metrics.note_request(&Finished {
                method: known_method(&word.parse().unwrap()),
                route: "/v1/sources/{source}",
                status: 200,
                received_bytes: 10,
                sent_bytes: 1,
                duration: Duration::from_millis(3),
            });
        }
        let swept = Swept {
            sources: 2,
            max_lag: Duration::from_millis(400),
            ..Swept::default()
        };
        metrics.note_sweep(&swept, Timestamp::from_ms(1_700_000_000_999));
        let failed = Swept {
            failures: 1,
            ..Swept::default()
        };
        metrics.note_sweep(&failed, Timestamp::from_ms(1_800_000_000_000));
        metrics.note_failed_sweep(&StoreError::ForeignKey { key: "a//b".into() });
        metrics.note_deployment("success", Duration::from_secs(2));
        metrics.note_log_bytes(9);
        metrics.note_runner("one");
        metrics.note_runner("one");
        metrics.note_queue(QueueGauge {
            unfinished: 3,
            oldest: Duration::from_secs(70),
        });
        let _follower = metrics.note_follower();
        drop(metrics.note_follower());
        let text = metrics.text(&Snapshot {
            transfers: 4,
            open_uploads: 3,
            open_upload_bytes: 4096,
            lost_log_lines: 8,
            counted: Some(ArchiveCounts {
                live: 5,
                expired: 6,
            }),
            room_bytes: Some(7),
        });
        for line in [
            r#"waystation_requests_total{method="PUT",route="/v1/sources/{source}",status="200"} 1"#,
            r#"waystation_requests_total{method="other",route="/v1/sources/{source}",status="200"} 2"#,
            "waystation_received_bytes_total 30",
            "waystation_sent_bytes_total 3",
            "waystation_sources_deleted_total 2",
            "waystation_source_deletion_failures_total 1",
            r#"waystation_sweep_failures_total{reason="foreign_key"} 1"#,
            "waystation_deletion_lag_seconds_count 1",
            "waystation_log_lines_lost_total 8",
            "waystation_transfers_in_flight 4",
            "waystation_open_uploads 3",
            "waystation_open_upload_bytes 4096",
            "waystation_sources_live 5",
            "waystation_sources_expired 6",
            "waystation_store_room_bytes 7",
            "waystation_last_sweep_timestamp_seconds 1700000000",
            r#"waystation_deployment_duration_seconds_count{status="success"} 1"#,
            "waystation_deployment_log_bytes_total 9",
            "waystation_deployment_followers 1",
            "waystation_deployments_unfinished 3",
            "waystation_deployments_oldest_age_seconds 70",
            "waystation_runner_tokens_seen 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("waystation_request_duration_seconds_bucket"));
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let text = Metrics::default().text(&Snapshot::default());
        for unknown in [
            "sources_live",
            "sources_expired",
            "store_room",
            "last_sweep",
        ] {
            assert!(!text.contains(unknown), "{unknown}\n{text}");
        }
        assert!(text.contains("waystation_transfers_in_flight 0\n"));
    }
}
