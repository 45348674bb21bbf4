//! The store in a bucket of `moto`, S3 as people who test against it in Python have written it down: what conforms on
//! two servers that know nothing of each other does not lean on the ways of one.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use waystation::store::Store;
use waystation_testing::program::{tools, without_settings};
use waystation_testing::repository;
use waystation_testing::seaweedfs::BUCKET;

use crate::bucket::new_store_at;

/// A store below a prefix of its own: what has to be kept for it is nothing.
pub(crate) fn new_store() -> ((), Store) {
    ((), new_store_at(Moto::shared().endpoint.clone()))
}

/// One that runs as long as its input is open, and so no longer than this program.
struct Moto {
    endpoint: String,
    _program: Child,
}

impl Moto {
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Moto> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let mut program = Self::command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut told = BufReader::new(program.stdout.take().unwrap());
        told.read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().unwrap();
        Self {
            endpoint: format!("http://127.0.0.1:{port}"),
            _program: program,
        }
    }

    fn command() -> Command {
        let mut python = without_settings("python3");
        python
            .env("PYTHONPATH", tools().join("moto"))
            .arg(repository().join("tests/tools/serve_moto.py"))
            .arg(BUCKET);
        python
    }
}
