//! Readers of standard output and error that are stuck or gone: they stop nothing.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, pipe};
use std::net::SocketAddr;
use std::process::Command;

use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Signal, kill_process};

use waystation_testing::connection::{Connection, ask, exchange, head};
use waystation_testing::program::{Killed, Program};
use waystation_testing::store_folder::Store;
use waystation_testing::terminal::Terminal;
use waystation_testing::{Waystation, address_in, eventually};

/// Requests that are sent before their answers are read.
const AT_ONCE: usize = 100;

/// A server all output of which goes into one pipe, of which nobody reads more than was needed.
struct Unread {
    child: Killed,
    output: BufReader<PipeReader>,
    address: SocketAddr,
    admin: SocketAddr,
    _store: Store,
}

impl Unread {
    fn start() -> Self {
        let store = Store::new();
        let (reader, writer) = pipe().unwrap();
        fcntl_setpipe_size(&writer, 4096).unwrap();
        let mut command = store.serve(&["--admin-listen", "0"]);
        let child = start(&mut command, writer);
        // A command keeps what it gives to its child, and the pipe would never end.
        drop(command);
        let mut output = BufReader::new(reader);
        let admin = address_in(&line_with("metrics on http://", &mut output));
        let address = address_in(&line_with("listening on http://", &mut output));
        Self {
            child,
            output,
            address,
            admin,
            _store: store,
        }
    }

    /// Has more to say than the pipe and the queue before it can hold.
    fn fill(&self) {
        let requests = head("GET", "/", &[]).repeat(AT_ONCE);
        let mut connection = Connection::open(self.address);
        eventually("lines are lost", || {
            connection.send(&requests);
            for _ in 0..AT_ONCE {
                assert_eq!(connection.next_reply().status, 404);
            }
            self.lost_lines() > 0
        });
    }

    fn lost_lines(&self) -> u64 {
        let metrics = ask(self.admin, "/metrics").text();
        let lost = metrics
            .lines()
            .find_map(|line| line.strip_prefix("waystation_log_lines_lost_total "));
        lost.unwrap().parse().unwrap()
    }

    fn end(mut self) {
        kill_process(Pid::from_child(&self.child.0), Signal::TERM).unwrap();
        let mut ended = None;
        eventually("it ends", || {
            ended = self.child.0.try_wait().unwrap();
            ended.is_some()
        });
        assert_eq!(ended.unwrap().code(), Some(0));
    }
}

fn start(command: &mut Command, output: PipeWriter) -> Killed {
    let child = command
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn();
    Killed(child.unwrap())
}

fn line_with(part: &str, output: &mut impl BufRead) -> String {
    let mut lines = output.lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains(part));
    line.unwrap_or_else(|| panic!("it never said '{part}'"))
}

#[test]
fn a_full_pipe_holds_up_no_request_no_connection_and_no_shutdown() {
    let server = Unread::start();
    server.fill();
    assert_eq!(exchange(server.address, "GET", "/", b"").status, 404);
    server.end();
}

#[test]
fn a_reader_that_reads_again_learns_how_many_lines_were_lost() {
    let mut server = Unread::start();
    server.fill();
    let report = line_with("log lines were dropped", &mut server.output);
    let lines = report.split_once("lines=").unwrap().1;
    assert_eq!(
        lines.parse::<u64>().unwrap(),
        server.lost_lines(),
        "{report}"
    );
    server.end();
}

#[test]
fn a_reader_that_is_gone_stops_nothing() {
    let mut server = Unread::start();
    server.output = BufReader::new(pipe().unwrap().0);
    assert_eq!(exchange(server.address, "GET", "/", b"").status, 404);
    server.end();
}

#[test]
fn a_stopped_terminal_does_not_hold_up_the_start() {
    let terminal = Terminal::new();
    terminal.stop();
    let store = Store::new();
    let program = Program::start_on(&terminal, store.serve(&[]));
    let server = Waystation::of(store, program);
    server
        .program
        .await_line("the first API token could not be shown");
    server.create_source();
    server.stop();
}
