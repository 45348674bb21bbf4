//! Two nodes whose clocks disagree: what clients of either see, and what is deleted.

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use waystation::clock::{Clock, FakeClock};
use waystation::service::api_tokens::ApiTokens;
use waystation::service::users::UserId;
use waystation::store::bucket::Overwrite;
use waystation::store::{BucketStore, Store};

use super::content::Content;
use super::plan::{How, Op, Put};
use super::reference::{LIFETIME, Seen};
use super::run::START;
use super::service::{Links, Service};

/// How far apart the clocks of nodes may be.
const SKEW: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);

/// Two nodes on one bucket, the second of which is ten seconds ahead.
struct Nodes {
    behind: Service,
    ahead: Service,
    clocks: [FakeClock; 2],
    api_token: String,
}

impl Nodes {
    async fn new() -> Self {
        let objects = Arc::new(InMemory::new());
        let clocks = [START, START.after(SKEW)].map(FakeClock::at);
        let node = |clock: &FakeClock| {
            let shown = Clock::Fake(clock.clone());
            let bucket = BucketStore::within(objects.clone(), "p", Overwrite::Refuse, shown);
            Service::on(Store::Bucket(bucket), clock)
        };
        let (behind, ahead) = (node(&clocks[0]), node(&clocks[1]));
        let tokens = ApiTokens::new(behind.store.clone());
        let (_, token) = tokens
            .create("a test", UserId::of("ada"), START)
            .await
            .unwrap();
        Self {
            behind,
            ahead,
            clocks,
            api_token: token.reveal().to_owned(),
        }
    }

    fn advance(&self, by: Duration) {
        for clock in &self.clocks {
            clock.advance(by);
        }
    }

    async fn create(&self, node: &Service) -> [Links; 1] {
        let (_, links) = node.perform(&Op::Create, &[], &self.api_token).await;
        [links.unwrap()]
    }

    async fn see(&self, node: &Service, op: Op, links: &[Links]) -> Seen {
        node.perform(&op, links, &self.api_token).await.0
    }
}

fn upload() -> Op {
    Op::Put(Put {
        index: 0,
        content: Content::pick(8),
        how: How::Sized,
    })
}

fn archive() -> Seen {
    Seen::Archive(Content::pick(8))
}

const GONE: Seen = Seen::Status(410);
const DELETED: Seen = Seen::Swept {
    sources: 1,
    failures: 0,
};
const NOTHING_DELETED: Seen = Seen::Swept {
    sources: 0,
    failures: 0,
};

#[tokio::test]
async fn no_link_lives_longer_than_its_lifetime_and_the_skew_wherever_it_was_made() {
    let nodes = Nodes::new().await;
    let from_ahead = nodes.create(&nodes.ahead).await;
    let from_behind = nodes.create(&nodes.behind).await;
    for links in [&from_ahead, &from_behind] {
        assert_eq!(nodes.see(&nodes.behind, upload(), links).await, archive());
    }
    // By the clock that is behind, a link of the other lives ten seconds longer, and not more.
    nodes.advance(LIFETIME);
    let get = || Op::Get(0);
    assert_eq!(nodes.see(&nodes.ahead, get(), &from_ahead).await, GONE);
    assert_eq!(nodes.see(&nodes.behind, get(), &from_behind).await, GONE);
    assert_eq!(
        nodes.see(&nodes.behind, get(), &from_ahead).await,
        archive()
    );
    nodes.advance(SKEW.saturating_sub(MS));
    assert_eq!(
        nodes.see(&nodes.behind, get(), &from_ahead).await,
        archive()
    );
    nodes.advance(MS);
    assert_eq!(nodes.see(&nodes.behind, get(), &from_ahead).await, GONE);
}

#[tokio::test]
async fn a_node_that_is_ahead_deletes_nothing_that_is_live_on_one_that_is_behind() {
    let nodes = Nodes::new().await;
    let links = nodes.create(&nodes.behind).await;
    assert_eq!(nodes.see(&nodes.behind, upload(), &links).await, archive());
    // The last instant at which the node that is behind serves it.
    nodes.advance(LIFETIME.saturating_sub(MS));
    let swept = nodes.see(&nodes.ahead, Op::Sweep, &[]).await;
    assert_eq!(swept, NOTHING_DELETED);
    assert_eq!(
        nodes.see(&nodes.behind, Op::Head(0), &links).await,
        archive()
    );
    // Ten seconds on, the grace of twenty is over on the other.
    nodes.advance(SKEW + MS);
    assert_eq!(nodes.see(&nodes.behind, Op::Head(0), &links).await, GONE);
    assert_eq!(nodes.see(&nodes.ahead, Op::Sweep, &[]).await, DELETED);
}

#[tokio::test]
async fn an_upload_that_is_late_by_a_clock_that_is_behind_is_deleted_by_either() {
    let nodes = Nodes::new().await;
    let links = nodes.create(&nodes.behind).await;
    nodes.advance(LIFETIME.saturating_sub(MS));
    assert_eq!(nodes.see(&nodes.ahead, upload(), &links).await, GONE);
    assert_eq!(nodes.see(&nodes.behind, upload(), &links).await, archive());
    nodes.advance(Duration::from_secs(21));
    assert_eq!(nodes.see(&nodes.behind, Op::Sweep, &[]).await, DELETED);
    assert_eq!(
        nodes.see(&nodes.ahead, Op::Sweep, &[]).await,
        NOTHING_DELETED
    );
}
