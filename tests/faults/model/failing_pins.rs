//! Pins: each call of each operation fails, in each way, or is the last before a crash. An archive of which it
//! was said that it stays is there until the pin is taken away or ends, and then it goes.

use std::time::Duration;

use waystation::clock::Timestamp;
use waystation::source::SourceId;
use waystation::store::{Audit, Pin, Store};

use super::place::Place;
use super::reference::LIFETIME;
use super::run::START;
use super::trouble::{Bad, Trouble, fail_each_call};
use crate::staging::{begin, publish, stage};

fn source() -> SourceId {
    SourceId::mint(START.after(LIFETIME), [1; 10])
}

/// When the archive is deleted if nothing keeps it.
fn after_expiry() -> Timestamp {
    source().expires_at().after(Duration::from_mins(1))
}

fn until() -> Timestamp {
    source().expires_at().after(Duration::from_mins(90))
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Pin,
    Unpin,
    /// A sweep while it is pinned.
    SweepPinned,
    /// A sweep when the pin has ended.
    SweepEnded,
}

const OPERATIONS: [Operation; 4] = [
    Operation::Pin,
    Operation::Unpin,
    Operation::SweepPinned,
    Operation::SweepEnded,
];

/// Does it with calls that fail, and says whether there were any.
async fn try_bad(place: &Place, operation: Operation, bad: Bad) -> bool {
    let trouble = Trouble::default();
    let (store, _) = place.open(&trouble).await.unwrap();
    publish(stage(begin(&store, source()).await, "an archive").await).await;
    let before = match operation {
        Operation::Pin => None,
        Operation::Unpin | Operation::SweepPinned | Operation::SweepEnded => {
            store.pin(source(), until()).await.unwrap()
        }
    };
    trouble.begin(Some(bad.fault), bad.dies_after, false);
    let (pin, is_done) = run(operation, &store, before).await;
    let (failed, is_dead) = (trouble.end().calls > 0, trouble.is_dead());
    let what = format!("{operation:?} {bad:?}");
    assert!(is_done || failed || is_dead, "{what}");

    drop(store);
    let (store, _) = place.open(&Trouble::default()).await.unwrap();
    store.sweep(after_expiry()).await.unwrap();
    let is_there = store.open(source()).await.unwrap().is_some();
    match operation {
        // What a call that failed may have left keeps it, at most until the deadline.
        Operation::Pin | Operation::Unpin if !is_done => {}
        Operation::Pin | Operation::SweepPinned => assert!(is_there, "{what}"),
        Operation::Unpin => assert!(!is_there, "{what}"),
        Operation::SweepEnded => {}
    }
    if let Some(pin) = pin {
        store.unpin(source(), &pin).await.unwrap();
        store.sweep(after_expiry()).await.unwrap();
        assert!(store.open(source()).await.unwrap().is_none(), "{what}");
    }
    store
        .sweep(until().after(Duration::from_mins(1)))
        .await
        .unwrap();
    assert_eq!(store.audit().await.unwrap(), Audit::default(), "{what}");
    assert_eq!(
        place
            .entries()
            .await
            .iter()
            .filter(|entry| entry.contains("pin-"))
            .count(),
        0
    );
    failed || is_dead
}

/// Which pin is there then, as far as its holder knows, and whether it was done.
async fn run(operation: Operation, store: &Store, pin: Option<Pin>) -> (Option<Pin>, bool) {
    match operation {
        Operation::Pin => match store.pin(source(), until()).await {
            Ok(pin) => (Some(pin.expect("it is there")), true),
            Err(_) => (None, false),
        },
        Operation::Unpin => {
            let unpinned = store.unpin(source(), &pin.unwrap()).await;
            (pin.filter(|_| unpinned.is_err()), unpinned.is_ok())
        }
        Operation::SweepPinned => {
            let swept = store.sweep(after_expiry()).await;
            assert!(swept.as_ref().is_ok_and(|swept| swept.sources == 0) || swept.is_err());
            (pin, swept.is_ok_and(|swept| swept.failures == 0))
        }
        Operation::SweepEnded => {
            let swept = store.sweep(until().after(Duration::from_mins(1))).await;
            (None, swept.is_ok_and(|swept| swept.failures == 0))
        }
    }
}

async fn try_each(new_place: fn() -> Place) {
    let tries = async |operation, bad| try_bad(&new_place(), operation, bad).await;
    fail_each_call("pins", &OPERATIONS, true, tries).await;
}

#[tokio::test]
async fn each_call_about_a_pin_in_a_folder_may_fail() {
    try_each(Place::in_folder).await;
}

#[tokio::test]
async fn each_call_about_a_pin_in_a_bucket_may_fail() {
    try_each(Place::in_memory).await;
}
