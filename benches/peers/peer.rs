//! The servers that are compared: how each is configured, and where its clients upload and download.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio_rustls::rustls::ClientConfig;

use crate::body::Body;
use crate::connection::Connection;
use crate::process::{Process, empty, free_address};
use crate::s3;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server that runs.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    kind: Kind,
    tls: Option<Arc<ClientConfig>>,
    folder: PathBuf,
    made: AtomicUsize,
}

enum Kind {
    Waystation {
        api_token: String,
        jwt: String,
        /// Where it tells its metrics, if it was asked to.
        admin: Option<SocketAddr>,
        /// The flags that say where its store is.
        store: Vec<String>,
        is_on_bucket: bool,
    },
    /// A `PUT` makes a file, a `GET` sends it.
    Files { root: PathBuf },
    /// Links signed beforehand.
    S3,
}

/// Where one archive is uploaded and downloaded.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) put: String,
    pub(crate) get: String,
}

/// A certificate for all servers that speak TLS, and the client's side of it.
pub(crate) struct Certificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client: Arc<ClientConfig>,
}

/// Where things are.
#[derive(Clone)]
pub(crate) struct Places {
    /// All that is written; on the file system that is measured.
    pub(crate) room: PathBuf,
    pub(crate) waystation: PathBuf,
    /// Another build, to be measured beside it.
    pub(crate) before: Option<PathBuf>,
    pub(crate) tools: PathBuf,
}

