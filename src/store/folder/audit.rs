//! Listing everything, for an audit.

use std::path::Path;
use std::sync::Arc;

use super::layout::{ExpirySecond, Minute, parse_entry};
use super::shared::FolderStore;
use super::threads::Work;
use crate::source::SourceId;
use crate::store::archive::Audit;
use crate::store::error::{Result, StoreError};
use crate::store::journal::JournalKey;

impl FolderStore {
    /// All archives; what is in the stage and what is a journal is counted, and what is not ours is a fault.
    pub(crate) async fn list_all(self: &Arc<Self>) -> Result<(Vec<SourceId>, Audit)> {
        let list = |store: &Arc<Self>| {
            let mut audit = Audit {
                staged: store.list_names(&store.layout.stage())?.len() as u64,
                ..Audit::default()
            };
            let mut found = Vec::new();
            let folder = store.layout.sources();
            for minute in store.list_ours(&folder, Minute::parse, &mut audit)? {
                let folder = store.layout.minute(minute);
                let parse_second = |name: &str| minute.parse_second(name);
                for second in store.list_ours(&folder, parse_second, &mut audit)? {
                    let folder = store.layout.second(second);
                    for (source, pin) in store.list_ours(&folder, parse_entry, &mut audit)? {
                        if ExpirySecond::of(source) != second {
                            audit.faults.push(format!(
                                "{source} is in {}, the folder of another second: nobody can download it",
                                folder.display()
                            ));
                        } else if pin.is_none() {
                            found.push(source);
                        }
                    }
                }
            }
            store.audit_attempts(&mut audit)?;
            store.audit_journals(&mut audit)?;
            Ok((found, audit))
        };
        self.run(Work::Look, list).await
    }

    fn audit_journals(&self, audit: &mut Audit) -> Result<()> {
        let folder = self.layout.journals();
        for key in self.list_ours(&folder, JournalKey::parse, audit)? {
            match self.check_journal(&key) {
                Ok(()) => audit.journals += 1,
                Err(corrupt @ StoreError::Corrupt { .. }) => audit.faults.push(corrupt.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn list_ours<T>(
        &self,
        folder: &Path,
        parse: impl Fn(&str) -> Option<T>,
        audit: &mut Audit,
    ) -> Result<Vec<T>> {
        let mut ours = Vec::new();
        for name in self.list_names(folder)? {
            match parse(&name) {
                Some(found) => ours.push(found),
                None => audit.faults.push(format!(
                    "{} is nothing that this store made",
                    folder.join(name).display()
                )),
            }
        }
        Ok(ours)
    }
}
