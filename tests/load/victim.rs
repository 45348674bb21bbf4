//! The server that is attacked.

use std::ops::Deref;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use waystation_testing::Waystation;
use waystation_testing::certificate::Certificate;
use waystation_testing::line::Target;
use waystation_testing::program::Program;
use waystation_testing::store_folder::Store;

/// How much of the log is kept: it has a line for each guess.
const LOG_LINES: usize = 2_000;

/// A server that is spoken to within TLS.
pub(crate) struct Victim {
    pub(crate) server: Waystation,
    pub(crate) target: Target,
}

impl Deref for Victim {
    type Target = Waystation;

    fn deref(&self) -> &Waystation {
        &self.server
    }
}

impl Victim {
    pub(crate) fn start(flags: &[&str]) -> Self {
        raise_open_files();
        let store = Store::new();
        let certificate = Certificate::make(&store);
        let own = ["--admin-listen", "0", "--rate-limit", "0"];
        let flags = [&own[..], &certificate.flags(), flags].concat();
        let program = Program::start_keeping(store.serve(&flags), LOG_LINES);
        let server = Waystation::of(store, program);
        // Now, while the line that says so is kept.
        server.admin();
        Self {
            target: Target::new(server.address, &certificate.cert_file),
            server,
        }
    }
}

/// Each attacker's connection is an open file of the test, too.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, most).unwrap();
}
