//! What a journal is: bytes that are only ever appended to, under a name of ours. Pure.

use std::fmt;

use super::error::{Result, StoreError};

/// The most bytes that are appended at once.
pub const MAX_APPEND_BYTES: usize = 1024 * 1024;

/// Where all journals are, from the root of the store.
pub(super) const JOURNALS: &str = "journals";

/// Which journal: that of one deployment of an application, by the application's id and the deployment's
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalKey {
    app: [u8; 16],
    number: u64,
}

impl JournalKey {
    pub const fn new(app: [u8; 16], number: u64) -> Self {
        Self { app, number }
    }

    /// Its name among the journals.
    pub(super) fn name(&self) -> String {
        format!("{}-{:020}", hex::encode(self.app), self.number)
    }

    /// The journal of this name; `None` if none is called that.
    pub fn parse(name: &str) -> Option<Self> {
        let (app, number) = name.split_once('-')?;
        let app = hex::decode(app).ok()?.try_into().ok()?;
        let key = Self::new(app, number.parse().ok()?);
        (key.name() == name).then_some(key)
    }
}

impl fmt::Display for JournalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{JOURNALS}/{}", self.name())
    }
}

/// How appending to a journal ended. Its length is that of what is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The bytes are there, durably.
    Done { length: u64 },
    /// The same bytes were there already; nothing has changed.
    Repeated { length: u64 },
    /// The journal does not end at that offset, and other bytes are there, or none. Nothing has changed.
    Mismatch { length: u64 },
}

pub(super) const fn check_append(bytes: usize) -> Result<()> {
    if bytes > MAX_APPEND_BYTES {
        return Err(StoreError::AppendTooLong {
            bytes,
            limit_bytes: MAX_APPEND_BYTES,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_no_other_spelling_of_it() {
        for number in [0, 1, 12, u64::MAX] {
            let key = JournalKey::new([0xab; 16], number);
            assert_eq!(JournalKey::parse(&key.name()), Some(key));
        }
        let app = "ab".repeat(16);
        for other in [
            String::new(),
            app.clone(),
            format!("{app}-1"),
            format!("{app}-+0000000000000000001"),
            format!("{app}-99999999999999999999"),
            format!("{}-00000000000000000001", app.to_uppercase()),
            format!("ab-{:020}", 1),
            format!("{app}-{:020}-", 1),
        ] {
            assert_eq!(JournalKey::parse(&other), None, "{other}");
        }
    }

    #[test]
    fn the_journals_of_an_application_sort_by_number() {
        let name = |number| JournalKey::new([1; 16], number).name();
        assert!(name(2) < name(10) && name(10) < name(u64::MAX));
    }
}
