//! Folders as nobody should have them, and some have.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;
use waystation::clock::Timestamp;
use waystation::pack::{
    Compression, IgnoreRules, PackError, PackProgress, Tree, UnpackLimits, list, pack, unpack,
};
use waystation_testing::program::run;

use crate::same_bytes::pack_to;
use crate::user::User;

const NOBODY: u32 = 65_534;

fn warnings(folder: &Path) -> Vec<String> {
    let tree = list(folder, IgnoreRules::Follow).unwrap();
    tree.warnings().iter().map(ToString::to_string).collect()
}

fn pack_tree(tree: &Tree) -> Result<Vec<String>, PackError> {
    let into = tempfile::tempfile().unwrap();
    let progress = PackProgress::default();
    let packed = pack(tree, b"app", Compression::None, into, u64::MAX, &progress)?;
    Ok(packed.warnings.iter().map(ToString::to_string).collect())
}

fn unpack_all(archive: File) -> (tempfile::TempDir, usize) {
    let folder = tempfile::tempdir().unwrap();
    let now = Timestamp::from_ms(1_700_000_000_000);
    let unpacked = unpack(archive, folder.path(), UnpackLimits::default(), now).unwrap();
    (folder, unpacked.entries)
}

#[test]
fn links_in_loops_end_and_those_that_lead_nowhere_or_out_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("d")).unwrap();
    fs::write(at("d/file"), "x").unwrap();
    for (target, name) in [
        ("..", "d/up"),
        ("loop-b", "loop-a"),
        ("loop-a", "loop-b"),
        ("nothing", "dangling"),
        ("../elsewhere", "out"),
        ("/etc/passwd", "absolute"),
        ("d/../d/file", "wandering"),
        ("d/file", "good"),
    ] {
        symlink(target, at(name)).unwrap();
    }
    assert_eq!(
        warnings(folder.path()),
        [
            "'absolute' is a link to '/etc/passwd', which leads out of the folder: it is left out",
            "'dangling' is a link to 'nothing', which does not exist",
            "'loop-a' is a link to 'loop-b', which does not exist",
            "'loop-b' is a link to 'loop-a', which does not exist",
            "'out' is a link to '../elsewhere', which leads out of the folder: it is left out",
            "'wandering' is a link to 'd/../d/file', which has '..' after a name, so no runner unpacks it: it is left out",
        ]
    );
    let (tree, _) = unpack_all(pack_to(folder.path(), Compression::default()).unwrap());
    assert_eq!(fs::read(tree.path().join("good")).unwrap(), b"x");
    assert!(tree.path().join("dangling").is_symlink());
    assert!(!tree.path().join("out").is_symlink());
}

#[test]
fn any_name_that_a_file_can_have_is_packed() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join(vec!["d".repeat(200); 15].join("/"));
    let deep = deep.join("x".repeat(240));
    fs::create_dir_all(deep.parent().unwrap()).unwrap();
    fs::write(&deep, "deep").unwrap();
    let odd: [&[u8]; 6] = [
        b"not \xff\xfe UTF-8",
        b"new\nline",
        b" ",
        b"Readme",
        b"README",
        b"-rf",
    ];
    for name in odd {
        fs::write(folder.path().join(OsStr::from_bytes(name)), name).unwrap();
    }
    let archive = pack_to(folder.path(), Compression::Zstd { level: 1 }).unwrap();
    let (tree, entries) = unpack_all(archive);
    assert_eq!(entries, 1 + 15 + 1 + odd.len());
    for name in odd {
        let path = tree.path().join(OsStr::from_bytes(name));
        assert_eq!(fs::read(path).unwrap(), name);
    }
    let deep = deep.strip_prefix(folder.path()).unwrap();
    assert_eq!(fs::read(tree.path().join(deep)).unwrap(), b"deep");
}

#[test]
fn what_is_no_file_is_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let _socket = UnixListener::bind(folder.path().join("socket")).unwrap();
    let said = "'socket' is neither a file, a folder nor a link: it is left out";
    assert_eq!(warnings(folder.path()), [said]);
    let (_, entries) = unpack_all(pack_to(folder.path(), Compression::default()).unwrap());
    assert_eq!(entries, 2);
}

/// Root reads everything, so it has another user look.
#[test]
fn a_file_that_cannot_be_read_fails_and_is_named() {
    let user = User::new();
    let closed = user.write("app/closed", "x");
    fs::set_permissions(closed, Permissions::from_mode(0o000)).unwrap();
    let mut check = user.command(&["check", "app"]);
    if geteuid().is_root() {
        // Its own folder may be closed to others. What this process wrote itself may still be open in a child of another
        // test, and is then not started.
        let program = user.home().join("waystation");
        let mut copy = Command::new("cp");
        copy.arg(check.get_program()).arg(&program);
        assert_eq!(run(copy).code, Some(0));
        fs::set_permissions(user.home(), Permissions::from_mode(0o755)).unwrap();
        check = Command::new(program);
        check.args(["check", "app"]).current_dir(user.home());
        check.uid(NOBODY).gid(NOBODY);
    }
    let ended = run(check);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said = "cannot read 'closed'; a line in .waystationignore";
    assert!(ended.stderr.contains(said), "{ended:?}");
}

#[test]
fn a_file_that_grows_is_packed_as_long_as_it_was_and_one_that_shrinks_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, "1234").unwrap();
    let tree = list(folder.path(), IgnoreRules::Follow).unwrap();
    fs::write(&path, "123456").unwrap();
    let said = "'log' grew while it was read: everything after its first 4 bytes is left out";
    assert_eq!(pack_tree(&tree).unwrap(), [said]);
    fs::write(&path, "12").unwrap();
    let error = pack_tree(&tree).unwrap_err().to_string();
    assert!(
        error.contains("'log' became shorter than 4 bytes"),
        "{error}"
    );
}

/// It could else be made to send what it was not asked for.
#[test]
fn a_file_that_has_become_a_link_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "1234").unwrap();
    let tree = list(folder.path(), IgnoreRules::Follow).unwrap();
    fs::remove_file(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(pack_tree(&tree), Err(PackError::Read { .. })));
}

#[test]
fn many_files_are_packed() {
    let folder = tempfile::tempdir().unwrap();
    for package in 0..100 {
        let package = folder.path().join(package.to_string());
        fs::create_dir(&package).unwrap();
        let first = package.join("0");
        fs::write(&first, "").unwrap();
        // Other names of one file are made sooner than others, and packed as those.
        for number in 1..1000 {
            fs::hard_link(&first, package.join(number.to_string())).unwrap();
        }
    }
    let tree = list(folder.path(), IgnoreRules::Follow).unwrap();
    assert_eq!(tree.files(), 100_000);
    assert_eq!(pack_tree(&tree).unwrap().len(), 0);
}

#[test]
fn an_empty_folder_is_nothing_to_pack() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "").unwrap();
    fs::write(folder.path().join(".waystationignore"), "*").unwrap();
    let error = pack_to(folder.path(), Compression::default()).unwrap_err();
    assert!(matches!(error, PackError::Empty));
}
