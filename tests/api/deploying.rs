//! A user who deploys an application, and a runner.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use waystation::service::deployments::DeploymentLimits;

use crate::app::{Answer, NOW, Settings, TestApp};

/// What the host that everybody asks for here puts before a path.
pub(crate) const BASE: &str = "http://x.example";
pub(crate) const ARCHIVE: &str = "some archive";

pub(crate) struct Deploying {
    pub(crate) app: TestApp,
    pub(crate) runner: String,
}

/// What a runner has claimed.
pub(crate) struct Claim(pub(crate) Value);

impl Deploying {
    pub(crate) async fn new() -> Self {
        Self::with(DeploymentLimits::default()).await
    }

    /// With an application that is called my-shop.
    pub(crate) async fn with(deployments: DeploymentLimits) -> Self {
        let settings = Settings {
            deployments,
            ..Settings::default()
        };
        Self::on(TestApp::with(settings).await).await
    }

    pub(crate) async fn on(app: TestApp) -> Self {
        let runner = app.api_tokens.create_for_runners("builds", NOW).await;
        let deploying = Self {
            runner: runner.unwrap().1.reveal().to_owned(),
            app,
        };
        deploying.create_app("my-shop").await;
        deploying
    }

    pub(crate) async fn create_app(&self, name: &str) -> String {
        let body = json!({ "app": { "name": name } });
        let made = self.post("/v1/apps", &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["app"]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let token = &self.app.api_token;
        self.app.call_as(token, method, path, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, body.to_string()).await
    }

    /// The download link of a source with an archive.
    pub(crate) async fn source(&self) -> String {
        let links = self.app.create().await;
        assert_eq!(self.app.put(&links, ARCHIVE).await.status, 200);
        format!("{BASE}{}", links.download)
    }

    pub(crate) async fn ask_for(&self, app: &str, source_url: &str) -> Answer {
        let body = json!({ "deployment": { "source_url": source_url, "git_ref": "v1" } });
        let path = format!("/v1/apps/{app}/deployments");
        let answer = self.post(&path, &body).await;
        // No two are accepted at once: it would be open which is claimed first.
        self.app.clock.advance(Duration::from_millis(1));
        answer
    }

    /// The id of a new deployment.
    pub(crate) async fn deploy(&self, app: &str) -> String {
        let made = self.ask_for(app, &self.source().await).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["deployment"]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn show(&self, app: &str, id: &str) -> Value {
        let shown = self.get(&format!("/v1/apps/{app}/deployments/{id}")).await;
        assert_eq!(shown.status, 200, "{shown:?}");
        shown.json()["deployment"].clone()
    }

    pub(crate) async fn status(&self, id: &str) -> String {
        let shown = self.show("my-shop", id).await;
        shown["status"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn log(&self, id: &str) -> String {
        let path = format!("/v1/apps/my-shop/deployments/{id}/output");
        let shown = self.get(&path).await;
        assert_eq!(shown.status, 200, "{shown:?}");
        String::from_utf8(shown.body.to_vec()).unwrap()
    }

    pub(crate) async fn cancel(&self, id: &str) -> Answer {
        let path = format!("/v1/apps/my-shop/deployments/{id}/cancel");
        self.post(&path, &json!({})).await
    }

    pub(crate) async fn ask_for_work(&self) -> Answer {
        let path = "/v1/runner/claims";
        self.app
            .call_as(&self.runner, Method::POST, path, "{}")
            .await
    }

    /// There has to be work.
    pub(crate) async fn claim(&self) -> Claim {
        let answer = self.ask_for_work().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Claim(answer.json()["claim"].clone())
    }

    /// Work that the runner has confirmed.
    pub(crate) async fn run(&self) -> Claim {
        let claim = self.claim().await;
        let heard = self.report(&claim, "building").await;
        assert_eq!(heard.status, 200, "{heard:?}");
        claim
    }

    pub(crate) async fn report(&self, claim: &Claim, status: &str) -> Answer {
        let body = json!({ "status": status }).to_string();
        let path = format!("{}/status", claim.report_path());
        self.app.call(Method::PUT, &path, &[], body).await
    }

    pub(crate) async fn append(&self, claim: &Claim, offset: usize, text: &str) -> Answer {
        let path = format!("{}/log?offset={offset}", claim.report_path());
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.app.call(Method::PUT, &path, &[], bytes).await
    }

    pub(crate) async fn fetch(&self, claim: &Claim) -> Answer {
        let path = claim.path("source_url");
        self.app.call(Method::GET, &path, &[], "").await
    }

    /// Lets time pass, in which the server looks after its deployments, and `heard` runners report now and then.
    pub(crate) async fn pass(&self, time: Duration, heard: &[&Claim]) {
        let step = Duration::from_secs(10);
        let mut left = time;
        while !left.is_zero() {
            self.app.clock.advance(step.min(left));
            left = left.saturating_sub(step);
            for claim in heard {
                let log_bytes = self.append(claim, 0, "").await;
                assert!(
                    [200, 409].contains(&log_bytes.status.as_u16()),
                    "{log_bytes:?}"
                );
            }
            self.app.deployments.keep_up().await.unwrap();
        }
    }
}

impl Claim {
    pub(crate) fn path(&self, key: &str) -> String {
        let url = self.0[key].as_str().unwrap();
        url.strip_prefix(BASE).unwrap().to_owned()
    }

    pub(crate) fn report_path(&self) -> String {
        self.path("report_url")
    }

    pub(crate) fn id(&self) -> String {
        self.0["deployment"]["id"].as_str().unwrap().to_owned()
    }
}
