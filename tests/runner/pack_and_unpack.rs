//! What was packed is what is unpacked, whatever it is.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use waystation::clock::Timestamp;
use waystation::pack::{UnpackLimits, unpack};
use waystation_testing::store_folder::entries_of;
use waystation_testing::tarball::{Header, Tarball};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Folder,
    File {
        content: Vec<u8>,
        is_executable: bool,
    },
    Link(String),
}

/// How a name is said.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    Header,
    Gnu,
    Attributes,
}

fn a_node() -> impl Strategy<Value = Node> {
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

/// Names of which none is below a file: files and links have names of their own.
fn a_tree() -> impl Strategy<Value = BTreeMap<String, Node>> {
    let folder = "([a-d ü]{1,3}/){0,3}";
    let name = "[e-h.\\-]{0,90}";
    proptest::collection::btree_map((folder, name), a_node(), 0..12).prop_map(|tree| {
        let entries = tree.into_iter();
        let entries = entries.map(|((folder, name), node)| (format!("app/{folder}x{name}"), node));
        entries.collect()
    })
}

fn pack(tree: &BTreeMap<String, Node>, spellings: &[Spelling]) -> Vec<u8> {
    let spellings = spellings.iter().cycle();
    let mut tarball = Tarball::new().folder("app/");
    for ((name, node), spelling) in tree.iter().zip(spellings) {
        let is_short = name.len() <= 100;
        let (before, short) = match spelling {
            Spelling::Attributes => (
                tarball.attributes(b'x', &[("path", name.as_bytes())]),
                "short",
            ),
            Spelling::Header if is_short => (tarball, name.as_str()),
            Spelling::Header | Spelling::Gnu => (tarball.long(b'L', name.as_bytes()), "short"),
        };
        let header = |kind, bytes| Header::new(short.as_bytes(), kind, bytes);
        tarball = match node {
            Node::Folder => before.entry(header(b'5', 0), b""),
            Node::Link(target) => before.entry(header(b'2', 0).link(target.as_bytes()), b""),
            Node::File {
                content,
                is_executable: true,
            } => before.entry(header(b'0', content.len()).executable(), content),
            Node::File {
                content,
                is_executable: false,
            } => before.entry(header(b'0', content.len()), content),
        };
    }
    tarball.end()
}

fn node_at(path: &Path) -> Node {
    let metadata = fs::symlink_metadata(path).unwrap();
    if metadata.is_dir() {
        Node::Folder
    } else if metadata.is_symlink() {
        Node::Link(fs::read_link(path).unwrap().to_str().unwrap().to_owned())
    } else {
        let content = fs::read(path).unwrap();
        let is_executable = metadata.permissions().mode() & 0o100 != 0;
        Node::File {
            content,
            is_executable,
        }
    }
}

/// With the folders that are only named on the way to others.
fn with_folders(tree: &BTreeMap<String, Node>) -> BTreeMap<PathBuf, Node> {
    let mut whole = BTreeMap::new();
    for (name, node) in tree {
        let path = Path::new(name).strip_prefix("app").unwrap();
        for folder in path.ancestors().skip(1) {
            whole.insert(folder.to_owned(), Node::Folder);
        }
        whole.insert(path.to_owned(), node.clone());
    }
    whole.remove(Path::new(""));
    whole
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_packed_is_what_is_unpacked(
        tree in a_tree(),
        spellings in proptest::collection::vec(
            prop_oneof![Just(Spelling::Header), Just(Spelling::Gnu), Just(Spelling::Attributes)], 1..4,
        ),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let archive = Cursor::new(pack(&tree, &spellings));
        let now = Timestamp::from_ms(1_700_000_000_000);
        let unpacked = unpack(archive, folder.path(), UnpackLimits::default(), now).unwrap();
        let found: BTreeMap<_, _> = entries_of(folder.path())
            .into_iter()
            .map(|path| (path.strip_prefix(folder.path()).unwrap().to_owned(), node_at(&path)))
            .collect();
        let expected = with_folders(&tree);
        prop_assert_eq!(unpacked.entries, expected.len() + 1);
        prop_assert_eq!(found, expected);
    }
}
