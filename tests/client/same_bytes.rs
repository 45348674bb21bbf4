//! The same tree is the same archive, whoever packs it, whenever and wherever; and everybody reads the same out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use waystation::clock::Timestamp;
use waystation::pack::{
    Compression, IgnoreRules, PackError, PackProgress, UnpackLimits, list, pack, unpack,
};
use waystation_testing::program::tools;
use waystation_testing::trees::{Node, a_tree, found_in};

/// How a machine makes files.
#[derive(Clone, Copy, Debug)]
struct Machine {
    /// What its umask takes away.
    umask: u32,
    is_backwards: bool,
}

fn make(tree: &BTreeMap<String, Node>, folder: &Path, machine: Machine) {
    let mut entries: Vec<_> = tree.iter().collect();
    if machine.is_backwards {
        entries.reverse();
    }
    for (name, node) in entries {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mode = |mode: u32| Permissions::from_mode(mode & !machine.umask);
        match node {
            Node::Folder => fs::create_dir_all(&path).unwrap(),
            Node::Link(target) => symlink(target, &path).unwrap(),
            Node::File {
                content,
                is_executable,
            } => {
                fs::write(&path, content).unwrap();
                let full = if *is_executable { 0o777 } else { 0o666 };
                fs::set_permissions(&path, mode(full)).unwrap();
            }
        }
    }
}

pub(crate) fn pack_to(folder: &Path, compression: Compression) -> Result<File, PackError> {
    let tree = list(folder, IgnoreRules::Follow)?;
    let file = tempfile::tempfile().unwrap();
    let into = file.try_clone().unwrap();
    let progress = PackProgress::default();
    let packed = pack(&tree, b"app", compression, into, u64::MAX, &progress)?;
    assert_eq!(file.metadata().unwrap().len(), packed.written.bytes);
    Ok(file)
}

fn bytes_of(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn packed(folder: &Path, compression: Compression) -> Vec<u8> {
    bytes_of(pack_to(folder, compression).unwrap())
}

fn unpacked(archive: File) -> BTreeMap<PathBuf, Node> {
    let folder = tempfile::tempdir().unwrap();
    let now = Timestamp::from_ms(1_700_000_000_000);
    let unpacked = unpack(archive, folder.path(), UnpackLimits::default(), now).unwrap();
    assert!(unpacked.is_lifted);
    found_in(folder.path())
}

const COMPRESSIONS: [Compression; 3] = [
    Compression::Gzip { level: 5 },
    Compression::Zstd { level: 3 },
    Compression::None,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_tree_is_the_same_bytes_and_comes_back_as_it_was(
        tree in a_tree(1..12),
        umask in prop_oneof![Just(0o022), Just(0o002), Just(0o077), Just(0)],
        compression in proptest::sample::select(COMPRESSIONS.as_slice()),
    ) {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(&tree, one.path(), Machine { umask: 0o022, is_backwards: false });
        make(&tree, other.path(), Machine { umask, is_backwards: true });
        let first = packed(one.path(), compression);
        prop_assert_eq!(&first, &packed(one.path(), compression));
        prop_assert_eq!(&first, &packed(other.path(), compression));
        let archive = pack_to(other.path(), compression).unwrap();
        prop_assert_eq!(unpacked(archive), found_in(one.path()));
    }
}

/// Many blocks, on many threads: how many there are must not be seen.
#[test]
fn a_large_tree_is_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..3u8 {
        let content: Vec<u8> = (0..1_200_000u32)
            .map(|at| at.wrapping_mul(at).to_be_bytes()[1] ^ number)
            .collect();
        fs::write(folder.path().join(number.to_string()), content).unwrap();
    }
    for compression in COMPRESSIONS {
        let first = packed(folder.path(), compression);
        for _ in 0..2 {
            assert!(
                packed(folder.path(), compression) == first,
                "{compression:?}"
            );
        }
        let archive = pack_to(folder.path(), compression).unwrap();
        assert_eq!(unpacked(archive), found_in(folder.path()));
    }
}

/// The names that a program lists of an archive on its standard input.
fn listed_by(program: &str, arguments: &[&str], archive: &[u8]) -> BTreeSet<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let archive = archive.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&archive));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| line.trim_end_matches('/').to_owned())
        .collect()
}

#[test]
fn other_programs_read_the_same_names() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(200), "n".repeat(240));
    for name in ["a", "ü b", &long, "bin/run"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    symlink("l".repeat(150), folder.path().join("link")).unwrap();
    let mut expected: BTreeSet<_> = found_in(folder.path())
        .into_keys()
        .map(|name| format!("app/{}", name.display()))
        .collect();
    expected.insert("app".to_owned());
    let python = "import sys, tarfile\n\
                  for entry in tarfile.open(fileobj=sys.stdin.buffer, mode='r|*'): print(entry.name)";
    for (compression, tar_flag) in [
        (Compression::default(), "-tz"),
        (Compression::Zstd { level: 1 }, "--zstd"),
        (Compression::None, "-t"),
    ] {
        let archive = packed(folder.path(), compression);
        let flags: &[&str] = if tar_flag == "--zstd" {
            &["-t", "--zstd"]
        } else {
            &[tar_flag]
        };
        assert_eq!(listed_by("tar", flags, &archive), expected);
        let bsdtar = tools().join("bin/bsdtar");
        let bsdtar = bsdtar.to_str().unwrap();
        assert_eq!(listed_by(bsdtar, &["-tf", "-"], &archive), expected);
        if !matches!(compression, Compression::Zstd { .. }) {
            assert_eq!(listed_by("python3", &["-c", python], &archive), expected);
        }
    }
}

#[test]
fn a_limit_takes_the_limit_and_not_a_byte_more_and_names_the_culprits() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small"), "s").unwrap();
    fs::write(folder.path().join("large"), vec![b'l'; 100_000]).unwrap();
    let tree = list(folder.path(), IgnoreRules::Follow).unwrap();
    let attempt = |limit_bytes| {
        let into = tempfile::tempfile().unwrap();
        let progress = PackProgress::default();
        pack(
            &tree,
            b"app",
            Compression::None,
            into,
            limit_bytes,
            &progress,
        )
    };
    let bytes = attempt(u64::MAX).unwrap().written.bytes;
    assert!(attempt(bytes).is_ok());
    let error = attempt(bytes - 1).unwrap_err().to_string();
    assert!(
        error.contains("'large' (97.7 KiB), 'small' (1 B)"),
        "{error}"
    );
}
