//! The client that must not notice: it hands an archive off, over and over, and takes the time.

use std::time::{Duration, Instant};

use waystation_testing::connection::head;
use waystation_testing::line::{Line, Target};
use waystation_testing::{Source, archive};

/// The last number of its address; attackers have others.
const HOST: u8 = 1;
const ARCHIVE_BYTES: usize = 64 * 1024;

/// An honest client.
pub(crate) struct Honest {
    target: Target,
    bearer: String,
    archive: Vec<u8>,
    runtime: tokio::runtime::Runtime,
}

impl Honest {
    pub(crate) fn new(target: &Target, api_token: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Self {
            target: target.clone(),
            bearer: format!("Authorization: Bearer {api_token}"),
            archive: archive(ARCHIVE_BYTES, 7),
            runtime: runtime.unwrap(),
        }
    }

    /// How long each of so many hand-offs took, one after the other.
    pub(crate) fn hand_offs(&self, count: usize) -> Times {
        let mut times: Vec<_> = (0..count)
            .map(|_| self.runtime.block_on(self.hand_off()))
            .collect();
        times.sort();
        Times(times)
    }

    /// Creates a source, uploads, downloads, and compares: a connection of its own, with its handshake.
    async fn hand_off(&self) -> Duration {
        let started_at = Instant::now();
        let mut line = self.target.open(HOST).await.unwrap();
        let source = create_source(&mut line, &self.bearer).await;
        let length = format!("Content-Length: {}", self.archive.len());
        let put = head("PUT", &source.upload_path(), &[&length]);
        line.send(put).await.unwrap();
        line.send(&self.archive).await.unwrap();
        let stored = line.next_reply().await.unwrap();
        assert_eq!(stored.status, 200, "{stored:?}");
        let get = head("GET", &source.download_path(), &[]);
        line.send(get).await.unwrap();
        let fetched = line.next_reply().await.unwrap();
        assert_eq!(fetched.status, 200, "{fetched:?}");
        assert!(fetched.body == self.archive);
        started_at.elapsed()
    }
}

/// A new source, asked for on an open connection.
pub(crate) async fn create_source(line: &mut Line, bearer: &str) -> Source {
    let create = head("POST", "/v1/sources", &[bearer, "Content-Length: 0"]);
    line.send(create).await.unwrap();
    let created = line.next_reply().await.unwrap();
    assert_eq!(created.status, 201, "{created:?}");
    Source::of(&created)
}

/// How long things took, the shortest first.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// All but one in a hundred took no longer.
    pub(crate) fn p99(&self) -> Duration {
        self.0[self.0.len() * 99 / 100]
    }

    pub(crate) fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }
}
