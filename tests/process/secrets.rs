//! No secret is ever written down: everything that a run has printed, and everything in its store,
//! is searched for every secret that was used.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::Value;

use waystation_testing::connection::{Connection, exchange, head};
use waystation_testing::curl::curl;
use waystation_testing::program::run;
use waystation_testing::store_folder::api_token_in;
use waystation_testing::{Source, Waystation, address_in, archive};

/// A run, and the secrets that were used in it.
struct Run {
    server: Waystation,
    secrets: Vec<String>,
}

impl Run {
    /// Starts on a new store. Its first token is read from the file, which then goes.
    fn start(flags: &[&str]) -> Self {
        let server = Waystation::start(flags);
        let text = server.store.first_start_text();
        fs::remove_file(server.store.path().join("first-token")).unwrap();
        let mut secrets = vec![api_token_in(&text), server.api_token().to_owned()];
        secrets.extend(tokens_in(&text));
        Self { server, secrets }
    }

    /// A source whose tokens are looked for in the end.
    fn source(&mut self) -> Source {
        let source = self.server.create_source();
        self.secrets.push(source.upload_token().to_owned());
        self.secrets.push(source.download_token().to_owned());
        source
    }
}

fn tokens_in(text: &str) -> Vec<String> {
    let after = text.split("?token=").skip(1);
    after.map(|rest| rest[..32].to_owned()).collect()
}

/// Each answer that a link can be given.
fn use_links(run: &mut Run) {
    let source = run.source();
    let (up, down) = (source.upload_path(), source.download_path());
    for (method, path, body) in [
        ("GET", &down, b"".as_slice()),         // nothing there yet
        ("PUT", &down, b"an archive"),          // of the other kind
        ("PUT", &up, &[0; 2048]),               // too large
        ("PUT", &up, b"an archive"),            // taken
        ("PUT", &up, b"an archive"),            // again
        ("PUT", &up, b"another"),               // other bytes
        ("GET", &down, b""),                    // served
        ("GET", &up, b""),                      // of the other kind
        ("DELETE", &up, b""),                   // not allowed
        ("GET", &format!("/nowhere{up}"), b""), // no such route
        ("GET", &up.replace("/v1", "/v2"), b""),
        (
            "GET",
            &format!("{down}&token={}", source.upload_token()),
            b"",
        ),
        ("GET", &down.replace("?token=", "/"), b""),
    ] {
        exchange(run.server.address, method, path, body);
    }
    curl(&["-r", "100-", &source.download_url]);
    curl(&["-H", "Range: bytes=5-2", &source.download_url]);
    let digest = "Repr-Digest: sha-256=:AAAA:";
    curl(&["-H", digest, "-T", "/dev/null", &run.source().upload_url]);
}

/// What goes wrong before there is a request, or in its middle.
fn break_requests(run: &mut Run) {
    let source = run.source();
    let (up, down) = (source.upload_path(), source.download_path());
    for bytes in [
        head("PUT", &up, &["Content-Length: -1"]),
        head("PUT", &up, &["Content-Length: 9"]) + "half",
        head("PUT", &up, &["Transfer-Encoding: chunked"]) + "no length\r\n",
        head("GET", &format!("{down}\0"), &[]),
        head("GET", &format!("{down}&{}", "a".repeat(100_000)), &[]),
        head("GET", &down, &["no header"]),
        head(
            "GET",
            &down,
            &["Referer: http://x/", &format!("Cookie: {down}")],
        ),
    ] {
        let mut connection = Connection::open(run.server.address);
        connection.send(bytes);
        connection.end_sending();
        connection.into_rest();
    }
}

/// Each answer that a bearer can be given.
fn use_bearers(run: &mut Run) {
    let revoked = run.server.store.create_token("to be revoked");
    let listed = run.server.store.run(&["token", "list"]).stdout;
    let of_it = listed.lines().find(|line| line.contains("to be revoked"));
    let id = of_it.unwrap().split('\t').next().unwrap();
    run.server.store.run(&["token", "revoke", id]);
    let unknown = format!("tk-us-{}", "A".repeat(48));
    let malformed = format!("tk-us-{}", "B".repeat(47));
    let sources = run.server.url("/v1/sources");
    for token in [&revoked, &unknown, &malformed, &run.secrets[0]] {
        for scheme in ["Bearer", "Basic", "Token"] {
            let bearer = format!("Authorization: {scheme} {token}");
            curl(&["-X", "POST", "-H", &bearer, &sources]);
            curl(&["-X", "POST", "-H", &bearer, "-d", "[", &sources]);
        }
        curl(&["-X", "POST", &format!("{sources}?token={token}")]);
    }
    run.secrets.extend([revoked, unknown, malformed]);
}

