//! What must hold whatever archive is unpacked.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use waystation::pack::{UnpackLimits, unpack};

use super::NOW;

const LIMITS: UnpackLimits = UnpackLimits {
    unpacked_bytes: 64 * 1024,
    entries: 40,
    name_bytes: 1000,
    depth: 10,
};

/// One file, folder or link of a tree.
#[derive(Debug, PartialEq, Eq)]
enum Node {
    Folder,
    /// Its content, whether its owner may run it, and the first of its names.
    File(Vec<u8>, bool, PathBuf),
    Link(PathBuf),
}

/// An archive is refused, or is the tree that GNU tar makes of it. Nothing is ever written outside that tree, nor
/// beyond a limit.
pub fn archives(bytes: &[u8]) {
    let room = tempfile::tempdir().expect("there is room for temporary files");
    let ours = room.path().join("ours");
    fs::create_dir(&ours).expect("it is new");
    let unpacked = unpack(Cursor::new(bytes), &ours, LIMITS, NOW);
    let beside: Vec<_> = fs::read_dir(room.path()).expect("it is there").collect();
    assert_eq!(beside.len(), 1, "something was written outside");
    let tree = tree_of(&ours);
    let content = |node: &Node| match node {
        Node::File(content, ..) => content.len() as u64,
        Node::Folder | Node::Link(_) => 0,
    };
    assert!(tree.values().map(content).sum::<u64>() <= LIMITS.unpacked_bytes);
    assert!(tree.len() <= LIMITS.entries);
    assert!(
        tree.keys()
            .all(|path| path.components().count() <= LIMITS.depth)
    );
    let Ok(unpacked) = unpacked else {
        return;
    };
    let theirs = unpack_with_gnu_tar(bytes, room.path());
    let theirs = if unpacked.is_lifted {
        let names: Vec<OsString> = names_in(&theirs);
        assert_eq!(names.len(), 1, "it was lifted");
        theirs.join(&names[0])
    } else {
        theirs
    };
    assert_eq!(tree, tree_of(&theirs));
}

fn unpack_with_gnu_tar(bytes: &[u8], room: &Path) -> PathBuf {
    let archive = room.join("archive");
    fs::write(&archive, bytes).expect("there is room");
    let folder = room.join("theirs");
    fs::create_dir(&folder).expect("it is new");
    let mut tar = Command::new("tar");
    tar.args([
        "--extract",
        "--no-same-owner",
        "--touch",
        "--warning=none",
        "--file",
    ]);
    tar.arg(&archive).arg("--directory").arg(&folder);
    let ended = tar.stdin(Stdio::null()).stderr(Stdio::null()).status();
    assert!(ended.is_ok(), "GNU tar is needed");
    folder
}

fn names_in(folder: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(folder).expect("it is there");
    entries
        .map(|entry| entry.expect("nobody changes it").file_name())
        .collect()
}

/// All that is in a folder, by its path.
fn tree_of(top: &Path) -> BTreeMap<PathBuf, Node> {
    let mut tree = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(folder) = left.pop() {
        let mut names = names_in(&top.join(&folder));
        names.sort();
        for name in names {
            let path = folder.join(name);
            let full = top.join(&path);
            let metadata = fs::symlink_metadata(&full).expect("nobody changes it");
            let node = if metadata.is_dir() {
                left.push(path.clone());
                Node::Folder
            } else if metadata.is_symlink() {
                Node::Link(fs::read_link(&full).expect("it is a link"))
            } else {
                let content = fs::read(&full).expect("it is a file");
                let is_executable = metadata.permissions().mode() & 0o100 != 0;
                let first = first_names
                    .entry(metadata.ino())
                    .or_insert_with(|| path.clone());
                Node::File(content, is_executable, first.clone())
            };
            tree.insert(path, node);
        }
    }
    tree
}
