//! Archives of every kind that attacks, breaks or surprises who unpacks them: what is refused and why, and what
//! GNU tar does with the same bytes.

use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use waystation::clock::Timestamp;
use waystation::pack::{UnpackError, UnpackLimits, Unpacked, unpack};
use waystation_testing::repository;
use waystation_testing::tarball::{Header, Tarball};

const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

fn unpack_to(folder: &Path, archive: &[u8], limits: UnpackLimits) -> Result<Unpacked, UnpackError> {
    unpack(Cursor::new(archive), folder, limits, NOW)
}

fn unpacked(archive: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    unpack_to(folder.path(), archive, UnpackLimits::default()).unwrap();
    folder
}

/// Why an archive is refused. Nothing of it may have been written.
fn refusal(archive: &[u8], limits: UnpackLimits) -> String {
    let folder = tempfile::tempdir().unwrap();
    let refused = unpack_to(folder.path(), archive, limits).unwrap_err();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    waystation::error_chain::chain(&refused)
}

fn assert_refused_with(archive: &[u8], limits: UnpackLimits, said: &str) {
    let refused = refusal(archive, limits);
    assert!(refused.contains(said), "{said}: {refused}");
}

/// What GNU tar does with an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gnu {
    /// Unpacks it, maybe otherwise than it says, and is content.
    Unpacks,
    /// Reports an error, and may have unpacked a part.
    Complains,
}

fn gnu_tar(archive: &[u8]) -> Gnu {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("archive");
    fs::write(&file, archive).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--no-same-owner", "--file"])
        .arg(file);
    tar.arg("--directory")
        .arg(room.path())
        .stderr(Stdio::null());
    if tar.status().unwrap().success() {
        Gnu::Unpacks
    } else {
        Gnu::Complains
    }
}

/// A tar with one entry, a file beside.
fn with(header: Header) -> Vec<u8> {
    Tarball::new().file("app/a", b"1").entry(header, b"").end()
}

fn named(name: &[u8]) -> Vec<u8> {
    with(Header::new(name, b'0', 0))
}

fn of_kind(kind: u8) -> Vec<u8> {
    with(Header::new(b"app/b", kind, 0))
}

fn a() -> Tarball {
    Tarball::new().file("app/a", b"1")
}

/// What is tried, the archive, what its refusal says, and what GNU tar does.
type Attack = (&'static str, Vec<u8>, &'static str, Gnu);

#[rustfmt::skip] // A table: a row an attack.
fn names() -> Vec<Attack> {
    use Gnu::{Complains, Unpacks};
    vec![
        ("up", named(b"app/../../b"), "'app/../../b' has '..' in its name", Complains),
        ("up and back", named(b"app/../app/b"), "has '..'", Complains),
        ("absolute", named(b"/tmp/b"), "'/tmp/b' has an absolute name", Unpacks),
        ("nameless", named(b""), "'' has no name", Complains),
        ("the root as a file", named(b"."), "has no name", Complains),
        ("a folder's name", named(b"app/b/."), "has no name", Complains),
        ("twice", a().file("app/a", b"2").end(), "'app/a' appears twice", Unpacks),
        ("twice otherwise", a().file("./app//a", b"2").end(), "appears twice", Unpacks),
        ("a folder twice", a().folder("app/").folder("app").end(), "appears twice", Unpacks),
        ("a file, then a folder", a().folder("app/a/").end(), "appears twice", Unpacks),
        ("a folder, then a file", a().file("app", b"").end(), "'app' is not a folder", Complains),
        ("below a file", a().file("app/a/b", b"").end(), "is below 'app/a', which is not a folder", Complains),
        ("through a link", a().symlink("app/l", ".").file("app/l/b", b"").end(),
            "is below 'app/l', which is not a folder", Unpacks),
        ("through a link that leads out", a().symlink("app/l", "/tmp").file("app/l/b", b"").end(),
            "'app/l' is a link to '/tmp', which leads out", Complains),
        ("a zero in a long name", a().long(b'L', b"app/b\0c").file("b", b"").end(), "has a zero byte", Unpacks),
        ("a zero in an attribute", a().attributes(b'x', &[("path", b"app/b\0c")]).file("b", b"").end(),
            "has a zero byte", Unpacks),
        ("what a terminal would obey", named(b"app/\x1b[2J/.."), r"'app/\u{1b}[2J/..'", Complains),
    ]
}

