//! Behind nginx, with TLS and a path prefix: links come out right, uploads stream through, and a
//! client is known by its own address.

use std::net::TcpListener;
use std::process::Command;

use waystation_testing::certificate::Certificate;
use waystation_testing::connection::Connection;
use waystation_testing::curl::{HeldUpload, curl};
use waystation_testing::program::{Program, tools};
use waystation_testing::{Source, Waystation, archive, assert_refused, eventually};

/// nginx in front of a server that trusts it.
pub(crate) struct Proxied {
    pub(crate) server: Waystation,
    pub(crate) url: String,
    cert_file: String,
    _nginx: Program,
}

impl Proxied {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_with_limit("0", flags)
    }

    /// One that lets no larger request through.
    fn start_with_limit(limit: &str, flags: &[&str]) -> Self {
        let trusting = ["--trusted-proxy", "127.0.0.1"];
        let server = Waystation::start(&[&trusting[..], flags].concat());
        let certificate = Certificate::make(&server.store);
        let port = free_port();
        let nginx = start_nginx(&server, &certificate, port, limit);
        Self {
            url: format!("https://localhost:{port}/deploy"),
            cert_file: certificate.cert_file,
            server,
            _nginx: nginx,
        }
    }

    fn curl(&self, arguments: &[&str]) -> waystation_testing::reply::Reply {
        curl(&[&["--cacert", self.cert_file.as_str()], arguments].concat())
    }

    fn create_source(&self) -> Source {
        let bearer = self.server.bearer();
        let sources = format!("{}/v1/sources", self.url);
        Source::of(&self.curl(&["-X", "POST", "-H", &bearer, &sources]))
    }
}

/// nginx cannot be asked which port it was given, so it is given one that was free just now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn start_nginx(server: &Waystation, certificate: &Certificate, port: u16, limit: &str) -> Program {
    let room = server.store.room();
    let config = config(server, certificate, port);
    let config = config.replace(
        "client_max_body_size 0;",
        &format!("client_max_body_size {limit};"),
    );
    let config = server.store.write_file("nginx.conf", config.as_bytes());
    let mut command = Command::new(tools().join("bin/nginx"));
    command.arg("-p").arg(room).args(["-c", &config]);
    command.args(["-e", "stderr", "-g", "daemon off;"]);
    let nginx = Program::start(command);
    eventually("nginx accepts", || Connection::can_open(port));
    nginx
}

fn config(server: &Waystation, certificate: &Certificate, port: u16) -> String {
    let Certificate {
        cert_file,
        key_file,
    } = certificate;
    let (http, location) = readme_snippet(server);
    format!(
        "worker_processes 1;
        master_process off;
        pid nginx.pid;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;
            {http}
            server {{
                listen 127.0.0.1:{port} ssl;
                ssl_certificate {cert_file};
                ssl_certificate_key {key_file};
                {location}
            }}
        }}"
    )
}

/// What the README says about nginx: the part for `http`, and that for `server`.
fn readme_snippet(server: &Waystation) -> (String, String) {
    let readme = include_str!("../../README.md");
    let (_, snippet) = readme.split_once("```text\n# In http").unwrap();
    let (snippet, _) = snippet.split_once("```").unwrap();
    let here = format!("#{snippet}")
        .replace("127.0.0.1:8080", &server.address.to_string())
        .replace("/var/log/nginx/", "");
    let (http, location) = here.split_once("# In server").unwrap();
    (http.to_owned(), format!("#{location}"))
}

#[test]
fn the_log_of_the_readmes_proxy_holds_no_link() {
    let proxied = Proxied::start(&[]);
    let source = proxied.create_source();
    let file = proxied
        .server
        .store
        .write_file("archive.tar.gz", b"an archive");
    proxied.curl(&["-T", &file, &source.upload_url]);
    let report_token = "ab".repeat(48);
    let report = format!("{}/v1/runner/reports/{report_token}/log", proxied.url);
    proxied.curl(&["-T", &file, &report]);
    proxied.curl(&[&source.download_url]);
    let log = proxied.server.store.room().join("waystation.log");
    let fetched = format!("GET /deploy/v1/sources/{}", source.id());
    let mut logged = String::new();
    eventually("the download is logged", || {
        logged = std::fs::read_to_string(&log).unwrap();
        logged.contains(&fetched)
    });
    for token in [
        source.upload_token(),
        source.download_token(),
        &report_token,
    ] {
        assert!(!logged.contains(token), "{logged}");
    }
}

