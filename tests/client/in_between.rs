//! What stands between client and server: a proxy with a path and a limit, TLS of an own authority, proxies of the
//! environment.

use waystation_testing::certificate::Certificate;
use waystation_testing::faulty_line::FaultyLine;
use waystation_testing::nginx::Nginx;
use waystation_testing::store_folder::Store;
use waystation_testing::{Waystation, archive};

use crate::scripted_host::server_with_links;
use crate::user::User;

/// With the limit that many have, and without a word about uploads.
fn start_nginx(server: &Waystation, certificate: &Certificate) -> Nginx {
    let location = format!(
        "location /deploy/ {{
            proxy_pass http://{}/;
            proxy_http_version 1.1;
            client_max_body_size 20m;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Proto https;
            proxy_set_header X-Forwarded-Prefix /deploy;
        }}",
        server.address
    );
    Nginx::start(&server.store, certificate, "", &location)
}

#[test]
fn an_archive_passes_a_proxy_that_takes_less_at_once() {
    let server = Waystation::start(&["--trusted-proxy", "127.0.0.1"]);
    let certificate = Certificate::make(&server.store);
    let nginx = start_nginx(&server, &certificate);
    let user = User::of(&server).set("WAYSTATION_URL", &nginx.url("/deploy"));
    let unknown = user.failed(&["whoami"], 1);
    assert!(unknown.contains("certificate"), "{unknown}");
    let user = user.set("WAYSTATION_CACERT", &certificate.cert_file);
    let archive = archive(45 * 1024 * 1024, 41);
    user.write("a.tar.gz", &archive);
    let link = user.done(&["push", "a.tar.gz"]);
    assert!(link.starts_with(&nginx.url("/deploy/v1/")), "{link}");
    user.done(&["pull", &link, "-o", "b"]);
    assert!(std::fs::read(user.home().join("b")).unwrap() == archive);
}

/// A server that is near may name links that are far away.
#[test]
fn the_authorities_of_the_system_are_trusted_for_links_of_a_server_of_plain_http() {
    let store = Store::new();
    let certificate = Certificate::make(&store);
    let server = Waystation::start_on(store, &certificate.flags());
    let link = format!("https://localhost:{}/v1/sources/x", server.address.port());
    let (api, _) = server_with_links(&link, &link);
    let user = User::at(&api);
    user.write("app/a", "one");
    let unknown = user.failed(&["push", "app"], 1);
    assert!(unknown.contains("certificate"), "{unknown}");
    let user = user.set("SSL_CERT_FILE", &certificate.cert_file);
    let known = user.failed(&["push", "app"], 1);
    assert!(known.contains("answered 404"), "{known}");
}

#[test]
fn plain_http_is_spoken_on_a_machine_without_any_authority() {
    let server = Waystation::start(&[]);
    let user = User::of(&server);
    let none = user.write("none.pem", "");
    let user = user.set("SSL_CERT_FILE", none.to_str().unwrap());
    user.done(&["whoami"]);
}

/// To a proxy of plain HTTP a request is sent with all of its address.
#[test]
fn a_proxy_of_the_environment_is_used_and_exemptions_are_kept_to() {
    let server = Waystation::start(&[]);
    let proxy = FaultyLine::to(server.address, &[]);
    let user = User::of(&server);
    let url = server.url("");
    let user = user.set("http_proxy", &proxy.url());
    assert_eq!(user.done(&["whoami"]), format!("admin\t{url}"));
    let seen = proxy.sent_bytes();
    assert!(seen > 0);
    let user = user.set("no_proxy", "127.0.0.1");
    user.done(&["whoami"]);
    assert_eq!(proxy.sent_bytes(), seen);
    let user = user
        .set("no_proxy", "")
        .set("http_proxy", "http://127.0.0.1:1");
    user.failed(&["whoami"], 1);
}
