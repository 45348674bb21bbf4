//! The second pass: writes the tree that was planned.
//!
//! Each folder is opened below the tree's own handle, and the system is told to follow no link on the way, so
//! whatever the plan may have missed, nothing outside is written to. Links are made last.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, futimens, linkat,
    mkdirat, openat, openat2, symlinkat,
};
use rustix::io::Errno;

use super::error::{ArchiveFault, EntryName, UnpackError};
use super::plan::{Node, NodeId, Plan};
use super::tar::{Entry, Kind, TarReader};
use crate::clock::Timestamp;

/// What the umask leaves of it.
const FOLDER: Mode = Mode::from_raw_mode(0o755);
const FILE: Mode = Mode::from_raw_mode(0o644);
const PROGRAM: Mode = Mode::from_raw_mode(0o755);

pub(super) fn write(
    mut tar: TarReader<'_>,
    plan: &Plan,
    root: &File,
    now: Timestamp,
) -> Result<(), UnpackError> {
    let mut tree = Tree {
        plan,
        root: root.as_fd(),
        last: None,
        now_seconds: now.as_seconds(),
    };
    for folder in plan.folders() {
        let make = |at: BorrowedFd<'_>, name: &OsStr| mkdirat(at, name, FOLDER);
        tree.in_folder_of(folder, make)?;
    }
    while let Some(entry) = tar.next()? {
        if let Kind::File { is_executable, .. } = entry.kind {
            tree.write_file(&entry, is_executable, &mut tar)?;
        }
    }
    tree.make_links()
}

struct Tree<'a> {
    plan: &'a Plan,
    root: BorrowedFd<'a>,
    /// The folder that was opened last: most entries are in the same one as the entry before them.
    last: Option<(NodeId, OwnedFd)>,
    now_seconds: u64,
}

impl Tree<'_> {
    fn write_file(
        &mut self,
        entry: &Entry,
        is_executable: bool,
        tar: &mut TarReader<'_>,
    ) -> Result<(), UnpackError> {
        let node = self.plan.node(self.plan.find(entry)?);
        let mode = if is_executable { PROGRAM } else { FILE };
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = |at: BorrowedFd<'_>, name: &OsStr| openat(at, name, flags, mode);
        let mut file = File::from(self.in_folder_of(node, create)?);
        let failed = |source| UnpackError::Write {
            entry: EntryName::of(&entry.name),
            source,
        };
        tar.copy_content(&mut file)?.map_err(failed)?;
        match entry.modified_at {
            Some(seconds) if seconds <= self.now_seconds => {
                set_modified(&file, seconds).map_err(|error| failed(error.into()))
            }
            _ => Ok(()),
        }
    }

    fn make_links(&mut self) -> Result<(), UnpackError> {
        let plan = self.plan;
        for link in plan.hard_links() {
            let file = plan.node(link.file);
            let folder = self
                .open(file.parent)
                .map_err(|error| self.failed(file, error))?;
            let name = OsStr::from_bytes(&file.name);
            let make =
                |at: BorrowedFd<'_>, new: &OsStr| linkat(&folder, name, at, new, AtFlags::empty());
            self.in_folder_of(plan.node(link.node), make)?;
        }
        for link in plan.symlinks() {
            let target = OsStr::from_bytes(&link.target);
            let make = |at: BorrowedFd<'_>, name: &OsStr| symlinkat(target, at, name);
            self.in_folder_of(plan.node(link.node), make)?;
        }
        Ok(())
    }

    /// Does something with a name in its folder.
    fn in_folder_of<T>(
        &mut self,
        node: &Node,
        act: impl FnOnce(BorrowedFd<'_>, &OsStr) -> Result<T, Errno>,
    ) -> Result<T, UnpackError> {
        let opened = match self.last.take() {
            Some((id, folder)) if id == node.parent => Ok(folder),
            _ => self.open(node.parent),
        };
        let done = opened.and_then(|folder| {
            let done = act(folder.as_fd(), OsStr::from_bytes(&node.name));
            self.last = Some((node.parent, folder));
            done
        });
        done.map_err(|error| self.failed(node, error))
    }

    fn open(&self, folder: NodeId) -> Result<OwnedFd, Errno> {
        let path = self.plan.path(folder);
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &path
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(self.root, path, flags, Mode::empty(), resolve)
    }

    fn failed(&self, node: &Node, error: Errno) -> UnpackError {
        let path = self
            .plan
            .path(node.parent)
            .join(OsStr::from_bytes(&node.name));
        match error {
            // Planned to be nowhere before.
            Errno::EXIST => ArchiveFault::Changed.into(),
            _ => UnpackError::Write {
                entry: EntryName::of(path.as_os_str().as_bytes()),
                source: error.into(),
            },
        }
    }
}

fn set_modified(file: &File, seconds: u64) -> Result<(), Errno> {
    let unchanged = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    };
    let modified = Timespec {
        tv_sec: i64::try_from(seconds).unwrap_or_default(),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: unchanged,
        last_modification: modified,
    };
    futimens(file, &times)
}
