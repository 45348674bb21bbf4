//! Whose files are: what opens the service has to be of the user that runs it, or of root, and writable by
//! nobody else.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// A file or folder through which another user could get at every link.
#[derive(Debug, thiserror::Error)]
pub enum OwnershipError {
    #[error(
        "{} belongs to user {owner}, who could change it, and this runs as user {own}: make it this user's, with 'chown {own} {}', or run this as user {owner}",
        path.display(), path.display()
    )]
    Foreign { path: PathBuf, owner: u32, own: u32 },
    #[error("every user of this machine can write to {} (mode {mode:04o}): run 'chmod o-w {}'", path.display(), path.display())]
    Writable { path: PathBuf, mode: u32 },
    /// Containers often get such a folder, and cannot change it.
    #[error("every user of this machine can write to {} (mode {mode:04o}): run 'chmod o-w {}', or give a folder below it, which is then made for this user alone", path.display(), path.display())]
    WritableFolder { path: PathBuf, mode: u32 },
    #[error("{} is not a folder: --store needs one, or a path where it can be created", .0.display())]
    NoFolder(PathBuf),
    #[error("cannot find the owner of {}", path.display())]
    Unseen { path: PathBuf, source: io::Error },
}

/// Is what stands at `path`, if anything does, the own user's or root's?
pub fn check_path(path: &Path) -> Result<(), OwnershipError> {
    look_at(path)?.map_or(Ok(()), |metadata| check(path, &metadata))
}

/// The same of a folder.
pub fn check_folder(path: &Path) -> Result<(), OwnershipError> {
    match look_at(path)? {
        Some(metadata) if !metadata.is_dir() => Err(OwnershipError::NoFolder(path.to_owned())),
        Some(metadata) => match check(path, &metadata) {
            Err(OwnershipError::Writable { path, mode }) => {
                Err(OwnershipError::WritableFolder { path, mode })
            }
            checked => checked,
        },
        None => Ok(()),
    }
}

fn look_at(path: &Path) -> Result<Option<Metadata>, OwnershipError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => {
            let path = path.to_owned();
            Err(OwnershipError::Unseen { path, source })
        }
    }
}

/// Is the file or folder at `path`, of which that is known, the own user's or root's? Its group may write to
/// it: who is in there was chosen.
pub fn check(path: &Path, metadata: &Metadata) -> Result<(), OwnershipError> {
    let mode = metadata.permissions().mode() & 0o7777;
    check_for(own_user(), path, metadata.uid(), mode)
}

pub fn own_user() -> u32 {
    geteuid().as_raw()
}

fn check_for(own: u32, path: &Path, owner: u32, mode: u32) -> Result<(), OwnershipError> {
    let path = path.to_owned();
    if owner != own && owner != 0 {
        Err(OwnershipError::Foreign { path, owner, own })
    } else if mode & 0o002 != 0 {
        Err(OwnershipError::Writable { path, mode })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_another_user_or_writable_by_all_is_not_trusted() {
        for (owner, mode, is_trusted) in [
            (1000, 0o600, true),
            (1000, 0o770, true),
            (0, 0o440, true),
            (0, 0o755, true),
            (1001, 0o600, false),
            (65_534, 0o777, false),
            (1000, 0o702, false),
            (0, 0o1777, false),
        ] {
            let checked = check_for(1000, Path::new("keys"), owner, mode);
            assert_eq!(checked.is_ok(), is_trusted, "{owner} {mode:o}");
        }
        // Root is not the owner of everything.
        assert!(check_for(0, Path::new("keys"), 1000, 0o600).is_err());
    }
}
