//! Uploads in parts, over lines that break: what the server has is not sent again.

use std::cell::Cell;
use std::fs;

use waystation_testing::faulty_line::{Fault, FaultyLine};
use waystation_testing::program::Program;
use waystation_testing::{Waystation, archive, eventually};

use crate::scripted_host::{host, reply, reply_with, server_with_links};
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

fn method_of(line: &str) -> &str {
    line.split(' ').next().unwrap()
}

fn offer(limit_bytes: usize) -> Vec<u8> {
    let limit = format!("Upload-Limit: max-size={limit_bytes}");
    reply_with(200, &[&limit, "Content-Length: 0"], "")
}

/// Else a proxy that restarts would turn an upload in parts into one that begins anew at each break.
#[test]
fn whether_parts_are_taken_is_asked_again_after_a_passing_failure() {
    let asks = Cell::new(0);
    let (store, asked) = host(move |_| {
        asks.set(asks.get() + 1);
        match asks.get() {
            1 => Vec::new(),
            2 => reply(503, ""),
            _ => offer(10),
        }
    });
    let (api, _) = server_with_links(&store, &store);
    let user = User::at(&api);
    user.write("app/a", "one");
    user.failed(&["push", "app"], 1);
    let asked = asked.lock().unwrap();
    let methods: Vec<_> = asked.iter().map(|asked| method_of(&asked.line)).collect();
    assert_eq!(methods, ["OPTIONS"; 3]);
}

#[test]
fn a_beginning_that_failed_is_not_one() {
    let (beginnings, parts) = (Cell::new(0), Cell::new(0));
    let (store, asked) = host(move |asked| match method_of(&asked.line) {
        "OPTIONS" => offer(100 * MIB),
        "PUT" => {
            beginnings.set(beginnings.get() + 1);
            if beginnings.get() <= 3 {
                return reply(503, "");
            }
            reply_with(201, &["Location: /attempt", "Content-Length: 0"], "")
        }
        _ => {
            parts.set(parts.get() + 1);
            reply(if parts.get() == 1 { 404 } else { 200 }, "")
        }
    });
    let (api, _) = server_with_links(&store, &store);
    let user = User::at(&api);
    user.write("a.tar.gz", archive(5 * MIB, 18));
    let pushed = user.run(&["push", "a.tar.gz"]);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    let asked = asked.lock().unwrap();
    let methods: Vec<_> = asked.iter().map(|asked| method_of(&asked.line)).collect();
    let expected = "OPTIONS PUT PUT PUT PUT PATCH PUT PATCH";
    assert_eq!(methods.join(" "), expected);
}
