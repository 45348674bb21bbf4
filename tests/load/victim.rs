//! The server that is attacked.

use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use waystation_testing::address_in;
use waystation_testing::certificate::Certificate;
use waystation_testing::connection::exchange;
use waystation_testing::line::Target;
use waystation_testing::program::Program;
use waystation_testing::store_folder::Store;

/// How much of the log is kept: it has a line for each guess.
const LOG_LINES: usize = 2_000;

/// A server that is spoken to within TLS, and its metrics.
pub(crate) struct Victim {
    pub(crate) store: Store,
    pub(crate) program: Program,
    pub(crate) target: Target,
    pub(crate) api_token: String,
    metrics: SocketAddr,
}

impl Victim {
    pub(crate) fn start(flags: &[&str]) -> Self {
        raise_open_files();
        let store = Store::new();
        let certificate = Certificate::make(&store);
        let own = ["--admin-listen", "0", "--rate-limit", "0"];
        let flags = [&own[..], &certificate.flags(), flags].concat();
        let program = Program::start_keeping(store.serve(&flags), LOG_LINES);
        let metrics = address_in(&program.await_line("metrics on http://"));
        let line = program.await_line("listening on https://");
        let (_, address) = line.rsplit_once("https://").unwrap();
        let target = Target::new(address.trim().parse().unwrap(), &certificate.cert_file);
        Self {
            api_token: store.create_token("a test"),
            store,
            program,
            target,
            metrics,
        }
    }

    /// One of its metrics, all of its labels together.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = exchange(self.metrics, "GET", "/metrics", b"").text();
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            is_it.then(|| value.parse::<f64>().unwrap())
        });
        values.sum()
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
