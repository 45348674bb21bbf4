//! Servers that run, and what is asked of them most.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::sync::OnceLock;

use jiff::Timestamp;
use rustix::process::Signal;

use crate::connection::{Connection, ask, exchange, head_for};
use crate::description::check_reply;
use crate::program::Program;
use crate::reply::Reply;
use crate::store_folder::Store;

/// A server, whatever its store is.
pub struct Server {
    pub program: Program,
    pub address: SocketAddr,
    admin: OnceLock<SocketAddr>,
}

impl Server {
    /// Starts one, and waits until it accepts connections.
    pub fn start(command: Command) -> Self {
        Self::of(Program::start(command))
    }

    /// Waits until one that was started accepts connections.
    pub fn of(program: Program) -> Self {
        let address = address_in(&program.await_line("listening on http"));
        let admin = OnceLock::new();
        Self {
            program,
            address,
            admin,
        }
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(mut self) {
        self.program.signal(Signal::TERM);
        assert_eq!(self.program.await_end(), Some(0));
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where its metrics are; it has to be started with `--admin-listen`.
    pub fn admin(&self) -> SocketAddr {
        let told = || address_in(&self.program.await_line("metrics on http://"));
        *self.admin.get_or_init(told)
    }

    pub fn ask_admin(&self, path: &str) -> Reply {
        ask(self.admin(), path)
    }

    /// One of its metrics, all of its labels together; none if it is not shown.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = self.ask_admin("/metrics").text();
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            is_it.then(|| value.parse::<f64>().unwrap())
        });
        values.reduce(|sum, value| sum + value)
    }

    /// One request; no answer if it does not come whole.
    pub fn try_call(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Option<Reply> {
        try_call(self.address, method, path, headers, body)
    }

    pub fn call(&self, method: &str, path: &str, headers: &[&str]) -> Reply {
        self.try_call(method, path, headers, b"").unwrap()
    }

    pub fn create_source(&self, bearer: &str) -> Source {
        let reply = self.call("POST", "/v1/sources", &[bearer]);
        assert_eq!(reply.status, 201, "{reply:?}");
        Source::of(&reply)
    }

    pub fn upload(&self, source: &Source, archive: &[u8]) -> Reply {
        exchange(self.address, "PUT", &source.upload_path(), archive)
    }

    pub fn download(&self, source: &Source) -> Reply {
        exchange(self.address, "GET", &source.download_path(), b"")
    }

    /// A source that has its archive.
    pub fn create_and_upload(&self, bearer: &str, archive: &[u8]) -> Source {
        let source = self.create_source(bearer);
        let reply = self.upload(&source, archive);
        assert_eq!(reply.status, 200, "{reply:?}");
        source
    }
}

/// One request to a server that may be killed meanwhile; no answer if it does not come whole.
pub fn try_call(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> Option<Reply> {
    let length = format!("Content-Length: {}", body.len());
    let headers = [&["Connection: close", &length], headers].concat();
    let mut connection = Connection::try_open(address).ok()?;
    let head = head_for(&address.to_string(), method, path, &headers);
    connection.try_send(head.as_bytes());
    connection.try_send(body);
    let received = connection.into_rest();
    let (reply, _) = Reply::parse(&received)?;
    check_reply(method, path, &reply);
    Some(reply)
}

/// A server with a store in a folder.
pub struct Waystation {
    pub store: Store,
    pub server: Server,
    api_token: OnceLock<String>,
}

impl Deref for Waystation {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Waystation {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Waystation {
    /// Starts a server on a new store and a free port.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_on(Store::new(), flags)
    }

    /// Starts a server on a store that may have been in use, on a free port.
    pub fn start_on(store: Store, flags: &[&str]) -> Self {
        let program = Program::start(store.serve(flags));
        Self::of(store, program)
    }

    /// Waits until a server that was started accepts connections.
    pub fn of(store: Store, program: Program) -> Self {
        Self {
            store,
            server: Server::of(program),
            api_token: OnceLock::new(),
        }
    }

    /// Ends the server as a crash would, and leaves its store.
    pub fn kill(mut self) -> Store {
        self.program.kill();
        self.store
    }

    /// Tells it to stop, waits until it has, and leaves its store.
    pub fn stop(self) -> Store {
        self.server.stop();
        self.store
    }

    /// A token made by the command for it.
    pub fn api_token(&self) -> &str {
        self.api_token
            .get_or_init(|| self.store.create_token("a test"))
    }

    pub fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.api_token())
    }

    pub fn create_source(&self) -> Source {
        self.server.create_source(&self.bearer())
    }

    /// A source that has its archive.
    pub fn create_and_upload(&self, archive: &[u8]) -> Source {
        self.server.create_and_upload(&self.bearer(), archive)
    }
}

/// The two links of a source.
#[derive(Clone, Debug)]
pub struct Source {
    pub upload_url: String,
    pub download_url: String,
}

impl Source {
    /// Reads the answer to a creation.
    pub fn of(reply: &Reply) -> Self {
        let json = reply.json();
        let link = |name: &str| json["source"][name].as_str().unwrap().to_owned();
        Self {
            upload_url: link("upload_url"),
            download_url: link("download_url"),
        }
    }

    /// The link without its host: a server that was started again has another port.
    pub fn upload_path(&self) -> String {
        path_of(&self.upload_url)
    }

    pub fn download_path(&self) -> String {
        path_of(&self.download_url)
    }

    pub fn id(&self) -> String {
        let path = path_of(&self.upload_url);
        let (path, _query) = path.split_once('?').unwrap();
        path.rsplit_once('/').unwrap().1.to_owned()
    }

    /// It stands in the id: the leading 48 bits, in milliseconds.
    pub fn expires_at(&self) -> Timestamp {
        let digits = self.id().replace('-', "");
        let ms = i64::from_str_radix(&digits[..12], 16).unwrap();
        Timestamp::from_millisecond(ms).unwrap()
    }

    pub fn upload_token(&self) -> &str {
        self.upload_url.split_once("?token=").unwrap().1
    }

    pub fn download_token(&self) -> &str {
        self.download_url.split_once("?token=").unwrap().1
    }
}

pub(crate) fn path_of(url: &str) -> String {
    let (_scheme, rest) = url.split_once("://").unwrap();
    rest[rest.find('/').unwrap()..].to_owned()
}

/// The address in a line of the log, whatever its form.
pub fn address_in(line: &str) -> SocketAddr {
    let (_, rest) = line.split_once("://").unwrap();
    let is_address = |c: char| c.is_ascii_digit() || ".:".contains(c);
    let end = rest.find(|c| !is_address(c)).unwrap_or(rest.len());
    rest[..end].parse().unwrap()
}
