//! An upload in parts that one node began and others go on with, after that was killed in the middle; and two at once.

use std::fs;
use std::thread;

use waystation_testing::faulty_line::{Fault, FaultyLine};
use waystation_testing::program::{Program, waystation};
use waystation_testing::seaweedfs::SeaweedFs;
use waystation_testing::tus_client::{TusUpload, offset_in};
use waystation_testing::{Server, archive, eventually};

use crate::shared_store::SharedStore;

const FLAGS: [&str; 2] = ["--lifetime", "1h"];
const ARCHIVE_BYTES: usize = 40_000_000;
const SENT_BYTES: usize = 20_000_000;

#[test]
fn any_node_goes_on_where_a_killed_one_was_and_of_two_at_once_one_does() {
    let store = SharedStore::on(SeaweedFs::shared());
    let [mut first, second, third] = [(); 3].map(|()| Server::start(store.serve(&FLAGS)));
    let source = first.create_source(&store.create_bearer());
    let bytes = archive(ARCHIVE_BYTES, 3);
    let upload = TusUpload::begin(first.address, &source, bytes.len(), &[]);

    let told = upload.patch(first.address, 0, &bytes[..1_000_000]);
    assert_eq!(told, 1_000_000);
    let mut cut = upload.start_part(first.address, told, bytes.len() - told);
    // More than an object has, and not all: it cannot have ended when it is cut.
    cut.send(&bytes[told..told + SENT_BYTES]);
    let keys = store.key_of(Some(&source));
    // What it was begun with, and two parts.
    eventually("a part of the second request is there", || {
        SeaweedFs::shared().keys(&keys).len() >= 3
    });
    first.program.kill();
    drop(cut);

    // Two go on at once, with parts of other lengths. What the killed one had sent last may still come, and then both
    // are too late.
    let answers = loop {
        let at = upload.offset(second.address);
        assert!(at >= told, "{at}");
        let answers = thread::scope(|scope| {
            let lengths = [(&second, 700_000), (&third, 800_000)];
            let sent = lengths.map(|(node, length)| {
                let part = &bytes[at..bytes.len().min(at + length)];
                let upload = &upload;
                scope.spawn(move || upload.try_patch(node.address, at, part).unwrap())
            });
            sent.map(|sent| sent.join().unwrap())
        });
        if answers.iter().any(|it| it.status == 204) {
            break answers;
        }
        assert!(answers.iter().all(|it| it.status == 409), "{answers:?}");
    };
    let done: Vec<_> = answers.iter().filter(|it| it.status == 204).collect();
    let refused = answers.iter().filter(|it| it.status == 409).count();
    assert_eq!((done.len(), refused), (1, 1), "{answers:?}");
    let at = upload.offset(third.address);
    assert_eq!(at, offset_in(done[0]));
    upload.patch(third.address, at, &bytes[at..]);
    assert_eq!(upload.offset(second.address), bytes.len());
    assert!(second.download(&source).body == bytes);
    let audit = store.run(&["audit"]);
    assert_eq!(audit.code, Some(0), "{audit:?}");
}

/// The client that is shipped, with a node behind it that is killed in the middle, and another one that goes on.
#[test]
fn a_push_goes_on_at_another_node() {
    let store = SharedStore::on(SeaweedFs::shared());
    let [mut first, second] = [(); 2].map(|()| Server::start(store.serve(&FLAGS)));
    let bytes = archive(ARCHIVE_BYTES, 4);
    let path = store.file("archive.tar.gz");
    fs::write(&path, &bytes).unwrap();
    let stall = Fault::Stall(26_000_000);
    let proxy = FaultyLine::to(first.address, &[stall]);
    let bearer = store.create_bearer();
    let (_, token) = bearer.rsplit_once(' ').unwrap();
    let mut push = waystation(&["push", path.to_str().unwrap(), "--idle-timeout", "2s"]);
    push.env("WAYSTATION_URL", proxy.url());
    push.env("WAYSTATION_TOKEN", token);
    let mut push = Program::start(push);
    eventually("most of it is sent", || proxy.sent_bytes() > 26_000_000);
    first.program.kill();
    proxy.move_to(second.address);
    assert_eq!(push.await_end(), Some(0), "{}", push.stderr());
    // One part of 16 MiB is sent again at most.
    let sent_bytes = proxy.sent_bytes();
    assert!(
        sent_bytes < ARCHIVE_BYTES as u64 + 20_000_000,
        "{sent_bytes}"
    );
    let link = push.stdout().trim_end().to_owned();
    let path = &link[link.find("/v1/").unwrap()..];
    let fetched = second.call("GET", path, &[]);
    assert!(fetched.body == bytes);
}