#[rustfmt::skip] // A table: a row an attack.
fn links() -> Vec<Attack> {
    use Gnu::{Complains, Unpacks};
    let link = |target| a().symlink("app/d/l", target).end();
    vec![
        ("absolute", link("/etc/passwd"), "leads out", Unpacks),
        ("up", link("../../b"), "'d/l' is a link to '../../b', which leads out", Unpacks),
        ("up, after a name", link("../a/../../b"), "has '..' after a name", Unpacks),
        ("to nothing", link(""), "is a link to nothing", Complains),
        ("two that look harmless", a().symlink("app/x/y", "..").symlink("app/l", "x/y/../..").end(),
            "has '..' after a name", Unpacks),
        ("up where there is not a folder to lift", Tarball::new().file("a", b"").symlink("l", "../b").end(),
            "leads out", Unpacks),
        ("hard, out", a().hard_link("app/l", "../b").end(), "no such file before it", Complains),
        ("hard, absolute", a().hard_link("app/l", "/etc/passwd").end(), "no such file", Complains),
        ("hard, to what comes later", Tarball::new().hard_link("app/l", "app/a").file("app/a", b"").end(),
            "no such file", Complains),
        ("hard, to a folder", a().hard_link("app/l", "app").end(), "no such file", Complains),
        ("hard, to itself", a().hard_link("app/l", "app/l").end(), "no such file", Complains),
        ("hard, to a link", a().symlink("app/m", "a").hard_link("app/l", "app/m").end(), "no such file", Unpacks),
    ]
}

#[rustfmt::skip] // A table: a row an attack.
fn kinds() -> Vec<Attack> {
    use Gnu::{Complains, Unpacks};
    vec![
        ("a pipe", of_kind(b'6'), "is a device or a pipe", Unpacks),
        ("a sparse file", of_kind(b'S'), "is a sparse file", Unpacks),
        ("an attribute of sparse files", a().attributes(b'x', &[("GNU.sparse.major", b"1")]).file("app/b", b"").end(),
            "is a sparse file", Complains),
        ("a part of many volumes", of_kind(b'M'), "is of the type 'M'", Complains),
        ("the label of a volume", of_kind(b'V'), "is of the type 'V'", Unpacks),
        ("a list of a folder", of_kind(b'D'), "is of the type 'D'", Unpacks),
        ("an unknown type", of_kind(0x1b), r"is of the type '\u{1b}'", Unpacks),
    ]
}

#[rustfmt::skip] // A table: a row an attack.
fn headers() -> Vec<Attack> {
    use Gnu::{Complains, Unpacks};
    let header = || Header::new(b"app/b", b'0', 0);
    vec![
        ("an unknown format", with(header().with(257, b"ustar\x0001")), "of an unknown format", Unpacks),
        ("a mode that is none", with(header().with(100, b"rwxr-xr-")), "has a mode that is not a number", Complains),
        ("no size", with(header().with(124, &[0; 12])), "has a size that is not a number", Unpacks),
        ("a size below zero", with(header().with(124, &[0xff; 12])), "has a size that is not a number", Complains),
        ("a size and more", with(header().with(124, b"00000000000x")), "has a size that is not a number", Complains),
        ("a folder with content", a().entry(Header::new(b"app/d", b'5', 1), b"1").end(),
            "is not a file, but has 1 bytes", Complains),
        ("a link with content", a().entry(Header::new(b"app/l", b'2', 1).link(b"a"), b"1").end(),
            "is not a file, but", Complains),
        ("a hard link with content", a().entry(Header::new(b"app/l", b'1', 1).link(b"app/a"), b"1").end(),
            "is not a file, but", Complains),
    ]
}

