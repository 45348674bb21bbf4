//! Trees of files as they are before they are packed, and after they were unpacked.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::store_folder::entries_of;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Folder,
    File {
        content: Vec<u8>,
        is_executable: bool,
    },
    Link(String),
}

fn a_node() -> impl Strategy<Value = Node> {
    // About the blocks of a tar.
    let length = prop_oneof![
        Just(0),
        Just(1),
        511..514usize,
        1023..1026usize,
        0..5000usize
    ];
    let content = length.prop_flat_map(|length| proptest::collection::vec(any::<u8>(), length));
    let file = (content, any::<bool>()).prop_map(|(content, is_executable)| Node::File {
        content,
        is_executable,
    });
    prop_oneof![4 => file, 1 => Just(Node::Folder), 1 => "[a-z]{1,9}(/[a-z]{1,9}){0,2}".prop_map(Node::Link)]
}

/// So many names, of which none is below a file: files and links have names of their own.
pub fn a_tree(count: Range<usize>) -> impl Strategy<Value = BTreeMap<String, Node>> {
    let folder = "([a-d ü]{1,3}/){0,3}";
    let name = "[e-h.\\-]{0,120}";
    proptest::collection::btree_map((folder, name), a_node(), count).prop_map(|tree| {
        let entries = tree.into_iter();
        let entries = entries.map(|((folder, name), node)| (format!("{folder}x{name}"), node));
        entries.collect()
    })
}

/// All that is in a folder.
pub fn found_in(folder: &Path) -> BTreeMap<PathBuf, Node> {
    let entries = entries_of(folder).into_iter();
    entries
        .map(|path| {
            let name = path.strip_prefix(folder).unwrap().to_owned();
            (name, node_at(&path))
        })
        .collect()
}

fn node_at(path: &Path) -> Node {
    let metadata = fs::symlink_metadata(path).unwrap();
    if metadata.is_dir() {
        Node::Folder
    } else if metadata.is_symlink() {
        Node::Link(fs::read_link(path).unwrap().to_str().unwrap().to_owned())
    } else {
        Node::File {
            content: fs::read(path).unwrap(),
            is_executable: metadata.permissions().mode() & 0o100 != 0,
        }
    }
}
