//! Each status that is described was answered in some test. `./test` runs it at its end, when the other tests have
//! noted in `target/described` what they saw, and it names those that none has seen.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

use waystation_testing::description::{described, notes};

#[test]
fn each_status_that_is_described_was_seen() {
    let operations = described().operations().into_iter();
    let all = operations.flat_map(|operation| {
        let statuses = operation.statuses().into_iter();
        let named = statuses.map(move |status| format!("{} {status}", operation.id()));
        named.collect::<Vec<_>>()
    });
    let unproven: Vec<_> = all.filter(|name| !notes().join(name).exists()).collect();
    assert!(
        unproven.is_empty(),
        "no test saw these: find one, or take them out of the description: {unproven:#?}"
    );
}
