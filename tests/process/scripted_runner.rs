//! A runner that does what a test says.

use serde_json::{Value, json};
use waystation_testing::{Waystation, archive};

/// A user who deploys to a real server, and a runner.
pub(crate) struct Deploying {
    pub(crate) server: Waystation,
    pub(crate) bearer: String,
    pub(crate) runner: String,
}

impl Deploying {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::on(Waystation::start(flags))
    }

    pub(crate) fn on(server: Waystation) -> Self {
        let made = server.store.run(&["token", "create", "builds", "--runner"]);
        assert_eq!(made.code, Some(0), "{made:?}");
        let it = Self {
            bearer: server.bearer(),
            runner: format!("Authorization: Bearer {}", made.stdout.trim_end()),
            server,
        };
        let body = json!({ "app": { "name": "my-shop" } });
        it.post("/v1/apps", &it.bearer, &body);
        it
    }

    /// The same with another server, once this one has been told to end and has.
    pub(crate) fn restart(self, flags: &[&str]) -> Self {
        let server = Waystation::start_on(self.server.stop(), flags);
        Self { server, ..self }
    }

    pub(crate) fn post(&self, path: &str, bearer: &str, body: &Value) -> Value {
        let body = body.to_string();
        let reply = self
            .server
            .try_call("POST", path, &[bearer], body.as_bytes())
            .unwrap();
        assert!([200, 201].contains(&reply.status), "{reply:?}");
        reply.json()
    }

    /// Deploys, claims that and confirms it. Returns the id and the path of its reports.
    pub(crate) fn run(&self) -> (String, String) {
        let id = self.deploy();
        (id, self.claim())
    }

    /// The id of a new deployment.
    pub(crate) fn deploy(&self) -> String {
        let source = self.server.create_and_upload(&archive(1_000, 1));
        let body = json!({ "deployment": { "source_url": source.download_url } });
        let made = self.post("/v1/apps/my-shop/deployments", &self.bearer, &body);
        made["deployment"]["id"].as_str().unwrap().to_owned()
    }

    /// Waits for work, and confirms it. Returns the path of its reports.
    pub(crate) fn claim(&self) -> String {
        let claimed = self.post("/v1/runner/claims", &self.runner, &json!({}));
        let claim = &claimed["claim"];
        let url = claim["report_url"].as_str().unwrap();
        let path = url.strip_prefix(&self.server.url("")).unwrap().to_owned();
        self.report(&path, "building");
        path
    }

    pub(crate) fn put(&self, path: &str, body: &str) {
        let reply = self.server.try_call("PUT", path, &[], body.as_bytes());
        assert_eq!(
            reply.as_ref().map(|reply| reply.status),
            Some(200),
            "{reply:?}"
        );
    }

    pub(crate) fn report(&self, path: &str, status: &str) {
        let body = json!({ "status": status }).to_string();
        self.put(&format!("{path}/status"), &body);
    }

    pub(crate) fn append(&self, path: &str, offset: usize, text: &str) {
        self.put(&format!("{path}/log?offset={offset}"), text);
    }
}