impl Places {
    fn tool(&self, name: &str) -> String {
        self.tools
            .join("bin")
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// What a tool says its version is: the first line that has a digit.
    pub(crate) fn version(&self, name: &str, flag: &str) -> String {
        let output = Command::new(self.tool(name)).arg(flag).output();
        let output = output.unwrap();
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        let line = told
            .lines()
            .find(|line| line.contains(|c: char| c.is_ascii_digit()));
        line.unwrap_or_default().trim().to_owned()
    }

    pub(crate) fn wrk(&self) -> String {
        self.tool("wrk")
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The command of a server of ours on a store, which takes calls without limit and links that outlive
/// the measurements. All else is as users get it.
pub(crate) fn waystation_command(
    places: &Places,
    address: SocketAddr,
    store: &Path,
    flags: &[&str],
) -> Vec<String> {
    let (program, address) = (text(&places.waystation), address.to_string());
    let mut command = words(&[
        program,
        "serve",
        "--listen",
        &address,
        "--store",
        text(store),
    ]);
    command.extend(words(&[
        "--rate-limit",
        "0",
        "--upload-limit",
        "8GiB",
        "--drain",
        "1s",
    ]));
    command.extend(words(flags));
    command
}

impl Peer {
    /// Starts a server of ours on an empty store.
    pub(crate) fn waystation(
        places: &Places,
        name: &'static str,
        tls: Option<&Certificate>,
        flags: &[&str],
    ) -> Self {
        let folder = places.room.join(name.replace(' ', "-"));
        empty(&folder);
        let address = free_address();
        let mut flags = words(flags);
        if !flags.iter().any(|flag| flag == "--lifetime") {
            flags.extend(words(&["--lifetime", "6h"]));
        }
        if let Some(made) = tls {
            flags.extend(words(&[
                "--tls-cert",
                text(&made.cert),
                "--tls-key",
                text(&made.key),
            ]));
        }
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let command = waystation_command(places, address, &folder.join("store"), &flags);
        let process = Process::start(&folder, &command);
        let client = tls.map(|made| Arc::clone(&made.client));
        await_answers(address, client.as_ref(), 404);
        let store = words(&["--store", text(&folder.join("store"))]);
        let api_token = create_token(places, &store, &[]);
        let mut connection = Connection::open(address, client.as_ref());
        let jwt = exchange(&mut connection, &api_token);
        Self {
            name,
            address,
            process,
            kind: Kind::Waystation {
                api_token,
                jwt,
                admin: None,
                store,
                is_on_bucket: false,
            },
            tls: client,
            folder,
            made: AtomicUsize::new(0),
        }
    }

    /// Starts a server of ours on a bucket, below a prefix of its own.
    pub(crate) fn node(places: &Places, name: &'static str, objects: &Self) -> Self {
        let folder = places.room.join(name.replace(' ', "-"));
        empty(&folder);
        let (address, admin) = (free_address(), free_address());
        let made = objects.made.fetch_add(1, Ordering::Relaxed);
        let store = format!("s3://{}/node-{made}", s3::BUCKET);
        let endpoint = format!("http://{}", objects.address);
        let (first_token, admin_text) = (folder.join("first-token"), admin.to_string());
        let flags = [
            "--lifetime",
            "6h",
            "--s3-endpoint",
            &endpoint,
            "--admin-listen",
            &admin_text,
            "--first-token-file",
            text(&first_token),
        ];
        let command = waystation_command(places, address, Path::new(&store), &flags);
        let keys = STANDARD.encode([7; 32]);
        let set = s3::environment().into_iter();
        let set = set.chain([("WAYSTATION_KEYS", keys.as_str())]);
        let set = set.map(|(name, value)| format!("{name}={value}"));
        let command = [vec!["env".to_owned()], set.collect(), command].concat();
        let process = Process::start(&folder, &command);
        await_answers(address, None, 404);
        // On a line of its own, among what can be done with it.
        let shown = fs::read_to_string(&first_token).unwrap();
        let mut lines = shown.lines().map(str::trim);
        let api_token = lines
            .find(|line| line.starts_with("tk-us-"))
            .unwrap()
            .to_owned();
        let jwt = exchange(&mut Connection::open(address, None), &api_token);
        Self {
            name,
            address,
            process,
            kind: Kind::Waystation {
                api_token,
                jwt,
                admin: Some(admin),
                store: words(&["--store", &store, "--s3-endpoint", &endpoint]),
                is_on_bucket: true,
            },
            tls: None,
            folder,
            made: AtomicUsize::new(0),
        }
    }

    /// The same server, to which the way is longer.
    pub(crate) fn delayed(places: &Places, peer: &Self, added_ms: &str) -> Self {
        let folder = places.room.join("delay");
        empty(&folder);
        let address = free_address();
        let program = std::env::current_exe().unwrap();
        let target = peer.address.to_string();
        let command = words(&[
            text(&program),
            "delay",
            &address.to_string(),
            &target,
            added_ms,
        ]);
        let process = Process::start(&folder, &command);
        let started = Instant::now();
        while Connection::try_open(address, None).is_err() {
            assert!(started.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        }
        Self {
            name: peer.name,
            address,
            process,
            kind: Kind::S3,
            tls: None,
            folder,
            made: AtomicUsize::new(1_000_000),
        }
    }

    /// What it tells of itself.
    pub(crate) fn metrics(&self) -> String {
        let Kind::Waystation {
            admin: Some(admin), ..
        } = self.kind
        else {
            panic!("{} tells no metrics", self.name);
        };
        let (answer, body) = Connection::open(admin, None).ask("GET", "/metrics", "", "");
        assert_eq!(answer.status, 200);
        String::from_utf8(body).unwrap()
    }

    /// nginx as a file server that takes uploads: DAV, sendfile, one worker a core.
    pub(crate) fn nginx(places: &Places, name: &'static str, tls: Option<&Certificate>) -> Self {
        let folder = places.room.join(name.replace(' ', "-"));
        empty(&folder);
        let root = folder.join("root");
        fs::create_dir(&root).unwrap();
        let address = free_address();
        let (listen, certificate) = match tls {
            None => ("", String::new()),
            Some(Certificate { cert, key, .. }) => (
                " ssl",
                format!(
                    "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3;",
                    cert.display(),
                    key.display()
                ),
            ),
        };
        let reply = crate::requests::fixed_reply();
        let configuration = format!(
            r"{user} daemon off; worker_processes auto; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log {folder}/access.log; default_type application/octet-stream;
    sendfile on; tcp_nopush on; keepalive_requests 1000000000; client_max_body_size 0;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen {address}{listen}; {certificate}
        location / {{ root {folder}/root; dav_methods PUT; }}
        location = /v1/sources {{ default_type application/json; return 201 '{reply}'; }}
    }}
}}
",
            user = nginx_user(),
            folder = folder.display(),
        );
        let process = start_nginx(places, &folder, &configuration);
        let client = tls.map(|made| Arc::clone(&made.client));
        await_answers(address, client.as_ref(), 404);
        Self::files(name, address, process, client, folder, root)
    }

