//! A full disk: a small real file system, filled to its last byte and its last inode. What needs room is
//! refused with that reason, all else goes on, and what expires makes room again.

use std::fs;
use std::path::{Path, PathBuf};

use waystation_testing::program::{Program, without_settings};
use waystation_testing::reply::Reply;
use waystation_testing::store_folder::{Store, archive_path};
use waystation_testing::{Source, Waystation, archive, assert_refused, eventually};

use crate::small_disk::SmallDisk;

const MIB: usize = 1024 * 1024;
const PAGE_BYTES: usize = 4096;

impl SmallDisk {
    /// Uploads archives of this length until there is no room. Returns those that are there.
    fn fill(&self, bytes: usize) -> Vec<(Source, u64)> {
        let mut there = Vec::new();
        for seed in 0..100 {
            let source = self.create();
            let reply = self.upload(&source, &archive(bytes, seed));
            if reply.status != 200 {
                self.assert_full(&source, &reply);
                return there;
            }
            there.push((source, seed));
        }
        panic!("it is never full");
    }

    fn assert_full(&self, source: &Source, reply: &Reply) {
        assert_eq!(assert_refused(reply, 507)["code"], "store_full");
        assert_eq!(names(&self.view.join("stage")), Vec::<PathBuf>::new());
        assert!(!archive_path(&self.view, &source.id()).exists());
        assert_eq!(self.server.download(source).status, 404);
    }

    fn assert_served(&self, there: &[(Source, u64)], bytes: usize) {
        for (source, seed) in there {
            let reply = self.server.download(source);
            assert_eq!(reply.status, 200, "{reply:?}");
            assert!(reply.body == archive(bytes, *seed));
        }
    }

    /// Takes all the room that is left except some pages.
    fn take_room_but(&self, pages: usize) {
        let filler = self.view.join("filler");
        let mut content = Vec::new();
        // In small steps: a write that is cut short by the end of the room is no error.
        while fs::write(&filler, &content).is_ok() {
            content.resize(content.len() + PAGE_BYTES, 1);
        }
        let fitting = content.len() - PAGE_BYTES * (1 + pages);
        fs::write(&filler, &content[..fitting]).unwrap();
    }

    fn free_room(&self) {
        fs::remove_file(self.view.join("filler")).unwrap();
    }
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_disk_filled_to_its_last_byte_serves_on_and_takes_uploads_again_once_some_expire() {
    let disk = SmallDisk::start("size=8m", &["--rate-limit", "0", "--keep-free", "0B"]);
    let there = disk.fill(MIB);
    assert!(there.len() >= 4, "{}", there.len());
    disk.assert_served(&there, MIB);
    let (first, seed) = &there[0];
    // The same bytes again are a success: they need no room.
    assert_eq!(disk.upload(first, &archive(MIB, *seed)).status, 200);
    assert_eq!(disk.upload(first, &archive(MIB, 1000)).status, 409);
    let source = disk.create();
    let declared = disk.server.upload(&source, &archive(7 * MIB, 1));
    disk.assert_full(&source, &declared);

    disk.clock.stand_at(source.expires_at());
    let source = disk.create();
    eventually("there is room again", || {
        let reply = disk.upload(&source, &archive(MIB, 1));
        assert!(matches!(reply.status, 200 | 507), "{reply:?}");
        reply.status == 200
    });
    // Nothing was wrong but the room.
    assert!(!disk.server.program.stderr().contains("panic"));
}

#[test]
fn an_archive_that_fits_without_its_facts_is_refused_and_leaves_nothing() {
    let disk = SmallDisk::start("size=4m", &["--keep-free", "0B"]);
    let before = disk.create();
    assert_eq!(disk.upload(&before, b"an archive").status, 200);
    for (pages, bytes) in [
        (0, 1),
        (1, PAGE_BYTES),
        (2, 2 * PAGE_BYTES),
        (2, PAGE_BYTES + 1),
    ] {
        disk.take_room_but(pages);
        let source = disk.create();
        let reply = disk.upload(&source, &archive(bytes, 1));
        if bytes == PAGE_BYTES + 1 {
            // Its facts fit behind it.
            assert_eq!(reply.status, 200, "{reply:?}");
        } else {
            disk.assert_full(&source, &reply);
        }
        assert_eq!(disk.server.download(&before).body, b"an archive");
        disk.free_room();
        assert_eq!(disk.upload(&source, &archive(bytes, 1)).status, 200);
        assert!(disk.server.download(&source).body == archive(bytes, 1));
    }
}

/// On this file system each file, folder and further name takes one: so it is the file in the stage, then
/// each folder, then the link for which there is none.
#[test]
fn without_inodes_an_upload_is_refused_wherever_it_needs_one_and_leaves_nothing() {
    let disk = SmallDisk::start("size=16m,nr_inodes=64", &["--keep-free", "0B"]);
    let fillers = disk.view.join("fillers");
    fs::create_dir(&fillers).unwrap();
    let mut made = 0;
    while fs::write(fillers.join(made.to_string()), b"").is_ok() {
        made += 1;
    }
    let mut refused = 0;
    loop {
        let source = disk.create();
        let reply = disk.upload(&source, b"an archive");
        if reply.status == 200 {
            assert_eq!(disk.server.download(&source).body, b"an archive");
            break;
        }
        disk.assert_full(&source, &reply);
        refused += 1;
        made -= 1;
        fs::remove_file(fillers.join(made.to_string())).unwrap();
    }
    // The file in the stage, a folder at least, the link.
    assert!(refused >= 3, "{refused}");
}

/// The system sends a signal then, which ends a process that does not expect it.
#[test]
fn an_archive_larger_than_files_may_be_is_refused_and_the_server_goes_on() {
    let store = Store::new();
    let serve = store.serve(&[]);
    let mut limited = without_settings("sh");
    limited.args(["-c", "ulimit -f 128; exec \"$@\"", "sh"]);
    limited.arg(serve.get_program()).args(serve.get_args());
    let server = Waystation::of(store, Program::start(limited));
    let source = server.create_source();
    let reply = server.upload(&source, &archive(MIB, 1));
    assert_eq!(assert_refused(&reply, 507)["code"], "store_full");
    server.store.assert_nothing_stored();
    assert_eq!(server.upload(&source, b"an archive").status, 200);
}