#[test]
fn links_carry_the_proxys_scheme_host_and_prefix_and_work() {
    let proxied = Proxied::start(&[]);
    let source = proxied.create_source();
    assert!(source.upload_url.starts_with(&proxied.url), "{source:?}");
    assert!(source.download_url.starts_with(&proxied.url), "{source:?}");
    let bytes = archive(3_000_000, 1);
    let file = proxied.server.store.write_file("archive.tar.gz", &bytes);
    let sent = proxied.curl(&["-T", &file, &source.upload_url]);
    assert_eq!(sent.status, 200, "{sent:?}");
    assert!(proxied.curl(&[&source.download_url]).body == bytes);
}

#[test]
fn the_public_url_wins_over_what_a_proxy_says() {
    let proxied = Proxied::start(&["--public-url", "https://x.example/deploy/"]);
    let source = proxied.create_source();
    let expected = "https://x.example/deploy/v1/sources/";
    assert!(source.upload_url.starts_with(expected), "{source:?}");
}

#[test]
fn an_upload_streams_through_and_is_not_collected_on_the_way() {
    let proxied = Proxied::start(&[]);
    let source = proxied.create_source();
    let trusted = ["--cacert", proxied.cert_file.as_str()];
    let mut running = HeldUpload::start_with(&trusted, &source.upload_url);
    let bytes = archive(2_000_000, 1);
    running.send(&bytes[..1_000_000]);
    let store = &proxied.server.store;
    eventually("the first half arrives before the second is sent", || {
        store.staged_bytes() > Some(500_000)
    });
    running.send(&bytes[1_000_000..]);
    assert_eq!(running.finish().status, 200);
    assert!(proxied.curl(&[&source.download_url]).body == bytes);
}

/// By the draft, step by step: each request is below the proxy's limit, and the archive is not.
#[test]
fn an_archive_that_is_larger_than_the_proxy_lets_through_goes_in_parts() {
    const PART_BYTES: usize = 10_000_000;
    let proxied = Proxied::start_with_limit("20m", &[]);
    let source = proxied.create_source();
    let bytes = archive(2 * PART_BYTES + 5_000_000, 1);
    let store = &proxied.server.store;
    let file = store.write_file("archive.tar.gz", &bytes);
    let whole = proxied.curl(&["-T", &file, &source.upload_url]);
    assert_eq!(whole.status, 413, "{whole:?}");

    let length = format!("Upload-Length: {}", bytes.len());
    let more = ["-H", "Upload-Complete: ?0"];
    let nothing_yet = ["-X", "PUT", "-H", "Content-Length: 0", "-H", &length];
    let begun = proxied.curl(&[&nothing_yet[..], &more, &[&source.upload_url]].concat());
    assert_eq!(begun.status, 201, "{begun:?}");
    let upload = begun.header("location").unwrap();
    assert!(upload.starts_with(&source.upload_url), "{upload}");
    let mut offset = "0".to_owned();
    for part in bytes.chunks(PART_BYTES) {
        let part = format!("@{}", store.write_file("part", part));
        let at = format!("Upload-Offset: {offset}");
        let patch = [
            "-X",
            "PATCH",
            "-H",
            "Content-Type: application/partial-upload",
        ];
        let sent = ["-H", &at, "--data-binary", &part, upload];
        let answer = proxied.curl(&[&patch[..], &more, &sent].concat());
        assert_eq!(answer.status, 204, "{answer:?}");
        let head = proxied.curl(&["-X", "HEAD", upload]);
        assert_eq!(head.header("upload-complete"), Some("?0"));
        offset = head.header("upload-offset").unwrap().to_owned();
        assert_eq!(answer.header("upload-offset"), Some(offset.as_str()));
    }
    let at = format!("Upload-Offset: {offset}");
    let last = [
        "-X",
        "PATCH",
        "-H",
        "Content-Type: application/partial-upload",
    ];
    let all = ["-H", "Upload-Complete: ?1", "-H", &at, "-d", "", upload];
    let report = proxied.curl(&[&last[..], &all].concat());
    assert_eq!(report.status, 200, "{report:?}");
    assert_eq!(report.json()["upload"]["size"], bytes.len());
    assert!(proxied.curl(&[&source.download_url]).body == bytes);
}

#[test]
fn a_client_is_known_by_its_own_address_whatever_it_says() {
    let proxied = Proxied::start(&["--auth-failure-limit", "2"]);
    let sources = format!("{}/v1/sources", proxied.url);
    let fail_from = |address: &str, header: &str| {
        let from = ["--interface", address, "-H", header, "-X", "POST"];
        let wrong = ["-H", "Authorization: Bearer nonsense", &sources];
        proxied.curl(&[&from[..], &wrong].concat())
    };
    for number in 0..2 {
        let lie = format!("X-Forwarded-For: 192.0.2.{number}");
        assert_refused(&fail_from("127.0.0.2", &lie), 401);
    }
    let lie = "X-Forwarded-For: 192.0.2.9";
    assert_refused(&fail_from("127.0.0.2", lie), 429);
    assert_refused(&fail_from("127.0.0.3", lie), 401);
}
