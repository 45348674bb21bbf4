//! The curl lines of the API's reference, run as they stand; and what others make of its description.

use std::process::Command;

use serde_json::{Value, json};
use waystation_testing::connection::ask;
use waystation_testing::description::{Operation, described};
use waystation_testing::program::{run, tools, without_settings};
use waystation_testing::{Source, Waystation, archive};

/// A server, one of all there is on it, and a shell that knows them by the names of the reference.
struct Reader {
    server: Waystation,
    bearer: String,
    runner: String,
}

impl Reader {
    fn new() -> Self {
        let server = Waystation::start(&["--rate-limit", "0"]);
        let made = server.store.run(&["token", "create", "builds", "--runner"]);
        let runner = made.stdout.trim_end().to_owned();
        server
            .store
            .write_file("archive.tar.gz", &archive(1_000, 1));
        // What curl does besides what a line says: tell the status.
        server
            .store
            .write_file(".curlrc", b"write-out = \"%{stderr}%{http_code}\"\n");
        Self {
            bearer: server.bearer(),
            runner,
            server,
        }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let bearer = [self.bearer.as_str()];
        let reply = self.server.try_call("POST", path, &bearer, body.as_bytes());
        let reply = reply.unwrap();
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()
    }

    fn claim(&self) -> Value {
        let runner = format!("Authorization: Bearer {}", self.runner);
        self.server
            .call("POST", "/v1/runner/claims", &[&runner])
            .json()["claim"]
            .clone()
    }

    /// Where an upload in parts goes on.
    fn begin_upload(&self) -> String {
        let path = self.server.create_source().upload_path();
        let headers = ["Tus-Resumable: 1.0.0", "Upload-Length: 1000"];
        let begun = self.server.call("POST", &path, &headers);
        begun.header("location").unwrap().to_owned()
    }

    /// Runs a line in a shell that knows a new app with a deployment, a source, an API token and a claim. The status.
    fn run(&self, line: &str, number: usize) -> String {
        let app = format!("line-{number}");
        self.post("/v1/apps", &json!({ "app": { "name": app } }));
        let path = format!("/v1/apps/{app}");
        let variable = json!({ "variable": { "name": "NAME", "value": "a value" } });
        let variable = self.post(&format!("{path}/variables"), &variable);
        let token = self.post("/v1/tokens", &json!({ "token": { "name": app } }));
        let uploaded = self.server.create_and_upload(&archive(1_000, 1));
        let wanted = json!({ "deployment": { "source_url": uploaded.download_url } });
        let deployments = format!("{path}/deployments");
        let running = self.post(&deployments, &wanted);
        let deployment = &running["deployment"]["id"];
        // Those that other lines left waiting may come first.
        let claim = loop {
            let claim = self.claim();
            if claim["deployment"]["id"] == *deployment {
                break claim;
            }
        };
        let Source { upload_url, .. } = self.server.create_source();
        let mut shell = without_settings("sh");
        shell
            .args(["-c", line])
            .current_dir(self.server.store.room());
        shell.env("CURL_HOME", self.server.store.room());
        for (name, value) in [
            ("SERVER", &json!(self.server.url(""))),
            ("TOKEN", &json!(self.server.api_token())),
            ("TOKEN_ID", &token["token"]["id"]),
            ("APP", &json!(app)),
            ("VARIABLE_ID", &variable["variable"]["id"]),
            ("DEPLOYMENT", deployment),
            ("UPLOAD_URL", &json!(upload_url)),
            ("LOCATION", &json!(self.begin_upload())),
            ("DOWNLOAD_URL", &json!(uploaded.download_url)),
            ("RUNNER_TOKEN", &json!(self.runner)),
            ("SOURCE_URL", &claim["source_url"]),
            ("REPORT_URL", &claim["report_url"]),
        ] {
            shell.env(name, value.as_str().unwrap());
        }
        if line.contains("/v1/runner/claims") {
            // Of another app: of this one, one runs.
            self.post("/v1/apps", &json!({ "app": { "name": "waiting" } }));
            self.post("/v1/apps/waiting/deployments", &wanted);
        }
        let ended = run(shell);
        assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
        ended.stderr
    }
}

fn line_of<'a>(operation: &Operation<'a>) -> Option<&'a str> {
    operation.is["x-codeSamples"][0]["source"].as_str()
}

#[test]
fn each_curl_line_of_the_reference_does_what_it_is_for() {
    let reader = Reader::new();
    let operations = described().operations();
    let lines = operations.iter().filter_map(|it| Some((it, line_of(it)?)));
    let lines: Vec<_> = lines.collect();
    assert!(lines.len() > 30, "{}", lines.len());
    let page = waystation_testing::repository().join("docs/api.md");
    let page = std::fs::read_to_string(page).unwrap();
    for (number, (operation, line)) in lines.into_iter().enumerate() {
        assert!(page.contains(line), "{line}");
        let status = reader.run(line, number);
        let status = status.trim();
        let is_expected = status.starts_with('2') && operation.statuses().contains(status);
        assert!(is_expected, "{line}: {status}");
    }
}

/// The validator is written for any description, by others.
#[test]
fn the_description_is_valid_for_others() {
    let server = Waystation::start(&[]);
    let description = ask(server.address, "/openapi.json");
    let file = server.store.write_file("openapi.json", &description.body);
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", tools().join("openapi"));
    python.args(["-m", "openapi_spec_validator", "--errors", "all", &file]);
    let ended = run(python);
    assert_eq!(
        ended.code,
        Some(0),
        "run tests/tools/install if it is not there: {ended:?}"
    );
}
