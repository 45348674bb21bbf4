//! Lines that break: what is sent and fetched arrives whole, or the client says why it does not.

use std::cell::Cell;
use std::fs;

use rustix::process::Signal;
use waystation_testing::dice::Dice;
use waystation_testing::faulty_line::{Fault, FaultyLine};
use waystation_testing::program::Program;
use waystation_testing::{Waystation, archive, eventually};

use crate::scripted_host::{host, reply_with};
use crate::user::User;

const MIB: usize = 1024 * 1024;

fn user_at(server: &Waystation, proxy: &FaultyLine) -> User {
    User::of(server).set("WAYSTATION_URL", &proxy.url())
}

/// Each connection breaks in another way, at places that nobody chose.
#[test]
fn an_upload_arrives_whole_whatever_breaks_on_the_way() {
    let server = Waystation::start(&[]);
    let mut dice = Dice::new("cuts");
    let mut after = || dice.below(8 * MIB) as u64 + 1000;
    let faults = [
        Fault::Cut(after()),
        Fault::Reset(after()),
        Fault::BadGateway(after()),
        Fault::Cut(after()),
        Fault::Reset(after()),
        Fault::BadGateway(after()),
    ];
    println!("{faults:?}");
    let proxy = FaultyLine::to(server.address, &faults);
    let user = user_at(&server, &proxy);
    let archive = archive(40 * MIB, 11);
    user.write("a.tar.gz", &archive);
    let link = user.done(&["push", "a.tar.gz"]);
    user.done(&["pull", &link, "-o", "b.tar.gz"]);
    assert!(fs::read(user.home().join("b.tar.gz")).unwrap() == archive);
}

#[test]
fn a_download_goes_on_where_it_broke_off() {
    let server = Waystation::start(&[]);
    let archive = archive(20 * MIB, 13);
    let source = server.create_and_upload(&archive);
    let proxy = FaultyLine::to(
        server.address,
        &[
            Fault::Cut(5 * MIB as u64),
            Fault::Reset(4 * MIB as u64),
            Fault::BadGateway(100),
            Fault::Stall(3 * MIB as u64),
        ],
    );
    let user = User::new();
    let link = source.download_url.replace(&server.url(""), &proxy.url());
    let pulled = user.run(&["pull", &link, "-o", "a", "--idle-timeout", "1s"]);
    assert_eq!(pulled.code, Some(0), "{pulled:?}");
    assert_eq!(
        pulled.stderr.matches("trying again in").count(),
        4,
        "{pulled:?}"
    );
    assert!(!pulled.stderr.contains("token="), "{pulled:?}");
    assert!(fs::read(user.home().join("a")).unwrap() == archive);
}

/// The name of the archive alone does not say which part of it comes.
#[test]
fn a_download_that_goes_on_elsewhere_is_not_put_together() {
    let has_begun = Cell::new(false);
    let (store, asked) = host(move |_| {
        let common = ["Content-Length: 10", "ETag: \"x\""];
        if has_begun.replace(true) {
            let headers = [&common[..], &["Content-Range: bytes 0-9/10"]].concat();
            reply_with(206, &headers, "abcdefghij")
        } else {
            reply_with(200, &common, "abcd")
        }
    });
    let user = User::new();
    let said = user.failed(&["pull", &format!("{store}/x"), "-o", "a"], 1);
    assert!(said.contains("a different part of the archive"), "{said}");
    assert!(!user.home().join("a").exists());
    let asked = asked.lock().unwrap();
    assert_eq!((asked.len(), asked[1].header("range")), (2, "bytes=4-"));
}

#[test]
fn an_upload_that_stands_still_is_tried_again() {
    let server = Waystation::start(&[]);
    let proxy = FaultyLine::to(server.address, &[Fault::Stall(6 * MIB as u64)]);
    let user = user_at(&server, &proxy);
    user.write("a.tar.gz", archive(30 * MIB, 14));
    let pushed = user.run(&["push", "a.tar.gz", "--idle-timeout", "1s"]);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    assert!(
        pushed.stderr.contains("made no progress for 1s"),
        "{pushed:?}"
    );
}

#[test]
fn an_upload_that_cannot_end_in_time_says_why() {
    let server = Waystation::start(&["--lifetime", "3s"]);
    let proxy = FaultyLine::always(server.address, Fault::Cut(300_000));
    let user = user_at(&server, &proxy);
    user.write("a.tar.gz", archive(20 * MIB, 16));
    let said = user.failed(&["push", "a.tar.gz"], 1);
    let last = said.lines().last().unwrap();
    assert!(last.contains("broke") || last.contains("expired"), "{said}");
}

#[test]
fn ctrl_c_ends_with_130_and_leaves_nothing() {
    let server = Waystation::start(&[]);
    let source = server.create_and_upload(&archive(5 * MIB, 17));
    let proxy = FaultyLine::always(server.address, Fault::Stall(MIB as u64));
    let user = User::new();
    let link = source.download_url.replace(&server.url(""), &proxy.url());
    for target in [["-o", "file"], ["--unpack", "folder"]] {
        let before = proxy.sent_bytes();
        let mut pull = Program::start(user.command(&["pull", &link, target[0], target[1]]));
        eventually("it has begun", || proxy.sent_bytes() > before);
        pull.signal(Signal::INT);
        assert_eq!(pull.await_end(), Some(130), "{}", pull.stderr());
        let left: Vec<_> = fs::read_dir(user.home()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
