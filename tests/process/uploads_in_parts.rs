//! Uploads in parts by clients that nobody here wrote, on a line that breaks again and again.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use waystation_testing::program::{Ended, run, tools};
use waystation_testing::{Source, Waystation, archive, repository};

const ARCHIVE_BYTES: usize = 3_000_000;
/// After how many bytes of a client a connection breaks, and how often one does.
const BREAK_BYTES: usize = 700_000;
const BREAKS: usize = 3;

/// A way to the server on which the first connections break that carry much.
struct BreakingLine {
    address: SocketAddr,
    breaks: Arc<AtomicUsize>,
}

impl BreakingLine {
    /// Its thread ends with the test's process.
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = Self {
            address: listener.local_addr().unwrap(),
            breaks: Arc::default(),
        };
        let breaks = Arc::clone(&line.breaks);
        thread::spawn(move || {
            for client in listener.incoming() {
                let breaks = Arc::clone(&breaks);
                thread::spawn(move || carry(client?, server, &breaks));
            }
        });
        line
    }

    /// The same link by this way.
    fn link(&self, source: &Source) -> String {
        format!("http://{}{}", self.address, source.upload_path())
    }
}

fn carry(mut client: TcpStream, server: SocketAddr, breaks: &AtomicUsize) -> io::Result<()> {
    let mut server = TcpStream::connect(server)?;
    let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let copied = io::copy(&mut answers, &mut back);
        back.shutdown(Shutdown::Both).and(copied)
    });
    let mut carried = 0;
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = client.read(&mut piece)?;
        carried += read;
        if carried > BREAK_BYTES && breaks.load(Ordering::SeqCst) < BREAKS {
            breaks.fetch_add(1, Ordering::SeqCst);
            client.shutdown(Shutdown::Both)?;
            return server.shutdown(Shutdown::Both);
        }
        if read == 0 {
            return server.shutdown(Shutdown::Write);
        }
        server.write_all(&piece[..read])?;
    }
}

/// Has `client` upload over a line that breaks, which is to be whole in the end.
fn uploads(client: impl FnOnce(&str, &str) -> Command) -> Ended {
    let server = Waystation::start(&[]);
    let source = server.create_source();
    let bytes = archive(ARCHIVE_BYTES, 1);
    let file = server.store.write_file("archive.tar.gz", &bytes);
    let line = BreakingLine::to(server.address);
    let ended = run(client(&line.link(&source), &file));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(server.download(&source).body == bytes);
    let broken = line.breaks.load(Ordering::SeqCst);
    assert_eq!(broken, BREAKS, "the client does not send enough at once");
    ended
}

fn tus_js_client(protocol: &str, chunk_bytes: usize) -> serde_json::Value {
    let ended = uploads(|url, file| {
        let mut node = Command::new(tools().join("bin/node"));
        let module = tools().join("npm/node_modules/tus-js-client");
        node.env("TUS_JS_CLIENT", module);
        node.arg(repository().join("tests/tools/upload.cjs"));
        node.args([url, file, protocol, &chunk_bytes.to_string()]);
        node
    });
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn tus_js_client_goes_on_after_each_break() {
    for chunk_bytes in [0, 1_000_000] {
        let told = tus_js_client("tus-v1", chunk_bytes);
        assert!(told["retries"].as_u64() >= Some(1), "{told}");
    }
}

#[test]
fn tus_js_client_goes_on_by_the_draft() {
    let told = tus_js_client("ietf-draft-05", 1_000_000);
    assert!(told["retries"].as_u64() >= Some(1), "{told}");
}

#[test]
fn tuspy_goes_on_after_each_break() {
    uploads(|url, file| {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", tools().join("tuspy"));
        python.arg(repository().join("tests/tools/upload.py"));
        python.args([url, file, "1000000"]);
        python
    });
}
