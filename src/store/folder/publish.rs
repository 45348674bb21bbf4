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

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::footer;
use super::hold::Leaving;
use super::layout::ExpirySecond;
use super::room::Reservation;
use super::shared::FolderStore;
use super::stage::StageFile;
use super::threads::Work;
use super::turns::Turn;
use crate::error_chain::chain;
use crate::source::{Facts, SourceId};
use crate::store::archive::Published;
use crate::store::error::{Result, settle};

/// How often a folder may be taken away under a publication before it fails.
const LINK_ATTEMPTS: u32 = 3;

#[derive(Debug)]
pub struct StagedFile {
    pub(super) store: Arc<FolderStore>,
    pub(super) source: SourceId,
    pub(super) stage: StageFile,
    pub(super) _room: Reservation,
}

impl StagedFile {
    /// A publication that has begun goes on even if nobody waits for its end any more.
    pub(crate) async fn publish(self, facts: Facts) -> Result<Published> {
        let publication = async move {
            let store = Arc::clone(&self.store);
            let turn = store.turns.take(self.source).await;
            let publish = move |_: &Arc<FolderStore>| self.publish_in_turn(turn, &facts);
            store.run(Work::Write, publish).await
        };
        settle(tokio::spawn(publication).await)
    }

    pub(crate) async fn abandon(mut self) {
        self.stage.leave(Leaving::Cancelled);
        let store = Arc::clone(&self.store);
        store.drop_waiting(self).await;
    }

    fn publish_in_turn(mut self, turn: Turn<SourceId>, facts: &Facts) -> Result<Published> {
        let published = self.publish_blocking(&turn, facts);
        if published.is_ok() {
            self.stage.leave(Leaving::Ended);
        }
        let (store, source) = (Arc::clone(&self.store), self.source);
        // Before the turn ends: of an archive that was taken back no name may be left by then.
        drop(self);
        drop(turn);
        if published.is_ok() {
            // Once others can see it: one that begins notes that first, and then looks.
            store.forget_attempt_of(source);
        }
        published
    }

    fn publish_blocking(&mut self, turn: &Turn<SourceId>, facts: &Facts) -> Result<Published> {
        if let Some(first) = self.store.open_waiting(self.source)? {
            return Ok(Published::AlreadyUploaded(first.facts));
        }
        self.stage.write(&footer::encode(self.source, facts))?;
        self.stage.sync()?;
        turn.start_linking();
        self.link()?;
        Ok(Published::New(*facts))
    }

    /// Gives the file its name, durably, or leaves no name behind. Again if a folder was taken away in
    /// between.
    fn link(&self) -> Result<()> {
        let mut attempt = 1;
        loop {
            match self.try_link() {
                Err(error) if error.is_not_found() && attempt < LINK_ATTEMPTS => {
                    self.store.forget_second(ExpirySecond::of(self.source));
                    self.store.make_folders()?;
                    attempt += 1;
                }
                linked => return linked,
            }
        }
    }

    fn try_link(&self) -> Result<()> {
        let second = ExpirySecond::of(self.source);
        self.store.ensure_second(second)?;
        let target = self.store.layout.source(self.source);
        let link = || fs::hard_link(self.stage.path(), &target);
        if let Err(error) = self.store.call("link", "publish", &target, link) {
            // The name may have been made although the system says otherwise, as where the answer of a
            // network file system is lost.
            if error.io_kind() != Some(io::ErrorKind::AlreadyExists) {
                self.unlink(&target);
            }
            return Err(error);
        }
        self.store
            .sync_folder(&self.store.layout.second(second))
            .inspect_err(|_| self.unlink(&target))
    }

    /// Takes a name back whose durability is unknown: its upload is answered with an error.
    fn unlink(&self, target: &Path) {
        if let Err(error) = self.store.remove_file(target) {
            tracing::error!(
                error = chain(&error),
                "an archive stays although its upload was refused; it goes when it expires"
            );
        }
    }
}
