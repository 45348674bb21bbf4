//! Power cuts while an archive is sent in parts: what its client was told of is there afterwards, and it goes on from there.

use std::fs;

use rustix::process::Signal;
use waystation_testing::archive;
use waystation_testing::clients::Book;
use waystation_testing::dice::{Dice, Rounds};
use waystation_testing::program::Program;
use waystation_testing::server::{Server, Source};
use waystation_testing::tus_client::TusUpload;

use super::{Answer, Trace, check_order, first_bearer, serve, store_in};
use crate::medium::Fate;
use crate::strace::traced;

const CUTS: usize = 25;
const ARCHIVE_BYTES: usize = 400_000;
const LONGEST_PART: usize = 70_000;
/// The answer to such a request tells an offset.
const TELLS: &str = "X-Request-Id: part";

/// An upload in parts whose calls were traced.
struct Traced {
    trace: Trace,
    source: Source,
    upload: TusUpload,
    bytes: Vec<u8>,
}

/// Sends half of a part, and goes away. Returns how far the upload is then.
fn break_off(server: &Server, upload: &TusUpload, at: usize, part: &[u8]) -> usize {
    let mut connection = upload.start_part(server.address, at, part.len());
    connection.send(&part[..part.len() / 2]);
    connection.end_sending();
    connection.next_reply();
    upload.offset(server.address)
}

impl Traced {
    fn record(dice: &mut Dice) -> Self {
        let room = tempfile::tempdir().unwrap();
        let output = tempfile::NamedTempFile::new().unwrap();
        let command = traced(&serve(room.path()), output.path(), &[]);
        let mut server = Server::of(Program::start(command));
        let token = fs::read_to_string(store_in(room.path()).join("first-token"));
        let bearer = first_bearer(&token.unwrap());
        let source = server.create_source(&bearer);
        let bytes = archive(ARCHIVE_BYTES, 5);
        let upload = TusUpload::begin(server.address, &source, bytes.len(), &[TELLS]);
        let mut told = 0;
        while told < bytes.len() {
            let length = (1 + dice.below(LONGEST_PART)).min(bytes.len() - told);
            let part = &bytes[told..told + length];
            let is_last = told + length == bytes.len();
            told = if is_last {
                let last = upload.with(&["X-Request-Id: last"]);
                last.patch(server.address, told, part)
            } else if dice.chance(30) {
                break_off(&server, &upload, told, part)
            } else {
                upload.patch(server.address, told, part)
            };
        }
        server.program.signal(Signal::TERM);
        assert_eq!(server.program.await_end(), Some(0));
        let trace = Trace::of(room, output.path(), Book::default(), bearer);
        Self {
            trace,
            source,
            upload,
            bytes,
        }
    }

    /// Cuts the power, and goes on with the upload on what is left.
    fn cut(&self, instant: usize, dice: &mut Dice) {
        let fate = match dice.below(10) {
            0..4 => Fate::NoneIsKept,
            4 => Fate::AllAreKept,
            _ => Fate::Chance(*dice.pick(&[10, 50, 90])),
        };
        let room = tempfile::tempdir().unwrap();
        let medium = self.trace.medium_at(instant, dice);
        medium.cut(fate, dice, room.path());
        println!("the power is cut at line {instant}: {fate:?}");
        let answers = self.trace.answers_by(instant);
        let told = answers.iter().filter_map(|answer| {
            let Answer::Offset(offset) = answer else {
                return None;
            };
            Some(*offset)
        });
        let server = Server::start(serve(room.path()));
        let Some(told) = told.max() else {
            return;
        };
        let offset = self.upload.offset(server.address);
        assert!(offset >= told, "{offset} after {told}");
        if offset < self.bytes.len() {
            let rest = &self.bytes[offset..];
            self.upload.patch(server.address, offset, rest);
        }
        assert!(server.download(&self.source).body == self.bytes);
    }
}

#[test]
fn what_was_told_of_an_upload_in_parts_outlives_a_power_cut_at_any_instant() {
    let mut dice = Dice::new("power cuts in parts");
    let traced = Traced::record(&mut dice);
    let answers = check_order(&traced.trace);
    let instants = traced.trace.instants();
    let mut cuts = 0;
    for _ in Rounds::new(CUTS) {
        traced.cut(*dice.pick(&instants), &mut dice);
        cuts += 1;
    }
    println!("soak: {cuts} power cuts in uploads in parts, {answers} answers in order");
}