#[rustfmt::skip] // A table: a row an attack.
fn attributes() -> Vec<Attack> {
    use Gnu::{Complains, Unpacks};
    vec![
        ("two sizes", a().attributes(b'x', &[("size", b"1")]).entry(Header::new(b"app/b", b'0', 512), &[b'x'; 512]).end(),
            "two sizes: 512 bytes by its header, 1 by its attributes", Unpacks),
        ("a size that hides entries", a().attributes(b'x', &[("size", b"0")]).entry(Header::new(b"app/b", b'0', 1536), &Tarball::new().file("app/c", b"2").cut()).end(),
            "two sizes", Unpacks),
        ("two long names", a().long(b'L', b"app/b").long(b'L', b"app/c").file("d", b"").end(),
            "has two names", Unpacks),
        ("a long name and another", a().long(b'L', b"app/b").attributes(b'x', &[("path", b"app/c")]).file("d", b"").end(),
            "has two names", Unpacks),
        ("attributes twice", a().attributes(b'x', &[("path", b"app/b")]).attributes(b'x', &[("path", b"app/c")]).file("d", b"").end(),
            "has two names", Unpacks),
        ("a name for all", a().attributes(b'g', &[("path", b"app/b")]).file("d", b"").end(),
            "gives all that follow it one name", Unpacks),
        ("broken attributes", a().entry(Header::new(b"x", b'x', 9), b"8 path=a\n").file("d", b"").end(),
            "'x' has attributes that cannot be read", Complains),
    ]
}

#[rustfmt::skip] // A table: a row an attack.
fn ends() -> Vec<Attack> {
    use Gnu::{Complains, Unpacks};
    let mut flipped = a().end();
    flipped[0] ^= 1;
    let second = a().file("app/b", b"");
    let mut second = second.end();
    second[1024] ^= 1;
    let gzip = fs::read(corpus("gzip")).unwrap();
    vec![
        ("empty", Tarball::new().end(), "but application/octet-stream", Unpacks),
        ("no archive", b"<html>".to_vec(), "but application/octet-stream", Complains),
        ("a zip", b"PK\x03\x04".to_vec(), "but application/zip", Complains),
        ("a first header with a wrong sum", flipped, "is neither a tar", Complains),
        ("a header with a wrong sum", second, "whose checksum is wrong", Complains),
        ("no end", a().cut(), "ends without the zeros", Unpacks),
        ("cut in a header", a().raw(&[b'x'; 100]).cut(), "in the middle of an entry", Unpacks),
        ("cut in a file", a().cut()[..512].to_vec(), "in the middle of an entry", Complains),
        ("bytes after the end", [a().end(), b"x".to_vec()].concat(), "bytes follow its end", Unpacks),
        ("a tar after the end", [a().end(), a().end()].concat(), "bytes follow its end", Unpacks),
        ("a tar after one block of zeros", [a().cut(), vec![0; 512], a().end()].concat(),
            "bytes follow its end", Unpacks),
        ("attributes of nothing", a().attributes(b'x', &[("path", b"b")]).end(), "belong to no entry", Unpacks),
        ("a cut stream", gzip[..gzip.len() - 20].to_vec(), "cannot be read", Complains),
        ("garbage after a stream", [gzip, b"garbage".to_vec()].concat(), "cannot be read", Complains),
    ]
}

#[test]
fn what_attacks_or_breaks_its_unpacker_is_refused_by_entry_and_reason() {
    let attacks = [names(), links(), kinds(), headers(), attributes(), ends()];
    for (what, archive, said, gnu) in attacks.concat() {
        let refused = refusal(&archive, UnpackLimits::default());
        assert!(refused.contains(said), "{what}: {refused}");
        assert_eq!(gnu_tar(&archive), gnu, "{what}");
    }
}

fn corpus(name: &str) -> std::path::PathBuf {
    repository().join("fuzz/corpus/archives").join(name)
}

#[test]
fn a_tar_is_the_same_tree_in_each_format_and_compression() {
    for name in [
        "gnu",
        "ustar",
        "v7",
        "pax",
        "root",
        "gzip",
        "gzip_members",
        "zstd",
        "zstd_frames",
        "xz",
        "xz_streams",
        "xz_filters",
        "bzip2",
        "bzip2_streams",
    ] {
        let folder = unpacked(&fs::read(corpus(name)).unwrap());
        let at = |path: &str| folder.path().join(path);
        let mode = |path: &str| at(path).metadata().unwrap().permissions().mode() & 0o100;
        assert_eq!(fs::read(at("a.txt")).unwrap(), b"hello\n", "{name}");
        assert_eq!(fs::read(at("sub/zeros")).unwrap(), [0; 600]);
        assert_eq!((mode("run"), mode("a.txt")), (0o100, 0));
        assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("a.txt"));
        assert_eq!(fs::read(at("sub/up")).unwrap(), b"hello\n");
        let inode = |path: &str| at(path).metadata().unwrap().ino();
        assert_eq!(inode("hard"), inode("a.txt"));
    }
}

