//! Where an upload becomes durable and visible: in one step, once, never over another.
//!
//! ```text
//! stage: bytes, facts ── sync ──> link <second>/<source> ── sync folder ──> unlink stage name
//!                                   │ the name is taken: the first upload stays
//! ```
//!
//! The link appears before its folder is synced. Until that has happened, readers are told that
//! there is nothing ([`is_linking`](super::turns::Turns::is_linking)), so nobody can have seen an
//! archive that a power cut takes back.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, MutexGuard};

use super::layout::{ExpirySecond, Minute};
use super::stage::StageFile;
use super::turns::Turn;
use super::upload::drop_blocking;
use super::{Parents, Shared, download, footer, run_blocking};
use crate::source::{Facts, SourceId};
use crate::store::{Published, StoreError};

/// How often a sweep may take a folder away before a publication into it fails.
const LINK_ATTEMPTS: u32 = 3;

/// A complete upload in the stage.
#[derive(Debug)]
pub struct StagedFile {
    shared: Arc<Shared>,
    source: SourceId,
    stage: StageFile,
}

impl StagedFile {
    pub(super) fn new(shared: Arc<Shared>, source: SourceId, stage: StageFile) -> Self {
        Self {
            shared,
            source,
            stage,
        }
    }

    pub(in crate::store) async fn publish(self, facts: Facts) -> Result<Published, StoreError> {
        run_blocking(move || self.publish_blocking(&facts)).await
    }

    pub(in crate::store) async fn abandon(self) {
        drop_blocking(self).await;
    }

    fn publish_blocking(mut self, facts: &Facts) -> Result<Published, StoreError> {
        self.stage.write(&footer::encode(self.source, facts))?;
        self.stage.sync()?;

        let shared = Arc::clone(&self.shared);
        let turn = shared.turns.take(self.source);
        let published = self.publish_in_turn(&turn, facts);
        // Before the turn ends: of an archive that was taken back no name may be left by then.
        drop(self);
        published
    }

    fn publish_in_turn(&self, turn: &Turn<'_>, facts: &Facts) -> Result<Published, StoreError> {
        if let Some(first) = download::open(&self.shared, self.source)? {
            return Ok(Published::AlreadyUploaded(first.facts));
        }
        turn.start_linking();
        self.link()?;
        Ok(Published::New(*facts))
    }

    /// Gives the file its name, durably, or leaves no name behind. Again if a folder, empty, was swept away
    /// in between: a sweep by a command, which is another process, keeps no lock of this one.
    fn link(&self) -> Result<(), StoreError> {
        let mut attempt = 1;
        loop {
            match self.try_link() {
                Err(error) if is_not_found(&error) && attempt < LINK_ATTEMPTS => {
                    self.shared.forget_second(ExpirySecond::of(self.source));
                    attempt += 1;
                }
                linked => return linked,
            }
        }
    }

    fn try_link(&self) -> Result<(), StoreError> {
        let target = self.shared.layout.source(self.source);
        let second = ExpirySecond::of(self.source);
        self.shared.ensure_second(second)?;
        let link = || fs::hard_link(self.stage.path(), &target);
        if let Err(error) = self.shared.faults.call("link", link) {
            // The name may have been made although the system says otherwise, as where the answer of a
            // network file system is lost.
            if error.kind() != io::ErrorKind::AlreadyExists {
                self.unlink(&target);
            }
            return Err(self.shared.error("publish", &target, error));
        }
        self.shared
            .sync_folder(&self.shared.layout.second(second))
            .inspect_err(|_| self.unlink(&target))
    }

    /// Takes a name back whose durability is unknown: its upload is answered with an error.
    fn unlink(&self, target: &Path) {
        if let Err(error) = self.shared.remove_file(target) {
            tracing::error!(
                error = crate::error_chain::chain(&error),
                "an archive stays although its upload was refused; it goes when it expires"
            );
        }
    }
}

fn is_not_found(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

impl Shared {
    /// Sees to it that a second's folder is there, durably.
    fn ensure_second(&self, second: ExpirySecond) -> Result<(), StoreError> {
        let mut seconds = self.known_seconds();
        if seconds.contains(&second) {
            return Ok(());
        }
        let minute = self.layout.minute(second.minute());
        self.make_folder(&minute, Parents::AreThere)?;
        self.make_folder(&self.layout.second(second), Parents::AreThere)?;
        // Either may have been made by a server that ended before it could sync the name.
        self.sync_folder(&minute)?;
        self.sync_folder(&self.layout.sources())?;
        seconds.insert(second);
        Ok(())
    }

    fn forget_second(&self, second: ExpirySecond) {
        self.known_seconds().remove(&second);
    }

    /// Removes the empty folder of a second. Folders are made under the same lock, so none is taken
    /// away under a publication that has just seen it.
    pub(super) fn remove_second(&self, second: ExpirySecond) -> io::Result<()> {
        let mut seconds = self.known_seconds();
        seconds.remove(&second);
        let folder = self.layout.second(second);
        self.faults.call("rmdir", || fs::remove_dir(folder))
    }

    /// Removes the empty folder of a minute, under the same lock.
    pub(super) fn remove_minute(&self, minute: Minute) -> io::Result<()> {
        let _seconds = self.known_seconds();
        let folder = self.layout.minute(minute);
        self.faults.call("rmdir", || fs::remove_dir(folder))
    }

    fn known_seconds(&self) -> MutexGuard<'_, HashSet<ExpirySecond>> {
        self.seconds.lock().expect("no panic while it is held")
    }
}
