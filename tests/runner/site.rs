//! A real server, real runners of it, and what is deployed there.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use tempfile::TempDir;
use waystation_testing::program::Program;
use waystation_testing::relay::Relay;
use waystation_testing::reply::Reply;
use waystation_testing::runners::{runner_of, write_token};
use waystation_testing::store_folder::Store;
use waystation_testing::wall_clock::WallClock;
use waystation_testing::{Source, Waystation, eventually, eventually_within};

/// Tests look often.
pub(crate) const FLAGS: [&str; 2] = ["--rate-limit", "0"];

/// A server, and what runners of it need.
pub(crate) struct Site {
    pub(crate) server: Waystation,
    /// What runners take for the server.
    pub(crate) relay: Relay,
    pub(crate) room: TempDir,
}

fn json_of(reply: &Reply, status: u16) -> Value {
    assert_eq!(reply.status, status, "{reply:?}");
    reply.json()
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(flags: &[&str]) -> Self {
        Self::of(Waystation::start(&[flags, &FLAGS].concat()))
    }

    pub(crate) fn of(server: Waystation) -> Self {
        let site = Self {
            relay: Relay::to(&[server.address]),
            server,
            room: tempfile::tempdir().unwrap(),
        };
        site.call(
            "POST",
            "/v1/apps",
            &json!({"app": {"name": "my-shop"}}),
            201,
        );
        site
    }

    /// The same with another server on its store, once `end` has ended this one.
    pub(crate) fn restart(
        self,
        end: impl FnOnce(Waystation) -> Store,
        start: impl FnOnce(Store) -> Waystation,
    ) -> Self {
        self.relay.move_to(&[]);
        let server = start(end(self.server));
        self.relay.move_to(&[server.address]);
        Self { server, ..self }
    }

    pub(crate) fn call(&self, method: &str, path: &str, body: &Value, status: u16) -> Value {
        let bearer = self.server.bearer();
        let headers = [bearer.as_str(), "Content-Type: application/json"];
        let body = body.to_string();
        let reply = self
            .server
            .try_call(method, path, &headers, body.as_bytes());
        json_of(&reply.unwrap(), status)
    }

    pub(crate) fn work_dir(&self) -> PathBuf {
        self.room.path().join("work")
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        let path = self.room.path().join("token");
        if !path.exists() {
            let store = &self.server.store;
            let made = store.run(&["token", "create", "builds", "--runner"]);
            write_token(&path, &made.stdout);
        }
        path
    }

    /// A runner that is not started yet.
    pub(crate) fn runner_command(&self, flags: &[&str], words: &[&str]) -> Command {
        let mut command = runner_of(&self.relay.url(), &self.token_file(), &self.work_dir());
        command.args(flags).arg("--").args(words);
        command.current_dir(self.room.path());
        command
    }

    /// A runner whose command is a script.
    pub(crate) fn runner(&self, script: &str) -> Program {
        Program::start(self.runner_command(&[], &["sh", "-c", script]))
    }

    pub(crate) fn upload(&self, archive: &[u8]) -> Source {
        self.server.create_and_upload(archive)
    }

    pub(crate) fn deploy(&self, archive: &[u8]) -> Deployment<'_> {
        self.deploy_url(&self.upload(archive).download_url)
    }

    pub(crate) fn deploy_url(&self, url: &str) -> Deployment<'_> {
        let body = json!({"deployment": {"source_url": url, "git_ref": "v1"}});
        let made = self.call("POST", "/v1/apps/my-shop/deployments", &body, 201);
        let id = made["deployment"]["id"].as_str().unwrap().to_owned();
        Deployment { site: self, id }
    }
}

/// One that was asked for.
pub(crate) struct Deployment<'a> {
    pub(crate) site: &'a Site,
    pub(crate) id: String,
}

impl Deployment<'_> {
    fn path(&self, rest: &str) -> String {
        format!("/v1/apps/my-shop/deployments/{}{rest}", self.id)
    }

    fn get(&self) -> Value {
        self.site.call("GET", &self.path(""), &json!({}), 200)["deployment"].clone()
    }

    pub(crate) fn status(&self) -> String {
        self.get()["status"].as_str().unwrap().to_owned()
    }

    pub(crate) fn output(&self) -> String {
        let bearer = self.site.server.bearer();
        let reply = self
            .site
            .server
            .call("GET", &self.path("/output"), &[&bearer]);
        reply.text()
    }

    pub(crate) fn await_output(&self, part: &str) {
        eventually(part, || self.output().contains(part));
    }

    /// Waits for the end; its status and the log.
    pub(crate) fn await_end(&self) -> (String, String) {
        let unfinished = ["queued", "building", "pushing", "starting"];
        eventually("an end", || !unfinished.contains(&self.status().as_str()));
        (self.status(), self.output())
    }

    /// The log of one that ends so.
    pub(crate) fn await_end_as(&self, end: &str) -> String {
        let (status, output) = self.await_end();
        assert_eq!(status, end, "{output}");
        output
    }

    /// It ends so, and its log with that.
    pub(crate) fn assert_ends(&self, end: &str, last: &str) {
        let output = self.await_end_as(end);
        assert!(output.ends_with(last), "{output}");
    }

    /// Lets time pass until the server has given its runner up, which it says in the log.
    pub(crate) fn await_loss(&self, clock: &WallClock) -> String {
        let mut ahead = SignedDuration::ZERO;
        // A server has to look several times meanwhile: its own absence loses nobody.
        eventually_within(Duration::from_mins(5), "it is aborted", || {
            ahead += SignedDuration::from_millis(80);
            clock.run_off_by(ahead);
            self.status() == "aborted"
        });
        let output = self.output();
        let reason = "\nwaystation: its runner has not reported for 60 s\n";
        assert!(output.ends_with(reason), "{output}");
        output
    }

    pub(crate) fn cancel(&self) {
        self.site
            .call("POST", &self.path("/cancel"), &json!({}), 202);
    }
}
