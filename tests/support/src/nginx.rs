//! nginx with TLS in front of a server.

use std::net::TcpListener;
use std::process::Command;

use crate::certificate::Certificate;
use crate::connection::Connection;
use crate::eventually;
use crate::program::{Program, tools};
use crate::store_folder::Store;

/// One that runs, with its files in the room of a store.
pub struct Nginx {
    port: u16,
    _program: Program,
}

impl Nginx {
    /// Starts one whose configuration has `in_http` and `in_server` in the parts of these names.
    pub fn start(store: &Store, certificate: &Certificate, in_http: &str, in_server: &str) -> Self {
        let port = free_port();
        let Certificate {
            cert_file,
            key_file,
        } = certificate;
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
                {in_http}
                server {{
                    listen 127.0.0.1:{port} ssl;
                    ssl_certificate {cert_file};
                    ssl_certificate_key {key_file};
                    {in_server}
                }}
            }}"
        );
        let config = store.write_file("nginx.conf", config.as_bytes());
        let mut command = Command::new(tools().join("bin/nginx"));
        command.arg("-p").arg(store.room()).args(["-c", &config]);
        command.args(["-e", "stderr", "-g", "daemon off;"]);
        let program = Program::start(command);
        eventually("nginx accepts", || Connection::can_open(port));
        Self {
            port,
            _program: program,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }
}

/// nginx cannot be asked which port it was given, so it is given one that was free just now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
