//! Which files of a folder are packed: all that no ignore rule leaves out, in one order on every machine.
//!
//! The rules are git's, from nested files `.gitignore`, `.git/info/exclude` and the user's own, and then those of
//! `.waystationignore`, which have the last word. What git keeps for itself (`.git`) is never packed.

use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ignore::{DirEntry, WalkBuilder};

use super::error::EntryName;
use super::links::judge;
use super::pack_error::PackError;
use super::tree::{Oddity, Origin, Tree, TreeEntry, TreeKind, Warning};

/// The file of rules that is this program's own.
pub const IGNORE_FILE: &str = ".waystationignore";
const GIT: &str = ".git";
const OWNER_EXECUTES: u32 = 0o100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoreRules {
    Follow,
    /// All is packed, but `.git`.
    Pass,
}

/// Lists what of the folder is packed. `folder` is no link.
pub fn list(folder: &Path, rules: IgnoreRules) -> Result<Tree, PackError> {
    let mut tree = Tree {
        origin: Origin::Folder(folder.to_owned()),
        entries: Vec::new(),
        warnings: Vec::new(),
    };
    for entry in walker(folder, rules).build() {
        let entry = entry.map_err(PackError::List)?;
        if let Some(error) = entry.error() {
            let oddity = Oddity::IgnoreRule(error.to_string());
            tree.warnings
                .push(Warning::of(path_of(&entry, folder), oddity));
        }
        if entry.depth() > 0 {
            add(&mut tree, &entry, folder)?;
        }
    }
    Ok(tree)
}

fn walker(folder: &Path, rules: IgnoreRules) -> WalkBuilder {
    let mut walker = WalkBuilder::new(folder);
    walker.standard_filters(false);
    if rules == IgnoreRules::Follow {
        // Outside of a repository the rules of the folders above are not this folder's: a home may ignore all.
        let is_in_repository = folder.ancestors().any(|above| above.join(GIT).exists());
        walker
            .parents(is_in_repository)
            .require_git(is_in_repository)
            .git_ignore(true)
            .git_exclude(true)
            .git_global(true)
            .add_custom_ignore_filename(IGNORE_FILE);
    }
    walker.filter_entry(|entry| entry.depth() == 0 || entry.file_name() != GIT);
    walker.sort_by_file_name(|a, b| a.as_bytes().cmp(b.as_bytes()));
    walker
}

fn path_of<'a>(entry: &'a DirEntry, folder: &Path) -> &'a [u8] {
    let path = entry.path();
    path.strip_prefix(folder)
        .unwrap_or(path)
        .as_os_str()
        .as_bytes()
}

fn add(tree: &mut Tree, entry: &DirEntry, folder: &Path) -> Result<(), PackError> {
    let path = path_of(entry, folder);
    let metadata = fs::symlink_metadata(entry.path()).map_err(PackError::read(path))?;
    let kind = if metadata.is_dir() {
        TreeKind::Folder
    } else if metadata.is_file() {
        TreeKind::File {
            bytes: metadata.len(),
            is_executable: metadata.mode() & OWNER_EXECUTES != 0,
        }
    } else if metadata.is_symlink() {
        let target = fs::read_link(entry.path()).map_err(PackError::read(path))?;
        let target = target.into_os_string().into_vec();
        if let Some(oddity) = judge(&target, entry.depth() - 1) {
            tree.warnings.push(Warning::of(path, oddity));
            return Ok(());
        }
        // A loop leads to nothing, too.
        if fs::metadata(entry.path()).is_err() {
            let oddity = Oddity::LinkToNothing(EntryName::of(&target));
            tree.warnings.push(Warning::of(path, oddity));
        }
        TreeKind::Link {
            target: target.into(),
        }
    } else {
        tree.warnings.push(Warning::of(path, Oddity::NoFile));
        return Ok(());
    };
    tree.entries.push(TreeEntry {
        path: path.into(),
        kind,
    });
    Ok(())
}
