//! Two servers on one engine whose clocks are ten seconds apart: by how much a link outlives what was
//! promised, and that neither deletes what is live on the other. The engine's own clock is true.

use jiff::{SignedDuration, Timestamp};

use crate::fleet::{Node, SharedStore};
use waystation_testing::curl::{HELD_ARCHIVE_BYTES, HeldDownload};
use waystation_testing::engine::Engine;
use waystation_testing::program::run;
use waystation_testing::wall_clock::WallClock;
use waystation_testing::{Source, archive, assert_refused, eventually};

/// How far apart the clocks of nodes may be.
const SKEW: i64 = 10;
/// How long nodes leave alone what has expired.
const GRACE: i64 = 20;
/// Short, so that engines take what is signed at its end.
const LIFETIME: i64 = 300;
const FLAGS: [&str; 4] = ["--lifetime", "5m", "--rate-limit", "0"];

const fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

/// A server, and the clock that it goes by.
struct Skewed {
    node: Node,
    clock: WallClock,
    /// By how many seconds its clock is ahead of the true time, which the test knows.
    ahead_by: i64,
}

impl Skewed {
    fn start(store: &SharedStore, ahead_by: i64) -> Self {
        let clock = WallClock::new();
        Self {
            node: Node::run(clock.rule(store.serve(&FLAGS))),
            clock,
            ahead_by,
        }
    }

    fn show(&self, true_time: Timestamp) {
        self.clock.stand_at(true_time + seconds(self.ahead_by));
    }

    fn sweep(&self, store: &SharedStore) {
        let swept = run(self.clock.rule(store.command(&["sweep"])));
        assert_eq!(swept.code, Some(0), "{swept:?}");
    }

    /// Whether it is served, whole; otherwise it has to have expired.
    fn serves(&self, source: &Source, archive: &[u8]) -> bool {
        let reply = self.node.download(source);
        if reply.status == 200 {
            assert!(reply.body == archive);
            return true;
        }
        assert_eq!(assert_refused(&reply, 410)["code"], "expired");
        false
    }
}

/// Two of them on a store of their own.
struct Pair {
    behind: Skewed,
    ahead: Skewed,
    store: SharedStore,
    bearer: String,
    began_at: Timestamp,
}

impl Pair {
    fn start(behind: i64, ahead: i64) -> Self {
        let store = SharedStore::on(Engine::shared());
        let pair = Self {
            behind: Skewed::start(&store, behind),
            ahead: Skewed::start(&store, ahead),
            bearer: store.create_bearer(),
            began_at: Timestamp::now(),
            store,
        };
        pair.show(0);
        pair
    }

    /// It is so many seconds after the start.
    fn show(&self, second: i64) {
        for skewed in [&self.behind, &self.ahead] {
            skewed.show(self.began_at + seconds(second));
        }
    }

    fn is_gone(&self, source: &Source) -> bool {
        let keys = self.store.key_of(Some(source));
        Engine::shared().keys(&keys).is_empty()
    }
}

/// At which seconds of the true time, counted from the instant until which it was promised, a source was
/// first refused by either node, and was gone.
#[derive(Debug, Default, PartialEq, Eq)]
struct Life {
    refused_by_behind: Option<i64>,
    refused_by_ahead: Option<i64>,
    gone: Option<i64>,
}

/// Notes the second in which something has come to be so, and that it stays so.
fn note(first: &mut Option<i64>, second: i64, is_so: bool) {
    assert!(is_so || first.is_none(), "it was so at {first:?} already");
    if is_so {
        first.get_or_insert(second);
    }
}

/// Follows sources second by second from before the first to after the last that should happen to them.
fn follow(pair: &Pair, sources: [(Source, &[u8]); 2]) -> [Life; 2] {
    let mut lives = [Life::default(), Life::default()];
    for second in -SKEW - 2..SKEW + GRACE + 2 {
        pair.show(LIFETIME + second);
        pair.ahead.sweep(&pair.store);
        pair.behind.sweep(&pair.store);
        for ((source, archive), life) in sources.iter().zip(&mut lives) {
            let [by_behind, by_ahead] =
                [&pair.behind, &pair.ahead].map(|node| !node.serves(source, archive));
            note(&mut life.refused_by_behind, second, by_behind);
            note(&mut life.refused_by_ahead, second, by_ahead);
            note(&mut life.gone, second, pair.is_gone(source));
        }
    }
    lives
}

