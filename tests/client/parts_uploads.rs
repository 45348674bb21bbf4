//! Uploads in parts, over lines that break: what the server has is not sent again.

use std::fs;

use waystation_testing::faulty_line::{Fault, FaultyLine};
use waystation_testing::program::Program;
use waystation_testing::{Waystation, archive, eventually};

use crate::user::User;

const MIB: usize = 1024 * 1024;

fn user_at(server: &Waystation, proxy: &FaultyLine) -> User {
    User::of(server).set("WAYSTATION_URL", &proxy.url())
}

/// A line that breaks all the time still gets there, and little is sent twice.
#[test]
fn what_has_arrived_is_not_sent_again() {
    let server = Waystation::start(&[]);
    let bytes = 40 * MIB as u64;
    let proxy = FaultyLine::always(server.address, Fault::Cut(6 * MIB as u64));
    let user = user_at(&server, &proxy);
    let archive = archive(40 * MIB, 12);
    user.write("a.tar.gz", &archive);
    let pushed = user.run(&["push", "a.tar.gz"]);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    assert!(pushed.stderr.contains("trying again in"), "{pushed:?}");
    let sent = proxy.sent_bytes();
    assert!(sent < bytes + bytes / 4, "{sent} of {bytes}");
}

/// What it had told is still there, so nothing begins anew.
#[test]
fn an_upload_outlives_the_server_that_it_began_at() {
    let server = Waystation::start(&[]);
    let proxy = FaultyLine::to(server.address, &[Fault::Stall(26 * MIB as u64)]);
    let user = user_at(&server, &proxy);
    let archive = archive(40 * MIB, 15);
    user.write("a.tar.gz", &archive);
    let push = user.command(&["push", "a.tar.gz", "--idle-timeout", "2s"]);
    let mut push = Program::start(push);
    eventually("most of it is sent", || {
        proxy.sent_bytes() > 26 * MIB as u64
    });
    let store = server.kill();
    let server = Waystation::start_on(store, &[]);
    proxy.move_to(server.address);
    assert_eq!(push.await_end(), Some(0), "{}", push.stderr());
    assert!(
        proxy.sent_bytes() < 60 * MIB as u64,
        "{}",
        proxy.sent_bytes()
    );
    let link = push.stdout();
    let user = User::new();
    user.done(&["pull", link.trim_end(), "-o", "b"]);
    assert!(fs::read(user.home().join("b")).unwrap() == archive);
}