/// The calls that take an API token or a JWT, or give one.
fn use_the_platforms_calls(run: &mut Run) {
    let api_token = run.server.api_token().to_owned();
    let call = |method: &str, path: &str, credential: &str, body: &str| {
        let url = run.server.url(path);
        let asked = ["-X", method, "-H", credential, "-d", body, &url];
        serde_json::from_slice::<Value>(&curl(&asked).body).unwrap_or_default()
    };
    let basic = STANDARD.encode(format!(":{api_token}"));
    let by_token = format!("Authorization: Basic {basic}");
    let exchanged = call("POST", "/v1/tokens/exchange", &by_token, "");
    let jwt = exchanged["token"].as_str().unwrap().to_owned();
    let bearer = format!("Authorization: Bearer {jwt}");
    let made = call("POST", "/v1/tokens", &bearer, r#"{"token":{"name":"x"}}"#);
    let renew = format!("/v1/tokens/{}/renew", made["token"]["id"].as_str().unwrap());
    let renewed = call("PATCH", &renew, &bearer, "");
    for path in [
        "/v1/tokens",
        "/v1/users/self",
        "/v1/regions",
        "/v1/tokens?page=x",
    ] {
        call("GET", path, &bearer, "");
        call("GET", path, &format!("{bearer}x"), "");
    }
    call("POST", "/v1/tokens/exchange", &format!("{by_token}x"), "");
    call("DELETE", &format!("/v1/tokens/{api_token}"), &bearer, "");
    let secret_of = |reply: &Value| reply["token"]["token"].as_str().unwrap().to_owned();
    let new = [secret_of(&made), secret_of(&renewed), jwt, basic];
    run.secrets.extend(new);
}

/// What the store says when it cannot be read is logged with its causes.
fn damage_the_store(run: &mut Run) {
    let source = run.source();
    run.server.upload(&source, &archive(1000, 1));
    let is_it = |path: &PathBuf| path.ends_with(source.id());
    let file = run.server.store.archives().into_iter().find(is_it).unwrap();
    fs::write(file, "no archive").unwrap();
    assert_eq!(run.server.download(&source).status, 500);
    let tokens = run.server.store.entries_below("tokens");
    for document in tokens.iter().filter(|path| path.is_file()) {
        fs::write(document, "no document").unwrap();
    }
    let sources = run.server.url("/v1/sources");
    let reply = curl(&["-X", "POST", "-H", &run.server.bearer(), &sources]);
    assert_eq!(reply.status, 500);
}

/// What precedes the last 32 characters of an API token is public: its kind and its id.
fn assert_holds_none(text: &str, secrets: &[String]) {
    for secret in secrets {
        let secret = &secret[secret.len() - 32..];
        assert!(!text.contains(secret), "{secret} is in:\n{text}");
    }
    assert!(!text.contains("token="), "a query string is in:\n{text}");
}

fn assert_no_secret_is_logged(log: &str) {
    let mut run = Run::start(&[
        &format!("--log={log}"),
        "--upload-limit=1KiB",
        "--admin-listen=127.0.0.1:0",
        // Otherwise most requests would be refused for their number, and get no further.
        "--rate-limit=0",
        "--auth-failure-limit=0",
    ]);
    use_links(&mut run);
    break_requests(&mut run);
    use_bearers(&mut run);
    use_the_platforms_calls(&mut run);
    for file in run.server.store.entries_below("") {
        let content = fs::read(&file).unwrap_or_default();
        assert_holds_none(&String::from_utf8_lossy(&content), &run.secrets);
    }
    damage_the_store(&mut run);
    let metrics = run.server.program.await_line("/metrics");
    let metrics = format!("http://{}/metrics", address_in(&metrics));
    assert_holds_none(&curl(&[&metrics]).text(), &run.secrets);

    run.server.program.signal(Signal::TERM);
    assert_eq!(run.server.program.await_end(), Some(0));
    assert_eq!(run.server.program.stdout(), "");
    let log = run.server.program.stderr();
    assert!(log.lines().count() > 40, "so little was logged: {log}");
    assert_holds_none(&log, &run.secrets);

    let mut again = Waystation::start_on(run.server.store, &[]);
    again.program.await_line("token create NAME");
    again.program.kill();
    assert_holds_none(&again.program.stdout(), &run.secrets);
    assert_holds_none(&again.program.stderr(), &run.secrets);
}

#[test]
fn the_human_log_holds_no_secret() {
    assert_no_secret_is_logged("human");
}

#[test]
fn the_json_log_holds_no_secret() {
    assert_no_secret_is_logged("json");
}

#[test]
fn the_commands_print_no_secret_except_the_token_that_is_made() {
    let server = Waystation::start(&[]);
    let token = server.api_token();
    server.create_and_upload(b"an archive");
    let commands: [&[&str]; 4] = [
        &["token", "list"],
        &["user", "list"],
        &["audit"],
        &["sweep"],
    ];
    for command in commands {
        let ended = run(server.store.command(command));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_holds_none(&(ended.stdout + &ended.stderr), &[token.to_owned()]);
    }
}

/// A secret that came with the program would open all servers.
#[test]
fn a_new_server_takes_no_secret_of_another() {
    let [one, other] = [(); 2].map(|()| Waystation::start(&[]));
    let source = one.create_source();
    for (method, path) in [
        ("PUT", source.upload_path()),
        ("GET", source.download_path()),
    ] {
        assert_eq!(exchange(other.address, method, &path, b"").status, 403);
    }
    let basic = STANDARD.encode(format!(":{}", one.api_token()));
    let basic = format!("Authorization: Basic {basic}");
    let exchanged = curl(&["-X", "POST", "-H", &basic, &one.url("/v1/tokens/exchange")]);
    let jwt = exchanged.json()["token"].as_str().unwrap().to_owned();
    let jwt = format!("Authorization: Bearer {jwt}");
    for bearer in [&one.bearer(), &jwt] {
        let call =
            |server: &Waystation| curl(&["-H", bearer, &server.url("/v1/users/self")]).status;
        assert_eq!((call(&one), call(&other)), (200, 401));
    }
}
