//! Reading everything and saying what does not fit together.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::download;
use super::layout::{ExpirySecond, Minute, parse_source};
use super::shared::{Shared, io_error};
use crate::digest::Sha256Digest;
use crate::source::{Facts, SourceId};
use crate::store::archive::Audit;
use crate::store::error::StoreError;

/// Reads every archive whole. Uploads and sweeps may go on meanwhile.
pub(super) fn audit(shared: &Arc<Shared>) -> Result<Audit, StoreError> {
    let mut audit = Audit {
        staged: shared.list_names(&shared.layout.stage())?.len() as u64,
        ..Audit::default()
    };
    let folder = shared.layout.sources();
    for name in shared.list_names(&folder)? {
        match Minute::parse(&name) {
            Some(minute) => audit_minute(shared, minute, &mut audit)?,
            None => audit.faults.push(foreign(&folder, &name)),
        }
    }
    Ok(audit)
}

fn audit_minute(shared: &Arc<Shared>, minute: Minute, audit: &mut Audit) -> Result<(), StoreError> {
    let folder = shared.layout.minute(minute);
    for name in shared.list_names(&folder)? {
        match minute.parse_second(&name) {
            Some(second) => audit_second(shared, second, audit)?,
            None => audit.faults.push(foreign(&folder, &name)),
        }
    }
    Ok(())
}

fn audit_second(
    shared: &Arc<Shared>,
    second: ExpirySecond,
    audit: &mut Audit,
) -> Result<(), StoreError> {
    let folder = shared.layout.second(second);
    for name in shared.list_names(&folder)? {
        match parse_source(&name) {
            Some(source) if ExpirySecond::of(source) == second => {
                audit_source(shared, source, audit)?;
            }
            Some(_) => audit.faults.push(format!(
                "{} is in the folder of another second: nobody can download it",
                folder.join(&name).display()
            )),
            None => audit.faults.push(foreign(&folder, &name)),
        }
    }
    Ok(())
}

fn audit_source(
    shared: &Arc<Shared>,
    source: SourceId,
    audit: &mut Audit,
) -> Result<(), StoreError> {
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
        Err(error) => return Err(io_error("read", &path, error)),
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

fn foreign(folder: &Path, name: &OsStr) -> String {
    format!(
        "{} is nothing that this store made",
        folder.join(name).display()
    )
}
