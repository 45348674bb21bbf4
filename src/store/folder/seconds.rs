//! The folders of seconds, in which archives get their names: made durably, as often as they are
//! removed.
//!
//! A sweep removes those whose second is over. It may be that of a command, which is another process, and
//! an operator may remove any of them by hand: so one that was known to be there may be gone.

use super::layout::ExpirySecond;
use super::shared::FolderStore;
use crate::clock::Timestamp;
use crate::mutex::lock;
use crate::store::error::Result;

impl FolderStore {
    /// Sees to it that a second's folder is there, durably. Nobody waits for others here: of two that make
    /// the same one, each syncs its name.
    pub(super) fn ensure_second(&self, second: ExpirySecond) -> Result<()> {
        if lock(&self.durable_seconds).contains(&second) {
            return Ok(());
        }
        let minute = self.layout.minute(second.minute());
        self.make_name(&minute)?;
        self.make_name(&self.layout.second(second))?;
        // Also if they were there: whoever made them may not have synced them yet.
        self.sync_folder(&minute)?;
        self.sync_folder(&self.layout.sources())?;
        lock(&self.durable_seconds).insert(second);
        Ok(())
    }

    /// A second's folder was not there.
    pub(super) fn forget_second(&self, second: ExpirySecond) {
        lock(&self.durable_seconds).remove(&second);
    }

    /// Forgets the seconds whose folders are swept, by whomever.
    pub(super) fn forget_seconds_before(&self, now: Timestamp) {
        lock(&self.durable_seconds).retain(|second| !second.is_over(now));
    }
}
