//! Waiting in this process for changes: followers for their application, runners for work.
//!
//! It only saves waiting. What is true stands in the store, where others may have changed it: so everybody who waits
//! here looks there each second, too.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::records::Deployment;
use crate::mutex::lock;

/// What happened last in an application.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    /// How often a deployment began, went on or ended.
    pub(super) states: u64,
    /// What was appended last to a log.
    pub(super) tail: Option<Tail>,
}

#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
}

/// An application that somebody follows: what its followers share.
#[derive(Debug, Default)]
pub(super) struct Feed {
    pub(super) change: watch::Sender<Change>,
    /// What one of them saw last.
    pub(super) look: tokio::sync::Mutex<Option<Look>>,
}

/// The deployments of an application, as they were in the store.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    /// How many changes of state had been noted before.
    pub(super) states: u64,
    pub(super) deployments: Arc<Vec<Deployment>>,
}

#[derive(Default)]
pub(super) struct Changes {
    feeds: Mutex<HashMap<[u8; 16], Weak<Feed>>>,
    /// Something can be claimed that could not before.
    pub(super) work: Notify,
    /// How often that was so.
    works: AtomicU64,
}

impl Changes {
    pub(super) fn follow(&self, app: [u8; 16]) -> Arc<Feed> {
        let mut feeds = lock(&self.feeds);
        if let Some(feed) = feeds.get(&app).and_then(Weak::upgrade) {
            return feed;
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let feed = Arc::<Feed>::default();
        feeds.insert(app, Arc::downgrade(&feed));
        feed
    }

    /// A deployment began, went on or ended.
    pub(super) fn note_state(&self, app: [u8; 16]) {
        self.note(app, |change| change.states += 1);
        self.works.fetch_add(1, Ordering::Relaxed);
        self.work.notify_waiters();
    }

    pub(super) fn works(&self) -> u64 {
        self.works.load(Ordering::Relaxed)
    }

    pub(super) fn note_log(&self, app: [u8; 16], tail: Tail) {
        self.note(app, |change| change.tail = Some(tail));
    }

    fn note(&self, app: [u8; 16], note: impl FnOnce(&mut Change)) {
        let feed = lock(&self.feeds).get(&app).and_then(Weak::upgrade);
        if let Some(feed) = feed {
            feed.change.send_modify(note);
        }
    }
}