    /// nginx in front of an object store, passing on what it gets and nothing more: what any server between the
    /// two costs on this machine.
    pub(crate) fn bare_proxy(places: &Places, name: &'static str, objects: &Self) -> Self {
        let address = free_address();
        let folder = places.room.join(format!("bare-proxy-{}", address.port()));
        empty(&folder);
        let configuration = format!(
            r"{user} daemon off; worker_processes auto; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log {folder}/access.log; keepalive_requests 1000000000; client_max_body_size 0;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream objects {{ server {objects}; keepalive 64; keepalive_requests 1000000000; }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://objects; proxy_http_version 1.1;
            proxy_set_header Host $http_host; proxy_set_header Connection '';
            proxy_request_buffering off; proxy_buffering off; proxy_buffer_size 256k; proxy_buffers 8 256k;
        }}
    }}
}}
",
            user = nginx_user(),
            folder = folder.display(),
            objects = objects.address,
        );
        let process = start_nginx(places, &folder, &configuration);
        await_answers(address, None, 403);
        Self {
            name,
            address,
            process,
            kind: Kind::S3,
            tls: None,
            folder,
            made: AtomicUsize::new(2_000_000),
        }
    }

    /// A file server on the HTTP library that ours uses.
    pub(crate) fn dufs(places: &Places) -> Self {
        let folder = places.room.join("dufs");
        empty(&folder);
        let root = folder.join("root");
        fs::create_dir(&root).unwrap();
        let address = free_address();
        let port = address.port().to_string();
        let dufs = places.tool("dufs");
        let command = words(&[&dufs, "-A", "-b", "127.0.0.1", "-p", &port, text(&root)]);
        let process = Process::start(&folder, &command);
        await_answers(address, None, 404);
        Self::files("dufs", address, process, None, folder, root)
    }

    /// The smallest server there can be: its uploads "synced" or not ("off"), or for small "requests".
    pub(crate) fn limit(places: &Places, name: &'static str, mode: &str) -> Self {
        let folder = places.room.join(format!("limit-{mode}"));
        empty(&folder);
        let root = folder.join("root");
        fs::create_dir(&root).unwrap();
        let address = free_address();
        let program = std::env::current_exe().unwrap();
        let address_text = address.to_string();
        let command = words(&[text(&program), "limit", &address_text, text(&root), mode]);
        let process = Process::start(&folder, &command);
        let started = Instant::now();
        while Connection::try_open(address, None).is_err() {
            assert!(started.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        }
        Self::files(name, address, process, None, folder, root)
    }

    fn files(
        name: &'static str,
        address: SocketAddr,
        process: Process,
        tls: Option<Arc<ClientConfig>>,
        folder: PathBuf,
        root: PathBuf,
    ) -> Self {
        Self {
            name,
            address,
            process,
            kind: Kind::Files { root },
            tls,
            folder,
            made: AtomicUsize::new(0),
        }
    }

    /// `SeaweedFS` with its S3 gateway; all its parts in one process.
    pub(crate) fn seaweedfs(places: &Places) -> Self {
        let folder = places.room.join("seaweedfs");
        empty(&folder);
        fs::create_dir(folder.join("data")).unwrap();
        fs::write(folder.join("identities.json"), s3::identities()).unwrap();
        let address = free_address();
        let mut command = vec![places.tool("weed")];
        command.extend(SEAWEEDFS_FLAGS.split_whitespace().map(str::to_owned));
        command.push(format!("-s3.port={}", address.port()));
        let mut leaves = String::new();
        for flag in SEAWEEDFS_PORTS {
            let port = free_address().port();
            command.push(format!("-{flag}={port}"));
            write!(leaves, "/tmp/seaweedfs-*-{port}.sock ").unwrap();
        }
        let process = Process::start_leaving(&folder, &command, &leaves);
        let peer = Self {
            name: "SeaweedFS",
            address,
            process,
            kind: Kind::S3,
            tls: None,
            folder,
            made: AtomicUsize::new(0),
        };
        peer.await_bucket();
        peer
    }

    /// It answers before it can write.
    fn await_bucket(&self) {
        let started = Instant::now();
        let probe = Body::new(1024, 0);
        let host = self.address.to_string();
        loop {
            assert!(started.elapsed() < PATIENCE, "SeaweedFS does not start");
            std::thread::sleep(Duration::from_millis(200));
            let Ok(mut connection) = Connection::try_open(self.address, None) else {
                continue;
            };
            let bucket = format!("/{}", s3::BUCKET);
            let made = connection.ask("PUT", &s3::sign("PUT", &host, &bucket), "", "");
            if !matches!(made.0.status, 200 | 409) {
                continue;
            }
            let target = self.targets(1).remove(0);
            if connection.put(&target.put, &probe).0.status == 200 {
                connection.get(&target.get, &probe);
                return;
            }
        }
    }

    /// An API token for runners of a server of ours.
    pub(crate) fn create_runner_token(&self, places: &Places) -> String {
        let Kind::Waystation { store, .. } = &self.kind else {
            panic!("{} has no runners", self.name);
        };
        create_token(places, store, &["--runner"])
    }

    /// What it has logged.
    pub(crate) fn read_log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address, self.tls.as_ref())
    }

    /// New places for archives.
    pub(crate) fn targets(&self, count: usize) -> Vec<Target> {
        let mut connection = None;
        (0..count)
            .map(|_| {
                let number = self.made.fetch_add(1, Ordering::Relaxed);
                match &self.kind {
                    Kind::Waystation { .. } => {
                        let connection = connection.get_or_insert_with(|| self.connect());
                        self.create_source(connection)
                    }
                    Kind::Files { .. } => {
                        let path = format!("/archive-{number}");
                        Target {
                            put: path.clone(),
                            get: path,
                        }
                    }
                    Kind::S3 => {
                        let path = format!("/{}/archive-{number}", s3::BUCKET);
                        let host = self.address.to_string();
                        let [put, get] =
                            ["PUT", "GET"].map(|method| s3::sign(method, &host, &path));
                        Target { put, get }
                    }
                }
            })
            .collect()
    }

    pub(crate) fn is_waystation(&self) -> bool {
        matches!(self.kind, Kind::Waystation { .. })
    }

    pub(crate) fn api_token(&self) -> &str {
        let Kind::Waystation { api_token, .. } = &self.kind else {
            panic!("{} has no API tokens", self.name);
        };
        api_token
    }

    pub(crate) fn jwt(&self) -> &str {
        let Kind::Waystation { jwt, .. } = &self.kind else {
            panic!("{} has no bearers", self.name);
        };
        jwt
    }

    /// One call to the API.
    pub(crate) fn create_source(&self, connection: &mut Connection) -> Target {
        let headers = format!("Authorization: Bearer {}\r\n", self.jwt());
        let (answer, body) = connection.ask("POST", "/v1/sources", &headers, "");
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&body));
        target_in(&body)
    }

    /// Uploads, and takes nothing for success but what says so.
    pub(crate) fn put(
        &self,
        connection: &mut Connection,
        target: &Target,
        body: &Body,
        sha256: &str,
    ) {
        let (answer, report) = connection.put(&target.put, body);
        let report = String::from_utf8_lossy(&report);
        let status = answer.status;
        let is_done = match self.kind {
            Kind::Waystation { .. } => status == 200 && report.contains(sha256),
            Kind::Files { .. } => matches!(status, 200 | 201 | 204),
            Kind::S3 => status == 200,
        };
        assert!(is_done, "{}: PUT answered {status}: {report}", self.name);
        if self.name.starts_with("limit") {
            assert_eq!(report, sha256);
        }
    }

    /// Makes a file that a file server serves.
    pub(crate) fn place(&self, name: &str, content: &[u8]) {
        let Kind::Files { root } = &self.kind else {
            panic!("{} serves no files", self.name);
        };
        fs::write(root.join(name), content).unwrap();
    }

    /// Takes away what was uploaded, behind its back. `SeaweedFS` keeps it: to delete is work for it,
    /// which would go on into the next measurement.
    pub(crate) fn clear(&self) {
        match &self.kind {
            Kind::Waystation {
                is_on_bucket: true, ..
            }
            | Kind::S3 => {}
            Kind::Waystation { .. } => remove_files(&self.folder.join("store/sources")),
            Kind::Files { root } => remove_files(root),
        }
    }
}

