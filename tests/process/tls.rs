//! HTTPS by the server itself, and that links never cross a network in the clear by accident.

use std::fs;

use rustix::process::Signal;
use waystation_testing::Waystation;
use waystation_testing::certificate::Certificate;
use waystation_testing::connection::exchange;
use waystation_testing::curl::{HELD_ARCHIVE_BYTES, HeldDownload, curl};
use waystation_testing::program::Program;
use waystation_testing::reply::Reply;
use waystation_testing::store_folder::Store;
use waystation_testing::{Source, archive};

/// A server that speaks TLS, and what curl needs to reach it as `localhost`.
struct Https {
    server: Waystation,
    url: String,
    cert_file: String,
    key_file: String,
}

impl Https {
    fn start() -> Self {
        let store = Store::new();
        let certificate = Certificate::make(&store);
        let server = Waystation::start_on(store, &certificate.flags());
        Self {
            url: format!("https://localhost:{}", server.address.port()),
            cert_file: certificate.cert_file,
            key_file: certificate.key_file,
            server,
        }
    }

    fn curl(&self, arguments: &[&str]) -> Reply {
        curl(&[&["--cacert", self.cert_file.as_str()], arguments].concat())
    }

    fn create_source(&self) -> Source {
        let sources = format!("{}/v1/sources", self.url);
        let reply = self.curl(&["-X", "POST", "-H", &self.server.bearer(), &sources]);
        assert_eq!(reply.status, 201, "{reply:?}");
        Source::of(&reply)
    }
}

#[test]
fn a_hand_off_works_over_https() {
    let https = Https::start();
    let bytes = archive(3_000_000, 1);
    let file = https.server.store.write_file("archive.tar.gz", &bytes);
    let source = https.create_source();
    assert!(source.upload_url.starts_with(&https.url), "{source:?}");
    let sent = https.curl(&["-T", &file, &source.upload_url]);
    assert_eq!(sent.status, 200, "{sent:?}");
    let fetched = https.curl(&[&source.download_url]);
    assert!(fetched.body == bytes);
}

/// Puts another certificate in the place of the one before, of the same size and time.
fn renew_unnoticed(https: &Https) {
    let length_of = |file: &str| fs::metadata(file).unwrap().len();
    let modified = |file: &str| fs::metadata(file).unwrap().modified().unwrap();
    let written_at = modified(&https.cert_file);
    let elsewhere = Store::new();
    let renewed = loop {
        let renewed = Certificate::make(&elsewhere);
        if length_of(&renewed.cert_file) == length_of(&https.cert_file) {
            break renewed;
        }
    };
    for (from, to) in [
        (&renewed.cert_file, &https.cert_file),
        (&renewed.key_file, &https.key_file),
    ] {
        fs::copy(from, to).unwrap();
        let file = fs::File::options().write(true).open(to).unwrap();
        file.set_modified(written_at).unwrap();
    }
}

#[test]
fn http_on_the_port_of_https_gets_a_sentence() {
    let https = Https::start();
    let reply = exchange(https.server.address, "POST", "/v1/sources", b"{}");
    assert_eq!(reply.status, 400);
    assert!(reply.json()["error"].as_str().unwrap().contains("https://"));
}

#[test]
fn a_renewed_certificate_is_used_and_no_connection_is_dropped() {
    let https = Https::start();
    let source = https.create_source();
    let bytes = archive(HELD_ARCHIVE_BYTES, 2);
    let file = https.server.store.write_file("archive.tar.gz", &bytes);
    https.curl(&["-T", &file, &source.upload_url]);

    let old = https
        .server
        .store
        .write_file("old.pem", &fs::read(&https.cert_file).unwrap());
    let running = HeldDownload::start_with(&["--cacert", &old], &source.download_url);
    renew_unnoticed(&https);
    https
        .server
        .program
        .await_line("the certificate was reloaded");
    assert!(running.finish().body == bytes);
    let fetched = https.curl(&[&source.download_url]);
    assert!(fetched.body == bytes);
}

#[test]
fn a_certificate_that_is_no_good_stops_the_start_with_a_sentence() {
    let store = Store::new();
    let certificate = Certificate::make(&store);
    let other = Store::new();
    let other_key = Certificate::make(&other).key_file;
    let nothing = store.write_file("empty.pem", b"");
    let pem = |kind: &str| format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
    let encrypted = store.write_file("encrypted.pem", pem("ENCRYPTED PRIVATE KEY").as_bytes());
    let unusable = store.write_file("unusable.pem", pem("PRIVATE KEY").as_bytes());
    for (cert, key, said) in [
        (&certificate.cert_file, &other_key, "does not match"),
        (&nothing, &certificate.key_file, "no certificate"),
        (
            &certificate.cert_file,
            &nothing,
            "cannot read a private key",
        ),
        (&certificate.cert_file, &encrypted, "is encrypted"),
        (&certificate.cert_file, &unusable, "ECDSA on P-256 or P-384"),
    ] {
        let ended = store.run(&["serve", "--tls-cert", cert, "--tls-key", key]);
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
    let ended = store.run(&["serve", "--tls-cert", &certificate.cert_file]);
    assert_eq!(ended.code, Some(2), "the one needs the other: {ended:?}");
}

#[test]
fn plain_http_is_refused_on_a_network_unless_it_is_said_to_be_meant() {
    let store = Store::new();
    let everywhere = ["serve", "--listen", "0.0.0.0:0"];
    let refused = store.run(&everywhere);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("--plain-http"), "{refused:?}");
    assert!(refused.stderr.contains("--tls-cert"), "{refused:?}");

    let allowed = store.command(&[&everywhere[..], &["--plain-http"]].concat());
    Program::start(allowed).await_line("listening on http://");
    let certificate = Certificate::make(&store);
    let with_tls = store.command(&[&everywhere[..], &certificate.flags()].concat());
    Program::start(with_tls).await_line("listening on https://");
    drop(Waystation::start(&["--plain-http"]));
}

#[test]
fn a_hangup_reads_the_certificate_again() {
    let https = Https::start();
    https.server.program.signal(Signal::HUP);
    // Nothing in its files has changed, so it was not seen there.
    let renewed = "the certificate was reloaded";
    https.server.program.await_line(renewed);
}
