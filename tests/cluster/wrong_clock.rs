//! A node whose clock is far off. What clocks a few seconds apart do is in `tests/faults/model/two_nodes.rs`.

use jiff::SignedDuration;
use waystation_testing::program::run;
use waystation_testing::seaweedfs::SeaweedFs;
use waystation_testing::wall_clock::WallClock;
use waystation_testing::{Server, assert_refused};

use crate::shared_store::SharedStore;

#[test]
fn a_node_whose_clock_is_an_hour_off_deletes_nothing_and_works_again_once_it_is_set_right() {
    let store = SharedStore::on(SeaweedFs::shared());
    let right = Server::start(store.serve(&[]));
    let clock = WallClock::new();
    let wrong = Server::start(clock.rule(store.serve(&[])));
    let bearer = store.create_bearer();
    for off in [1, -1].map(SignedDuration::from_hours) {
        let source = right.create_and_upload(&bearer, b"an archive");
        clock.run_off_by(off);
        // Expired by its clock, or the object store refuses what it signs.
        let status = if off.is_positive() { 410 } else { 503 };
        assert_refused(&wrong.download(&source), status);
        let create = wrong.call("POST", "/v1/sources", &[&bearer]);
        assert_refused(&create, 503);
        let swept = run(clock.rule(store.command(&["sweep"])));
        assert_eq!(swept.code, Some(1), "{swept:?}");
        assert_eq!(right.download(&source).body, b"an archive");

        clock.run_off_by(SignedDuration::ZERO);
        assert_eq!(wrong.download(&source).body, b"an archive");
        wrong.create_source(&bearer);
    }
}
