//! What one address can take from the others: half of the connections and of the transfers, or what
//! is set, and no more.

use std::net::SocketAddr;

use waystation_testing::connection::{Connection, head};
use waystation_testing::curl::HELD_ARCHIVE_BYTES;
use waystation_testing::program::Program;
use waystation_testing::reply::Reply;
use waystation_testing::store_folder::Store;
use waystation_testing::{Source, Waystation, archive, assert_refused, eventually};

/// The last number of the addresses of two clients.
const GREEDY: u8 = 2;
const OTHER: u8 = 3;

/// A request that is answered, on a connection that is kept.
fn ask(connection: &mut Connection) -> Reply {
    connection.send(head("GET", "/", &[]));
    connection.next_reply()
}

fn served(from: u8, address: SocketAddr) -> Connection {
    let mut connection = Connection::open_from(from, address);
    assert_eq!(ask(&mut connection).status, 404);
    connection
}

/// Is it closed without a word?
fn is_turned_away(from: u8, address: SocketAddr) -> bool {
    let mut connection = Connection::open_from(from, address);
    connection.try_send(head("GET", "/", &["Connection: close"]).as_bytes());
    connection.into_rest().is_empty()
}

fn begin_upload(from: u8, server: &Waystation, source: &Source, headers: &[&str]) -> Connection {
    let headers = [&["Content-Length: 11"], headers].concat();
    let mut connection = Connection::open_from(from, server.address);
    connection.send(head("PUT", &source.upload_path(), &headers));
    connection.send("an archive");
    connection
}

fn staged(server: &Waystation, uploads: u64) {
    eventually("the uploads are under way", || {
        server.store.staged_bytes() == Some(10 * uploads)
    });
}

#[test]
fn an_address_with_too_many_connections_is_turned_away_and_others_are_served() {
    let flags = ["--max-connections-per-address", "2", "--admin-listen", "0"];
    let server = Waystation::start(&flags);
    let first = served(GREEDY, server.address);
    let mut second = served(GREEDY, server.address);
    assert!(is_turned_away(GREEDY, server.address));
    served(OTHER, server.address);
    assert_eq!(ask(&mut second).status, 404, "what it has goes on");

    let refused = server.metric("waystation_connections_refused_total");
    assert_eq!(refused, Some(1.0));

    drop(first);
    eventually("one that was closed makes room", || {
        !is_turned_away(GREEDY, server.address)
    });
}

#[test]
fn by_default_one_address_has_half_of_the_connections() {
    let server = Waystation::start(&["--max-connections", "4"]);
    let _greedy = [GREEDY; 2].map(|from| served(from, server.address));
    assert!(is_turned_away(GREEDY, server.address));
    let _others = [OTHER; 2].map(|from| served(from, server.address));
}

#[test]
fn a_trusted_proxy_has_as_many_connections_as_there_are() {
    let proxy = format!("127.0.0.{GREEDY}");
    let flags = ["--trusted-proxy", &proxy, "--max-connections-per-address"];
    let server = Waystation::start(&[&flags[..], &["1"]].concat());
    let _proxied = [GREEDY; 5].map(|from| served(from, server.address));
    let _other = served(OTHER, server.address);
    assert!(is_turned_away(OTHER, server.address));
}

#[test]
fn an_address_with_too_many_uploads_is_refused_and_others_upload() {
    let server = Waystation::start(&["--max-transfers", "4"]);
    let sources = [(); 4].map(|()| server.create_source());
    let _first = begin_upload(GREEDY, &server, &sources[0], &[]);
    let mut second = begin_upload(GREEDY, &server, &sources[1], &[]);
    staged(&server, 2);
    let mut third = begin_upload(GREEDY, &server, &sources[2], &[]);
    let reply = third.next_reply();
    let told = assert_refused(&reply, 503)["error"].to_string();
    assert!(told.contains("2 transfers of your address"), "{told}");
    assert!(reply.header("retry-after").is_some());

    assert_eq!(server.upload(&sources[3], b"an archive").status, 200);
    second.send("!");
    assert_eq!(second.next_reply().status, 200);
    let mut third = begin_upload(GREEDY, &server, &sources[2], &[]);
    third.send("!");
    assert_eq!(third.next_reply().status, 200, "one that ended makes room");
}

#[test]
fn a_download_that_is_not_taken_is_one_of_an_address_until_it_is_given_up() {
    let flags = ["--max-transfers-per-address", "1"];
    let server = Waystation::start(&flags);
    let source = server.create_and_upload(&archive(HELD_ARCHIVE_BYTES, 1));
    let download = head("GET", &source.download_path(), &[]);
    let mut held = Connection::open_from(GREEDY, server.address);
    held.send(&download);
    assert!(held.read_some() > 0);
    let mut second = Connection::open_from(GREEDY, server.address);
    second.send(&download);
    assert_refused(&second.next_reply(), 503);
    assert_eq!(server.download(&source).status, 200, "another address");

    drop(held);
    eventually("it was given up", || {
        second.send(head("HEAD", &source.download_path(), &[]));
        second.next_head().status == 200
    });
}

#[test]
fn behind_a_trusted_proxy_each_client_has_its_own_transfers() {
    let proxy = format!("127.0.0.{GREEDY}");
    let flags = ["--trusted-proxy", &proxy, "--max-transfers-per-address"];
    let server = Waystation::start(&[&flags[..], &["1"]].concat());
    let sources = [(); 3].map(|()| server.create_source());
    let [ada, bob] = ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2"];
    let _first = begin_upload(GREEDY, &server, &sources[0], &[ada]);
    staged(&server, 1);
    let mut second = begin_upload(GREEDY, &server, &sources[1], &[ada]);
    assert_refused(&second.next_reply(), 503);
    let mut third = begin_upload(GREEDY, &server, &sources[2], &[bob]);
    third.send("!");
    assert_eq!(third.next_reply().status, 200);
}

#[test]
fn with_few_open_files_there_are_fewer_connections_and_each_of_them_works() {
    let store = Store::new();
    let flags = ["--max-connections-per-address", "1000", "--lifetime", "4s"];
    let serve = store.serve_after("ulimit -n 128", &flags);
    let server = Waystation::of(store, Program::start(serve));
    server.program.await_line("128 open files");
    let (first, second) = (server.create_source(), server.create_source());
    let mut older = Connection::open(server.address);
    assert_eq!(ask(&mut older).status, 404);
    let idle: Vec<_> = (0..120).map(|_| Connection::open(server.address)).collect();
    for source in [&first, &second] {
        older.send(head("PUT", &source.upload_path(), &["Content-Length: 10"]));
        older.send("an archive");
        assert_eq!(older.next_reply().status, 200);
        older.send(head("GET", &source.download_path(), &[]));
        assert_eq!(older.next_reply().body, b"an archive");
    }
    eventually("what has expired is deleted", || {
        server.store.archives().is_empty()
    });
    drop(idle);
}
