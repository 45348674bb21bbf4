//! Pins as empty files beside the archives that they keep: the name says it all.
//!
//! Whoever pins holds a lock from the look at the archive until the pin is there, and a sweep holds it from its
//! look at the pins until what has none is deleted: so no archive goes of which somebody was told that it stays.

use std::fs::File;
use std::sync::Arc;

use super::layout::ExpirySecond;
use super::shared::{FolderStore, private_file};
use super::threads::Work;
use crate::error_chain::chain;
use crate::source::SourceId;
use crate::store::error::Result;
use crate::store::pin::Pin;

impl FolderStore {
    /// Pins an archive; says whether there is one.
    pub(crate) async fn pin(self: &Arc<Self>, source: SourceId, pin: Pin) -> Result<bool> {
        let pin = move |store: &Arc<Self>| store.place_pin(source, pin);
        self.run(Work::Look, pin).await
    }

    /// That it is gone is not synced: it would end by itself.
    pub(crate) async fn unpin(self: &Arc<Self>, source: SourceId, pin: Pin) -> Result<()> {
        let unpin = move |store: &Arc<Self>| {
            let path = store.layout.pin(source, pin);
            store.remove_file(&path).map(drop)
        };
        self.run(Work::Look, unpin).await
    }

    fn place_pin(self: &Arc<Self>, source: SourceId, pin: Pin) -> Result<bool> {
        let lock = self.take_lock(&self.layout.pins_lock())?;
        if self.open_waiting(source)?.is_none() {
            return Ok(false);
        }
        let path = self.layout.pin(source, pin);
        let mut options = private_file();
        options.create_new(true);
        let made = self.call("create", "create", &path, || options.open(&path));
        drop(lock);
        let folder = self.layout.second(ExpirySecond::of(source));
        let placed = made.and_then(|_| self.sync_folder(&folder));
        if placed.is_err()
            && let Err(error) = self.remove_file(&path)
        {
            tracing::error!(
                error = chain(&error),
                "a pin stays although it was refused: its archive is kept until it ends"
            );
        }
        placed.map(|()| true)
    }

    /// The lock for a sweep; `None` where no server has ever pinned anything. It may be that of a command by
    /// another user, who would make a lock that only they can hold.
    pub(super) fn lock_pins_to_sweep(&self) -> Result<Option<File>> {
        let path = self.layout.pins_lock();
        let file = match self.call("open", "open", &path, || private_file().open(&path)) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened?,
        };
        self.call("flock", "lock", &path, || file.lock())?;
        Ok(Some(file))
    }
}
