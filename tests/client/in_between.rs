//! What stands between client and server: a proxy with a path and a limit, TLS of an own authority, proxies of the
//! environment.

use std::net::TcpListener;
use std::process::Command;

use waystation_testing::certificate::Certificate;
use waystation_testing::connection::Connection;
use waystation_testing::faulty_line::FaultyLine;
use waystation_testing::program::{Program, tools};
use waystation_testing::store_folder::Store;
use waystation_testing::{Waystation, archive, eventually};

use crate::scripted_host::server_with_links;
use crate::user::User;

/// nginx cannot be asked which port it was given, so it is given one that was free just now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// With the limit that many have, and without a word about uploads.
fn start_nginx(server: &Waystation, certificate: &Certificate, port: u16) -> Program {
    let room = server.store.room().display();
    let (address, cert_file, key_file) = (
        server.address,
        &certificate.cert_file,
        &certificate.key_file,
    );
    let config = format!(
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
            server {{
                listen 127.0.0.1:{port} ssl;
                ssl_certificate \"{cert_file}\";
                ssl_certificate_key \"{key_file}\";
                location /deploy/ {{
                    proxy_pass http://{address}/;
                    proxy_http_version 1.1;
                    client_max_body_size 20m;
                    proxy_set_header Host $http_host;
                    proxy_set_header X-Forwarded-Proto https;
                    proxy_set_header X-Forwarded-Prefix /deploy;
                }}
            }}
        }}"
    );
    let config = server.store.write_file("nginx.conf", config.as_bytes());
    let mut command = Command::new(tools().join("bin/nginx"));
    command
        .arg("-p")
        .arg(room.to_string())
        .args(["-c", &config]);
    command.args(["-e", "stderr", "-g", "daemon off;"]);
    let nginx = Program::start(command);
    eventually("nginx accepts", || Connection::can_open(port));
    nginx
}

#[test]
fn an_archive_passes_a_proxy_that_takes_less_at_once() {
    let server = Waystation::start(&["--trusted-proxy", "127.0.0.1"]);
    let certificate = Certificate::make(&server.store);
    let port = free_port();
    let _nginx = start_nginx(&server, &certificate, port);
    let user = User::of(&server).set(
        "WAYSTATION_URL",
        &format!("https://localhost:{port}/deploy"),
    );
    let unknown = user.failed(&["whoami"], 1);
    assert!(unknown.contains("certificate"), "{unknown}");
    let user = user.set("WAYSTATION_CACERT", &certificate.cert_file);
    let archive = archive(45 * 1024 * 1024, 41);
    user.write("a.tar.gz", &archive);
    let link = user.done(&["push", "a.tar.gz"]);
    assert!(
        link.starts_with(&format!("https://localhost:{port}/deploy/v1/")),
        "{link}"
    );
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
