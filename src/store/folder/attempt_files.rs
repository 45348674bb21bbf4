//! All attempts to upload in parts: found at a start, listed, deleted when they expire, and looked at by an audit.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::layout::{AttemptFile, Minute};
use super::shared::{FolderStore, open_to_read};
use crate::clock::Timestamp;
use crate::source::SourceId;
use crate::store::archive::{Audit, Swept};
use crate::store::attempt::Attempt;
use crate::store::error::Result;

impl FolderStore {
    /// What an earlier server had begun can go on. Says how many could not, which are removed.
    pub(super) fn load_attempts(&self) -> Result<u64> {
        let mut lost = 0;
        for (source, attempt, file) in self.list_attempts()? {
            let path = self.layout.attempt(source, attempt, file);
            match file {
                AttemptFile::State => {}
                // It has the name of an archive, too.
                AttemptFile::Bytes if self.has_two_names(&path)? => {
                    self.remove_file(&path)?;
                }
                // Another upload was first. Its name says so: one that is damaged must not keep a server from starting.
                AttemptFile::Bytes if self.has_archive(source)? => {}
                AttemptFile::Bytes => {
                    let found = self.read_state(source, attempt)?;
                    if let Some(found) = found {
                        self.note_attempt(source, attempt, &found.progress.saved);
                    } else {
                        self.remove_attempt(source, attempt)?;
                        lost += 1;
                    }
                }
            }
        }
        Ok(lost)
    }

    /// Before anything is published, that is: of names that are being made durable nothing is known here.
    fn has_archive(&self, source: SourceId) -> Result<bool> {
        let path = self.layout.source(source);
        match self.call("stat", "inspect", &path, || fs::metadata(&path)) {
            Err(error) if error.is_not_found() => Ok(false),
            found => found.map(|_| true),
        }
    }

    fn has_two_names(&self, path: &Path) -> Result<bool> {
        let found = self.call("stat", "inspect", path, || fs::metadata(path))?;
        Ok(found.nlink() > 1)
    }

    fn list_attempts(&self) -> Result<Vec<(SourceId, Attempt, AttemptFile)>> {
        let mut found = Vec::new();
        for minute in self.list_names(&self.layout.attempts())? {
            if let Some(minute) = Minute::parse(&minute) {
                let names = self.list_names(&self.layout.attempts_of(minute))?;
                found.extend(names.iter().filter_map(|name| AttemptFile::parse(name)));
            }
        }
        Ok(found)
    }

    /// How long those will be, or are, that can go on.
    pub(crate) fn open_attempts(&self) -> Vec<(SourceId, Attempt, u64)> {
        self.attempt_book().list()
    }

    /// Deletes what has expired of attempts.
    pub(super) fn sweep_attempts(&self, now: Timestamp, swept: &mut Swept) -> Result<()> {
        for minute in self.list_names(&self.layout.attempts())? {
            let Some(minute) = Minute::parse(&minute).filter(|minute| minute.has_begun(now)) else {
                continue;
            };
            let folder = self.layout.attempts_of(minute);
            for name in self.list_names(&folder)? {
                match AttemptFile::parse(&name) {
                    Some((source, _, file)) if source.is_expired(now) => {
                        match self.remove_file(&folder.join(name)) {
                            Ok(_) => swept.broken += u64::from(file == AttemptFile::Bytes),
                            Err(error) => swept.note_failures(1, &error),
                        }
                    }
                    _ => {}
                }
            }
            self.remove_if_empty(&folder)?;
        }
        self.forget_expired_attempts(now);
        Ok(())
    }

    /// Counts those that can go on; one that has lost bytes is a fault.
    pub(super) fn audit_attempts(&self, audit: &mut Audit) -> Result<()> {
        let folder = self.layout.attempts();
        for minute in self.list_ours(&folder, Minute::parse, audit)? {
            let folder = self.layout.attempts_of(minute);
            for (source, attempt, file) in self.list_ours(&folder, AttemptFile::parse, audit)? {
                if file == AttemptFile::Bytes {
                    self.audit_attempt(source, attempt, audit)?;
                }
            }
        }
        Ok(())
    }

    fn audit_attempt(&self, source: SourceId, attempt: Attempt, audit: &mut Audit) -> Result<()> {
        let state = self.read_state(source, attempt)?;
        let path = self.layout.attempt(source, attempt, AttemptFile::Bytes);
        let length = match open_to_read(&path).and_then(|file| file.metadata()) {
            Ok(found) => found.len(),
            // It ended just now.
            Err(_) => return Ok(()),
        };
        match state {
            Some(state) if state.progress.saved.offset <= length => audit.attempts += 1,
            Some(state) => audit.faults.push(format!(
                "{} has {length} bytes, and {} were sent: this upload in parts cannot go on",
                path.display(),
                state.progress.saved.offset
            )),
            None => audit.staged += 1,
        }
        Ok(())
    }

    /// Its state first: what is left without one was never reported. From then on nobody resumes it, and no room is kept
    /// for it, although bytes that cannot be removed stay until the source expires.
    pub(super) fn remove_attempt(&self, source: SourceId, attempt: Attempt) -> Result<()> {
        self.remove_file(&self.layout.attempt(source, attempt, AttemptFile::State))?;
        self.forget_attempt(source, attempt);
        self.remove_file(&self.layout.attempt(source, attempt, AttemptFile::Bytes))?;
        Ok(())
    }
}
