//! Behind nginx, with TLS and a path prefix: links come out right, uploads stream through, and a
//! client is known by its own address.

use waystation_testing::certificate::Certificate;
use waystation_testing::curl::{HeldUpload, curl};
use waystation_testing::nginx::Nginx;
use waystation_testing::{Source, Waystation, archive, assert_refused, eventually};

/// nginx in front of a server that trusts it.
pub(crate) struct Proxied {
    pub(crate) server: Waystation,
    pub(crate) url: String,
    cert_file: String,
    _nginx: Nginx,
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
        let (in_http, in_server) = readme_snippet(&server);
        let limit = format!("client_max_body_size {limit};");
        let in_server = in_server.replace("client_max_body_size 0;", &limit);
        let nginx = Nginx::start(&server.store, &certificate, &in_http, &in_server);
        Self {
            url: nginx.url("/deploy"),
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