/// Started by root, its workers would otherwise be somebody who may not write.
fn nginx_user() -> &'static str {
    if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    }
}

fn start_nginx(places: &Places, folder: &Path, configuration: &str) -> Process {
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration).unwrap();
    let error_log = folder.join("error.log");
    let nginx = places.tool("nginx");
    let arguments = [
        &nginx,
        "-c",
        text(&file),
        "-p",
        text(folder),
        "-e",
        text(&error_log),
    ];
    Process::start(folder, &words(&arguments))
}

/// A bearer for an API token.
fn exchange(connection: &mut Connection, api_token: &str) -> String {
    let basic = STANDARD.encode(format!(":{api_token}"));
    let headers = format!("Authorization: Basic {basic}\r\n");
    let (answer, body) = connection.ask("POST", "/v1/tokens/exchange", &headers, "");
    assert_eq!(answer.status, 200, "the exchange of an API token");
    let json: Value = serde_json::from_slice(&body).unwrap();
    json["token"].as_str().unwrap().to_owned()
}

/// An API token, made by the command for it.
fn create_token(places: &Places, store: &[String], flags: &[&str]) -> String {
    let made = Command::new(&places.waystation)
        .args(["token", "create", "bench"])
        .args(store)
        .args(flags)
        .envs(s3::environment())
        .output();
    let token = String::from_utf8(made.unwrap().stdout).unwrap();
    token.trim().to_owned()
}

