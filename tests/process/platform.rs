//! The platform's own clients: the exact calls of its command line, and its JavaScript library.

use serde::Deserialize;
use serde_json::Value;

use waystation_testing::connection::{Connection, head};
use waystation_testing::program::{run, tools, without_settings};
use waystation_testing::reply::Reply;
use waystation_testing::{Source, Waystation, archive, assert_refused, repository};

/// What the command line sends with every call.
const ALWAYS: [&str; 4] = [
    "User-Agent: Scalingo Go Client",
    "Content-Type: application/json",
    "Accept: application/json",
    "Accept-Encoding: gzip",
];

/// `Authorization: Basic` for an API token as password of nobody.
fn basic(api_token: &str) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!(":{api_token}"));
    format!("Authorization: Basic {encoded}")
}

/// The command line keeps one connection to each host, and so does this.
struct CommandLine {
    connection: Connection,
    authorization: String,
}

impl CommandLine {
    fn call(&mut self, method: &str, path: &str, body: &str) -> Reply {
        let length = format!("Content-Length: {}", body.len());
        let mut headers = ALWAYS.to_vec();
        headers.extend([self.authorization.as_str(), &length]);
        self.connection.send(head(method, path, &headers));
        self.connection.send(body);
        self.connection.next_reply()
    }
}

#[derive(Deserialize)]
struct Exchanged {
    token: String,
}

#[derive(Deserialize)]
struct UserAnswer {
    user: User,
}

#[derive(Deserialize)]
struct User {
    id: String,
    username: String,
    email: String,
    fullname: String,
    flags: std::collections::BTreeMap<String, bool>,
}

#[derive(Deserialize)]
struct RegionsAnswer {
    regions: Vec<Region>,
}

#[derive(Deserialize)]
struct Region {
    name: String,
    display_name: String,
    api: String,
    dashboard: String,
    database_api: String,
    ssh: String,
    default: bool,
}

/// As the command line reads an error: a text, or texts by attribute.
#[derive(Deserialize)]
struct PlatformError {
    error: Option<String>,
    errors: Option<std::collections::BTreeMap<String, Vec<String>>>,
}

#[test]
fn the_command_line_logs_in_and_uploads() {
    let server = Waystation::start(&[]);
    let mut line = CommandLine {
        connection: Connection::open(server.address),
        authorization: basic(server.api_token()),
    };
    let exchanged = line.call("POST", "/v1/tokens/exchange", "{}");
    let exchanged: Exchanged = serde_json::from_slice(&exchanged.body).unwrap();
    line.authorization = format!("Authorization: Bearer {}", exchanged.token);

    let user = line.call("GET", "/v1/users/self?", "");
    let UserAnswer { user } = serde_json::from_slice(&user.body).unwrap();
    assert!(user.id.starts_with("us-"));
    assert_eq!(
        (user.username.as_str(), user.fullname.as_str()),
        ("admin", "admin")
    );
    assert_eq!((user.email.as_str(), user.flags.len()), ("", 0));

    let regions = line.call("GET", "/v1/regions?", "");
    let RegionsAnswer { regions } = serde_json::from_slice(&regions.body).unwrap();
    let [region] = regions.as_slice() else {
        panic!("one region is expected");
    };
    assert_eq!(region.api, "http://waystation.test");
    assert!(region.default && region.ssh.is_empty());
    assert!(!region.name.is_empty() && !region.display_name.is_empty());
    assert_eq!(region.dashboard, region.database_api);

    let created = line.call("POST", "/v1/sources", "{}");
    assert_eq!(created.status, 201);
    let source = Source::of(&created);
    upload_like_the_command_line(&server, &source);
}

/// It has the archive in a file, says how long it is, and takes no answer but 200 for a success.
fn upload_like_the_command_line(server: &Waystation, source: &Source) {
    let bytes = archive(300_000, 1);
    let length = format!("Content-Length: {}", bytes.len());
    let headers = ["Content-Type: application/x-gzip", &length];
    let mut connection = Connection::open(server.address);
    connection.send(head("PUT", &source.upload_path(), &headers));
    connection.send(&bytes);
    assert_eq!(connection.next_reply().status, 200);
    assert_eq!(server.download(source).body, bytes);
}

#[test]
fn each_error_reads_as_the_command_line_expects() {
    let server = Waystation::start(&["--rate-limit", "4"]);
    let mut line = CommandLine {
        connection: Connection::open(server.address),
        authorization: "Authorization: Bearer nonsense".to_owned(),
    };
    let read = |reply: &Reply| serde_json::from_slice::<PlatformError>(&reply.body).unwrap();
    let denied = line.call("GET", "/v1/users/self?", "");
    assert_refused(&denied, 401);
    assert!(read(&denied).error.is_some());

    line.authorization = server.bearer();
    let unknown = line.call("GET", "/v1/apps?", "");
    assert_refused(&unknown, 404);
    let wrong = line.call("POST", "/v1/tokens", "{}");
    assert_eq!(wrong.status, 422);
    assert!(read(&wrong).errors.unwrap().contains_key("name"));
    let broken = line.call("POST", "/v1/sources", "{");
    assert_refused(&broken, 400);
    line.call("GET", "/v1/regions?", "");
    line.call("GET", "/v1/regions?", "");
    let limited = line.call("GET", "/v1/regions?", "");
    let json = assert_refused(&limited, 429);
    assert_eq!(json["code"], "rate_limited");
    assert!(limited.header("retry-after").is_some());
}

#[test]
fn the_platforms_javascript_library_works_unchanged() {
    let server = Waystation::start(&[]);
    let script = repository().join("tests/tools/client.cjs");
    let mut node = without_settings(tools().join("bin/node").to_str().unwrap());
    node.arg(script)
        .arg(tools().join("npm/node_modules"))
        .args([&server.url(""), server.api_token()]);
    let ended = run(node);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();

    assert_eq!(told["bearer"].as_str().unwrap().split('.').count(), 3);
    assert_eq!(told["user"]["username"], "admin");
    assert_eq!(told["regions"][0]["api"], server.url(""));
    assert_eq!(told["tokens"].as_array().unwrap().len(), 3);
    assert_eq!(told["created"]["name"], "from the library");
    assert_eq!(told["renewed"]["id"], told["created"]["id"]);
    assert_ne!(told["renewed"]["token"], told["created"]["token"]);
    assert_eq!(told["left"].as_array().unwrap().len(), 2);
    assert_eq!(told["refused"]["status"], 401);
    assert!(told["refused"]["data"]["error"].is_string());
}