#[test]
fn a_long_name_is_whole_in_each_format() {
    let long = "n".repeat(120);
    for name in ["gnu_long", "pax_long"] {
        let folder = unpacked(&fs::read(corpus(name)).unwrap());
        assert_eq!(fs::read(folder.path().join(&long)).unwrap(), b"x\n");
        assert_eq!(fs::read(folder.path().join("l")).unwrap(), b"x\n");
    }
    let folder = unpacked(&fs::read(corpus("prefix")).unwrap());
    let path = format!("{}/{}", "d".repeat(90), "e".repeat(40));
    assert_eq!(fs::read(folder.path().join(path)).unwrap(), b"y\n");
}

#[test]
fn one_real_folder_at_the_root_is_lifted_and_nothing_else() {
    let lifted = |tarball: Tarball| {
        let folder = tempfile::tempdir().unwrap();
        let unpacked = unpack_to(folder.path(), &tarball.end(), UnpackLimits::default());
        (unpacked.unwrap().is_lifted, folder)
    };
    let (is_lifted, folder) = lifted(Tarball::new().folder("./").file("./app/a", b""));
    assert!(is_lifted && folder.path().join("a").exists());
    let (is_lifted, folder) = lifted(Tarball::new().file("app/a", b"").file("b", b""));
    assert!(!is_lifted && folder.path().join("app/a").exists());
    let (is_lifted, folder) = lifted(Tarball::new().symlink("app", "."));
    assert!(!is_lifted && folder.path().join("app").is_symlink());
    let (is_lifted, folder) = lifted(Tarball::new().file("Dockerfile", b""));
    assert!(!is_lifted && folder.path().join("Dockerfile").exists());
    let (is_lifted, _) = lifted(Tarball::new().folder("app"));
    assert!(is_lifted);
}

#[test]
fn owners_set_id_bits_and_times_to_come_are_not_kept_and_other_times_are() {
    let header = |name: &[u8]| Header::new(name, b'0', 0);
    let archive = Tarball::new()
        .entry(
            header(b"a/past")
                .with(100, b"0007777\0")
                .with(108, b"0001750\0")
                .with(136, b"10000000000\0"),
            b"",
        )
        .entry(header(b"a/future").with(136, b"77777777777\0"), b"")
        .entry(header(b"a/none").with(136, &[0xff; 12]), b"")
        .entry(header(b"a/unreadable").with(100, b"0000000\0"), b"");
    let folder = unpacked(&archive.end());
    let metadata = |name: &str| folder.path().join(name).metadata().unwrap();
    assert_eq!(metadata("past").permissions().mode() & 0o7700, 0o700);
    assert_eq!(metadata("past").uid(), metadata("none").uid());
    assert_eq!(metadata("past").mtime(), 0o10_000_000_000);
    let now = folder.path().metadata().unwrap().mtime();
    assert!(metadata("future").mtime() <= now + 1);
    assert!((now - 60..=now + 1).contains(&metadata("none").mtime()));
    assert_eq!(metadata("unreadable").permissions().mode() & 0o700, 0o600);
}

const SMALL: UnpackLimits = UnpackLimits {
    unpacked_bytes: 1000,
    entries: 5,
    name_bytes: 20,
    depth: 3,
};

#[test]
fn each_limit_takes_the_limit_and_not_one_more() {
    let takes = |tarball: Tarball| {
        let folder = tempfile::tempdir().unwrap();
        unpack_to(folder.path(), &tarball.end(), SMALL).unwrap();
    };
    let refuses = |tarball: Tarball, said: &str| assert_refused_with(&tarball.end(), SMALL, said);
    let two = |bytes| {
        Tarball::new()
            .file("a", &[1; 400])
            .file("b", &vec![1; bytes])
    };
    takes(two(600));
    refuses(two(601), "it unpacks to more than 1000 bytes");
    let deep = Tarball::new().file("a/b/c", b"").file("a/d", b"");
    takes(deep.clone().file("a/e", b""));
    // Folders that are only named on the way are made, so they count.
    refuses(deep.file("e/f", b""), "it has more than 5 entries");
    refuses(
        Tarball::new().file("a/b/c/d", b""),
        "is 4 folders deep; 3 are allowed",
    );
    takes(Tarball::new().file(&"x".repeat(20), b""));
    refuses(
        Tarball::new().file(&"x".repeat(21), b""),
        "a name of 21 bytes; 20 are allowed",
    );
}