/// One makes a source, and the other takes its archive in: so for each of them.
fn assert_skew_is_all_that_a_link_gains(behind: i64, ahead: i64) {
    let pair = Pair::start(behind, ahead);
    let from_behind = pair.behind.node.create_source(&pair.bearer);
    let from_ahead = pair.ahead.node.create_source(&pair.bearer);
    assert_eq!(pair.ahead.node.upload(&from_behind, b"one").status, 200);
    assert_eq!(pair.behind.node.upload(&from_ahead, b"two").status, 200);

    let lives = follow(&pair, [(from_behind, b"one"), (from_ahead, b"two")]);
    let as_promised = Life {
        refused_by_behind: Some(0),
        refused_by_ahead: Some(-SKEW),
        gone: Some(GRACE - SKEW),
    };
    let outlived = Life {
        refused_by_behind: Some(SKEW),
        refused_by_ahead: Some(0),
        gone: Some(GRACE),
    };
    assert_eq!(lives, [as_promised, outlived]);
    let left = Engine::shared().keys(&pair.store.key_of(None));
    assert_eq!(left, [] as [&str; 0]);
}

#[test]
fn a_link_outlives_its_promise_by_the_skew_and_no_node_deletes_what_another_serves() {
    assert_skew_is_all_that_a_link_gains(0, SKEW);
}

#[test]
fn it_is_the_same_if_the_node_that_is_ahead_is_the_one_that_is_right() {
    assert_skew_is_all_that_a_link_gains(-SKEW, 0);
}

#[test]
fn a_download_by_a_node_that_is_behind_is_waited_for_by_one_that_is_ahead() {
    let pair = Pair::start(0, SKEW);
    let sent = archive(HELD_ARCHIVE_BYTES, 1);
    let behind = &pair.behind.node;
    let source = behind.create_and_upload(&pair.bearer, &sent);
    pair.show(LIFETIME - 1);
    let download = HeldDownload::start(&behind.url(&source.download_path()));
    pair.show(LIFETIME + GRACE);
    assert_eq!(behind.download(&source).status, 410);
    pair.ahead.sweep(&pair.store);
    assert!(!pair.is_gone(&source));
    assert!(download.finish().body == sent);
    eventually("a sweep finds nobody who reads it", || {
        pair.ahead.sweep(&pair.store);
        pair.is_gone(&source)
    });
}

#[test]
fn an_upload_that_only_the_node_that_is_behind_still_takes_is_deleted_when_others_are() {
    let pair = Pair::start(0, SKEW);
    let source = pair.behind.node.create_source(&pair.bearer);
    pair.show(LIFETIME - 1);
    let by_ahead = pair.ahead.node.upload(&source, b"late");
    assert_eq!(assert_refused(&by_ahead, 410)["code"], "expired");
    assert_eq!(pair.behind.node.upload(&source, b"late").status, 200);
    assert!(pair.behind.serves(&source, b"late"));
    let is_gone_at = |second: i64| {
        pair.show(second);
        pair.ahead.sweep(&pair.store);
        pair.is_gone(&source)
    };
    assert!(!is_gone_at(LIFETIME + GRACE - SKEW - 1));
    // The lease of the download just now may be on its way out.
    eventually("it is deleted with the first sweep that may", || {
        is_gone_at(LIFETIME + GRACE - SKEW)
    });
}

#[test]
fn a_node_whose_clock_is_an_hour_off_deletes_nothing_and_works_again_once_it_is_set_right() {
    for off in [1, -1].map(SignedDuration::from_hours) {
        let pair = Pair::start(0, 0);
        let (right, wrong) = (&pair.behind, &pair.ahead);
        let source = right.node.create_and_upload(&pair.bearer, b"an archive");
        wrong.clock.run_off_by(off);
        // Expired by its clock, or the engine refuses what it signs.
        assert_refused(
            &wrong.node.download(&source),
            if off.is_positive() { 410 } else { 503 },
        );
        let create = wrong.node.call("POST", "/v1/sources", &[&pair.bearer]);
        assert_refused(&create, 503);
        let swept = run(wrong.clock.rule(pair.store.command(&["sweep"])));
        assert_eq!(swept.code, Some(1), "{swept:?}");
        assert!(right.serves(&source, b"an archive"));

        pair.show(1);
        assert!(wrong.serves(&source, b"an archive"));
        wrong.node.create_source(&pair.bearer);
    }
}
