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

use super::layout::ExpirySecond;
use super::room::Reservation;
use super::shared::{Shared, io_error, is_not_found};
use super::stage::StageFile;
use super::threads::{Work, settle};
use super::turns::Turn;
use super::{download, footer};
use crate::error_chain::chain;
use crate::source::{Facts, SourceId};
use crate::store::archive::Published;
use crate::store::error::StoreError;

/// How often a folder may be taken away under a publication before it fails.
const LINK_ATTEMPTS: u32 = 3;

/// A complete upload in the stage.
#[derive(Debug)]
pub struct StagedFile {
    shared: Arc<Shared>,
    source: SourceId,
    stage: StageFile,
    _room: Reservation,
}

impl StagedFile {
    pub(super) fn new(
        shared: Arc<Shared>,
        source: SourceId,
        stage: StageFile,
        room: Reservation,
    ) -> Self {
        Self {
            shared,
            source,
            stage,
            _room: room,
        }
    }

    /// A publication that has begun goes on even if nobody waits for its end any more.
    pub(in crate::store) async fn publish(self, facts: Facts) -> Result<Published, StoreError> {
        let publication = async move {
            let shared = Arc::clone(&self.shared);
            let turn = shared.turns.take(self.source).await;
            let publish = move |_: &Arc<Shared>| self.publish_in_turn(turn, &facts);
            shared.run(Work::Write, publish).await
        };
        settle(tokio::spawn(publication).await)
    }

    pub(in crate::store) async fn abandon(self) {
        let shared = Arc::clone(&self.shared);
        let removal = move |_: &Arc<Shared>| {
            drop(self);
            Ok(())
        };
        // Only the server's end can keep it from running, and that drops the file as well.
        let _ = shared.run(Work::Write, removal).await;
    }

    fn publish_in_turn(mut self, turn: Turn, facts: &Facts) -> Result<Published, StoreError> {
        let published = self.publish_blocking(&turn, facts);
        // Before the turn ends: of an archive that was taken back no name may be left by then.
        drop(self);
        drop(turn);
        published
    }

    fn publish_blocking(&mut self, turn: &Turn, facts: &Facts) -> Result<Published, StoreError> {
        if let Some(first) = download::open(&self.shared, self.source)? {
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
    fn link(&self) -> Result<(), StoreError> {
        let mut attempt = 1;
        loop {
            match self.try_link() {
                Err(error) if is_not_found(&error) && attempt < LINK_ATTEMPTS => {
                    self.shared.forget_second(ExpirySecond::of(self.source));
                    self.shared.make_folders()?;
                    attempt += 1;
                }
                linked => return linked,
            }
        }
    }

    fn try_link(&self) -> Result<(), StoreError> {
        let second = ExpirySecond::of(self.source);
        self.shared.ensure_second(second)?;
        let target = self.shared.layout.source(self.source);
        let link = || fs::hard_link(self.stage.path(), &target);
        if let Err(error) = self.shared.faults.call("link", link) {
            // The name may have been made although the system says otherwise, as where the answer of a
            // network file system is lost.
            if error.kind() != io::ErrorKind::AlreadyExists {
                self.unlink(&target);
            }
            return Err(io_error("publish", &target, error));
        }
        self.shared
            .sync_folder(&self.shared.layout.second(second))
            .inspect_err(|_| self.unlink(&target))
    }

    /// Takes a name back whose durability is unknown: its upload is answered with an error.
    fn unlink(&self, target: &Path) {
        if let Err(error) = self.shared.remove_file(target) {
            tracing::error!(
                error = chain(&error),
                "an archive stays although its upload was refused; it goes when it expires"
            );
        }
    }
}
