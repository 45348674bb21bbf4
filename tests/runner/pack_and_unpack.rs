//! What was packed is what is unpacked, whatever it is.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use waystation::clock::Timestamp;
use waystation::pack::{UnpackLimits, unpack};
use waystation_testing::tarball::{Header, Tarball};
use waystation_testing::trees::{Node, a_tree, found_in};

/// How a name is said.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    Header,
    Gnu,
    Attributes,
}

fn pack(tree: &BTreeMap<String, Node>, spellings: &[Spelling]) -> Vec<u8> {
    let spellings = spellings.iter().cycle();
    let mut tarball = Tarball::new().folder("app/");
    for ((name, node), spelling) in tree.iter().zip(spellings) {
        let name = format!("app/{name}");
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

/// With the folders that are only named on the way to others.
fn with_folders(tree: &BTreeMap<String, Node>) -> BTreeMap<PathBuf, Node> {
    let mut whole = BTreeMap::new();
    for (name, node) in tree {
        let path = Path::new(name);
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
        tree in a_tree(0..12),
        spellings in proptest::collection::vec(
            prop_oneof![Just(Spelling::Header), Just(Spelling::Gnu), Just(Spelling::Attributes)], 1..4,
        ),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let archive = Cursor::new(pack(&tree, &spellings));
        let now = Timestamp::from_ms(1_700_000_000_000);
        let unpacked = unpack(archive, folder.path(), UnpackLimits::default(), now).unwrap();
        let expected = with_folders(&tree);
        prop_assert_eq!(unpacked.entries, expected.len() + 1);
        prop_assert_eq!(found_in(folder.path()), expected);
    }
}