/// Leaves the folders, which a server may know to be there.
fn remove_files(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            remove_files(&path);
        } else {
            fs::remove_file(path).unwrap();
        }
    }
}

/// The links in the answer to a creation.
pub(crate) fn target_in(body: &[u8]) -> Target {
    let json: Value = serde_json::from_slice(body).unwrap();
    let link = |name: &str| {
        let url = json["source"][name].as_str().unwrap();
        let (_scheme, rest) = url.split_once("://").unwrap();
        rest[rest.find('/').unwrap()..].to_owned()
    };
    Target {
        put: link("upload_url"),
        get: link("download_url"),
    }
}

fn await_answers(address: SocketAddr, tls: Option<&Arc<ClientConfig>>, status: u16) {
    let started = Instant::now();
    loop {
        if let Ok(mut connection) = Connection::try_open(address, tls) {
            let (answer, _) = connection.ask("GET", "/is-it-there", "", "");
            assert_eq!(answer.status, status);
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{address} does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Makes a certificate for `localhost` in files of `folder`.
pub(crate) fn make_certificate(folder: &Path) -> Certificate {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
    use tokio_rustls::rustls::{RootCertStore, version};

    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = [folder.join("cert.pem"), folder.join("key.pem")];
    fs::write(&files[0], cert.pem()).unwrap();
    fs::write(&files[1], signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    // One cipher, so that both servers have the same work.
    let provider = CryptoProvider {
        cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..ring::default_provider()
    };
    let client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let [cert, key] = files;
    Certificate {
        cert,
        key,
        client: Arc::new(client),
    }
}

/// As many volumes as there is room for, no sweeping up while others are measured, an election among
/// one that does not take ten seconds; all else as it comes.
const SEAWEEDFS_FLAGS: &str = "-logtostderr=true server -dir=data -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.electionTimeout=1s -master.telemetry=false -master.volumeSizeLimitMB=1024 \
    -master.garbageThreshold=0.99 -volume.max=0 -filer.localSocket=filer.sock \
    -s3 -s3.config=identities.json -s3.localSocket=s3.sock -s3.port.iceberg=0 -s3.port.lance=0";

const SEAWEEDFS_PORTS: [&str; 7] = [
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
];

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_millis()).unwrap()
}
