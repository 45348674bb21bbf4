//! Two uploads to one source, and somebody who downloads meanwhile.
//!
//! The steps are those of `src/store/folder/publish.rs` and `download.rs`, on a folder of one name.

use std::collections::BTreeSet;
use std::sync::{Arc as StdArc, Mutex as StdMutex};

use loom::sync::atomic::{AtomicU8, Ordering::SeqCst};
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::turns::Turns;
use crate::{PREEMPTIONS, in_each_order};

const SOURCE: u8 = 0;

/// What a folder has under the source's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    upload: u8,
    is_durable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Published {
    New,
    AlreadyUploaded(u8),
    Failed,
}

struct Store {
    turns: Turns<u8>,
    name: Mutex<Option<Name>>,
}

impl Store {
    /// The upload that a reader is given, once opened and looked at again.
    fn download(&self) -> Option<u8> {
        let opened = self.name()?;
        if self.turns.is_linking(SOURCE) {
            return None;
        }
        // Has the file that was opened a name still?
        let named = self.name()?;
        (named.upload == opened.upload).then_some(opened.upload)
    }

    fn publish(&self, upload: u8, is_synced: bool) -> Published {
        let turn = self.turns.take(SOURCE);
        if let Some(first) = self.download() {
            return Published::AlreadyUploaded(first);
        }
        turn.start_linking();
        self.set(Some(Name {
            upload,
            is_durable: false,
        }));
        if !is_synced {
            self.set(None);
            return Published::Failed;
        }
        self.set(Some(Name {
            upload,
            is_durable: true,
        }));
        Published::New
    }

    fn name(&self) -> Option<Name> {
        *self.name.lock().unwrap()
    }

    fn set(&self, name: Option<Name>) {
        *self.name.lock().unwrap() = name;
    }
}

/// Two publish, the first of whom cannot sync if that is said, and one reads. All that came of it, in all
/// orders: what the two were told, and what the reader got.
fn meet(is_first_synced: bool) -> BTreeSet<(Published, Published, Option<u8>)> {
    let outcomes = StdArc::new(StdMutex::new(BTreeSet::new()));
    let seen = StdArc::clone(&outcomes);
    let orders = in_each_order(PREEMPTIONS, move || {
        let store = Arc::new(Store {
            turns: Turns::new(),
            name: Mutex::new(None),
        });
        let publish = |upload, is_synced| {
            let store = Arc::clone(&store);
            thread::spawn(move || store.publish(upload, is_synced))
        };
        let (first, second) = (publish(1, is_first_synced), publish(2, true));
        let read = store.download();
        if let Some(upload) = read {
            let name = Name {
                upload,
                is_durable: true,
            };
            assert_eq!(store.name(), Some(name));
        }
        let outcome = (first.join().unwrap(), second.join().unwrap(), read);
        seen.lock().unwrap().insert(outcome);
    });
    println!("the first can sync: {is_first_synced}: {orders} orders");
    StdArc::try_unwrap(outcomes).unwrap().into_inner().unwrap()
}

#[test]
fn one_of_two_is_new_and_a_reader_gets_it_or_nothing() {
    use Published::{AlreadyUploaded, New};
    let expected = [
        (New, AlreadyUploaded(1), None),
        (New, AlreadyUploaded(1), Some(1)),
        (AlreadyUploaded(2), New, None),
        (AlreadyUploaded(2), New, Some(2)),
    ];
    assert_eq!(meet(true), BTreeSet::from(expected));
}

#[test]
fn one_that_is_taken_back_is_seen_by_nobody() {
    use Published::{AlreadyUploaded, Failed, New};
    let expected = [
        (Failed, New, None),
        (Failed, New, Some(2)),
        (AlreadyUploaded(2), New, None),
        (AlreadyUploaded(2), New, Some(2)),
    ];
    assert_eq!(meet(false), BTreeSet::from(expected));
}

#[test]
fn a_turn_is_given_to_one_at_a_time_whoever_else_has_ended() {
    let orders = in_each_order(PREEMPTIONS, || {
        let turns = Arc::new(Turns::new());
        let publishing = Arc::new([AtomicU8::new(0), AtomicU8::new(0)]);
        let threads: Vec<_> = [0, 0, 1]
            .map(|source: usize| {
                let (turns, publishing) = (Arc::clone(&turns), Arc::clone(&publishing));
                thread::spawn(move || {
                    let _turn = turns.take(source);
                    assert_eq!(publishing[source].fetch_add(1, SeqCst), 0);
                    publishing[source].fetch_sub(1, SeqCst);
                })
            })
            .into();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    println!("two sources: {orders} orders");
}
