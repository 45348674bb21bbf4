//! Reading everything and saying what does not fit together.

use std::fs::{self, DirEntry};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::layout::{ExpirySecond, Minute, parse_source};
use super::{Shared, download};
use crate::digest::Sha256Digest;
use crate::source::{Facts, SourceId};
use crate::store::{Audit, StoreError};

/// Reads every archive whole. Uploads and sweeps may go on meanwhile.
pub(super) fn audit(shared: &Shared) -> Result<Audit, StoreError> {
    let mut audit = Audit {
        staged: list(shared, &shared.layout.stage())?.len() as u64,
        ..Audit::default()
    };
    for entry in list(shared, &shared.layout.sources())? {
        match Minute::parse(&entry.file_name()) {
            Some(minute) => audit_minute(shared, minute, &mut audit)?,
            None => audit.faults.push(foreign(&entry)),
        }
    }
    Ok(audit)
}

fn audit_minute(shared: &Shared, minute: Minute, audit: &mut Audit) -> Result<(), StoreError> {
    for entry in list(shared, &shared.layout.minute(minute))? {
        match minute.parse_second(&entry.file_name()) {
            Some(second) => audit_second(shared, second, audit)?,
            None => audit.faults.push(foreign(&entry)),
        }
    }
    Ok(())
}

fn audit_second(
    shared: &Shared,
    second: ExpirySecond,
    audit: &mut Audit,
) -> Result<(), StoreError> {
    for entry in list(shared, &shared.layout.second(second))? {
        match parse_source(&entry.file_name()) {
            Some(source) if ExpirySecond::of(source) == second => {
                audit_source(shared, source, audit)?;
            }
            Some(_) => audit.faults.push(format!(
                "{} is in the folder of another second: nobody can download it",
                entry.path().display()
            )),
            None => audit.faults.push(foreign(&entry)),
        }
    }
    Ok(())
}

fn audit_source(shared: &Shared, source: SourceId, audit: &mut Audit) -> Result<(), StoreError> {
    let facts = match download::open(shared, source) {
        Ok(Some(download)) => download.facts,
        Ok(None) => return Ok(()), // swept meanwhile, or not published yet
        Err(corrupt @ StoreError::Corrupt { .. }) => {
            audit.faults.push(corrupt.to_string());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let path = shared.layout.source(source);
    match shared.faults.call("read", || digest_file(&path, &facts)) {
        Ok(digest) if digest == facts.sha256 => audit.whole += 1,
        Ok(digest) => audit.faults.push(format!(
            "{} has changed: its SHA-256 was {} and is {digest}",
            path.display(),
            facts.sha256
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(shared.error("read", &path, error)),
    }
    Ok(())
}

fn digest_file(path: &Path, facts: &Facts) -> io::Result<Sha256Digest> {
    let mut digest = Sha256::new();
    let mut file = fs::File::open(path)?.take(facts.size_bytes);
    let mut piece = vec![0; 256 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Sha256Digest(digest.finalize().into())),
            length => digest.update(&piece[..length]),
        }
    }
}

fn list(shared: &Shared, folder: &Path) -> Result<Vec<DirEntry>, StoreError> {
    let list_error = |error| shared.error("list", folder, error);
    match shared
        .faults
        .call("getdents", || fs::read_dir(folder)?.collect())
    {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.map_err(list_error),
    }
}

fn foreign(entry: &DirEntry) -> String {
    format!("{} is nothing that this store made", entry.path().display())
}