#[test]
fn a_name_of_the_default_limits_can_be_written() {
    let name = "12345678901234567890123456789012345678901/".repeat(97) + &"x".repeat(22);
    let long = |name: &str| {
        Tarball::new()
            .long(b'L', name.as_bytes())
            .file("short", b"1")
    };
    assert_eq!(name.len(), 4096);
    // Beside another, so that no part of it is lifted.
    let folder = unpacked(&long(&name).file("b", b"").end());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    assert_refused_with(
        &long(&(name + "x")).end(),
        UnpackLimits::default(),
        "4097 bytes; 4096 are allowed",
    );
}

#[test]
fn what_stands_before_a_header_is_read_up_to_64_kib() {
    let comment = |bytes: usize| {
        // `65536 comment=` and the end of the line are 15 bytes.
        let comment = vec![b'x'; bytes - 15];
        Tarball::new()
            .attributes(b'x', &[("comment", &comment)])
            .file("a", b"")
            .end()
    };
    unpacked(&comment(65_536));
    let said = "long name or attributes of 65537 bytes; 65536 are allowed";
    assert_refused_with(&comment(65_537), UnpackLimits::default(), said);
    // Refused by its header alone: there is nothing of it.
    let header = Header::new(b"long", b'L', 0o7_777_777_777);
    let archive = Tarball::new().entry(header, b"").end();
    assert_refused_with(&archive, UnpackLimits::default(), "65536 are allowed");
}

#[test]
fn the_targets_of_links_are_limited_together() {
    let with_links = |count: usize| {
        let target = format!("{}/", "x".repeat(254)).repeat(16) + &"x".repeat(14);
        let add = |tarball: Tarball, number| {
            tarball
                .long(b'K', target.as_bytes())
                .symlink(&format!("app/{number}"), "")
        };
        (0..count).fold(Tarball::new(), add).end()
    };
    let most = 16 * 1024 * 1024 / 4094;
    unpacked(&with_links(most));
    assert_refused_with(
        &with_links(most + 1),
        UnpackLimits::default(),
        "more than 16777216 bytes together",
    );
}

fn gzip(parts: &[(&[u8], usize)]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for (bytes, times) in parts {
        for _ in 0..*times {
            encoder.write_all(bytes).unwrap();
        }
    }
    encoder.finish().unwrap()
}

#[test]
fn what_comes_out_of_a_small_archive_is_limited_whatever_it_is() {
    let zeros = vec![0; 1024 * 1024];
    // Of 1000 bytes in 5 entries, headers and all, no more than that comes out.
    let past_the_end = gzip(&[(&Tarball::new().file("a", b"").end(), 1), (&zeros, 2)]);
    assert_refused_with(&past_the_end, SMALL, "it unpacks to more than 1000 bytes");
    let comment = Tarball::new()
        .attributes(b'g', &[("comment", &vec![b'x'; 60_000])])
        .cut();
    let comments = gzip(&[(&comment, 20), (&Tarball::new().file("a", b"").end(), 1)]);
    assert_refused_with(&comments, SMALL, "it unpacks to more than 1000 bytes");
    let header = Header::new(b"a", b'0', 0o7_777_777_777);
    let file = gzip(&[(&Tarball::new().entry(header, b"").cut(), 1), (&zeros, 10)]);
    assert_refused_with(&file, SMALL, "it unpacks to more than 1000 bytes");
}

#[test]
fn no_archive_decides_how_much_memory_it_takes() {
    for name in ["xz_large_window", "zstd_large_window"] {
        let archive = fs::read(corpus(name)).unwrap();
        assert_refused_with(
            &archive,
            UnpackLimits::default(),
            "the archive cannot be read",
        );
    }
}

#[test]
fn what_cannot_be_written_is_no_fault_of_the_archive() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Tarball::new().file("app/a", b"1").end();
    fs::create_dir(folder.path().join("a")).unwrap();
    let failed = unpack_to(folder.path(), &archive, UnpackLimits::default()).unwrap_err();
    assert!(matches!(failed, UnpackError::Archive(_)), "{failed}");
    let failed = unpack_to(
        &folder.path().join("none"),
        &archive,
        UnpackLimits::default(),
    );
    assert!(matches!(failed, Err(UnpackError::Write { .. })));
}
