//! What every operation refuses for the same reasons, as the description says of each: nobody is there to say who calls, the
//! store fails or is full, the body is too long or too slow.

use std::collections::BTreeSet;
use std::io::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request};
use rustix::io::Errno;
use serde_json::{Value, json};
use waystation::store::MAX_APPEND_BYTES;
use waystation::store::folder::{Faults, Verdict};
use waystation_testing::description::{Operation, described};

use crate::app::{API_BODY_LIMIT, Answer, Settings, TestApp, UPLOAD_LIMIT, stuck};
use crate::deploying::{BASE, Claim, Deploying};

/// One of all there is, and how the store is.
struct Furnished {
    it: Deploying,
    store: Arc<AtomicI32>,
    values: Value,
    claim: Claim,
    upload: String,
    download: String,
}

impl Furnished {
    async fn new(failures_per_minute: u32) -> Self {
        let store = Arc::new(AtomicI32::new(0));
        let errno = Arc::clone(&store);
        let faults = Faults::decided_by(Arc::new(move |call| judge(call, &errno)));
        let settings = Settings {
            failures_per_minute,
            ..Settings::default()
        };
        let it = Deploying::on(TestApp::failing(settings, faults).await).await;
        let named = json!({ "variable": { "name": "NAME", "value": "a value" } });
        let variable = it.post("/v1/apps/my-shop/variables", &named).await;
        let named = json!({ "token": { "name": "one" } });
        let token = it.post("/v1/tokens", &named).await;
        let deployment = it.deploy("my-shop").await;
        let claim = it.run().await;
        it.create_app("other-shop").await;
        it.deploy("other-shop").await;
        let links = it.app.create().await;
        assert_eq!(it.app.put(&links, "some bytes").await.status, 200);
        let empty = it.app.create().await;
        Self {
            values: json!({ "app": "my-shop", "deployment": deployment, "variable": variable.json()["variable"]["id"], "token": token.json()["token"]["id"] }),
            upload: empty.upload,
            download: links.download,
            it,
            store,
            claim,
        }
    }

    /// From now on calls of the store fail.
    fn let_store_fail(&self, errno: Errno) {
        self.store.store(errno.raw_os_error(), Ordering::Relaxed);
    }

    fn target(&self, operation: &Operation<'_>) -> String {
        let value = |name: &str| self.values[name].as_str().unwrap();
        let path = operation.path;
        if path == "/v1/sources/{source}" {
            let is_upload = ["put", "options"].contains(&operation.method);
            return if is_upload {
                &self.upload
            } else {
                &self.download
            }
            .clone();
        }
        if path.starts_with("/v1/runner/sources") {
            return self.claim.path("source_url");
        }
        let reports = "/v1/runner/reports/{grant}";
        let kind = if path.starts_with("/v1/tokens") {
            "token"
        } else {
            "variable"
        };
        let path = path.replace(reports, &self.claim.report_path());
        let path = path.replace("{app}", value("app"));
        let path = path.replace("{deployment}", value("deployment"));
        let path = path.replace("{id}", value(kind));
        let queries = operation.parameters.iter().filter(|it| it["in"] == "query");
        let needed = queries.filter(|it| it["required"] == true);
        let pairs = needed.map(|it| {
            let example = it["example"].to_string();
            format!(
                "{}={}",
                it["name"].as_str().unwrap(),
                example.trim_matches('"')
            )
        });
        let pairs: Vec<_> = pairs.collect();
        format!("{path}?{}", pairs.join("&"))
    }

    /// What opens it.
    fn authorization(&self, operation: &Operation<'_>) -> String {
        match caller_of(operation) {
            Some("runnerToken") => format!("Bearer {}", self.it.runner),
            Some("apiToken") => format!(
                "Basic {}",
                STANDARD.encode(format!(":{}", self.it.app.api_token))
            ),
            _ => format!("Bearer {}", self.it.app.api_token),
        }
    }

    /// A body that is taken.
    fn body(&self, operation: &Operation<'_>) -> String {
        let source_url = format!("{BASE}{}", self.download);
        match operation.id() {
            "createDeployment" => json!({ "deployment": { "source_url": source_url } }).to_string(),
            "createApp" => json!({ "app": { "name": "third-shop" } }).to_string(),
            "deleteVariables" => json!({ "variable_ids": [self.values["variable"]] }).to_string(),
            "reportStatus" => json!({ "status": "pushing" }).to_string(),
            "upload" | "appendLog" => "bytes".to_owned(),
            _ => {
                let body = &operation.is["requestBody"]["content"]["application/json"];
                body.get("example")
                    .map_or_else(String::new, Value::to_string)
            }
        }
    }

    async fn call(
        &self,
        operation: &Operation<'_>,
        authorization: &str,
        body: impl Into<Body>,
    ) -> Answer {
        let headers = [("authorization", authorization), ("host", "x.example")];
        let target = self.target(operation);
        self.it
            .app
            .call(method_of(operation), &target, &headers, body)
            .await
    }

    /// The call that would do what it is for.
    async fn call_rightly(&self, operation: &Operation<'_>) -> Answer {
        let authorization = self.authorization(operation);
        self.call(operation, &authorization, self.body(operation))
            .await
    }
}

/// A store that is full can be read; one that fails otherwise, fails in all.
pub(crate) fn judge(call: &str, errno: &AtomicI32) -> Verdict {
    let errno = errno.load(Ordering::Relaxed);
    let writes = ["create", "write", "mkdir", "link", "rename"];
    let is_full = errno == Errno::NOSPC.raw_os_error();
    if errno == 0 || (is_full && !writes.contains(&call)) {
        Verdict::Go
    } else {
        Verdict::Fail(Error::from_raw_os_error(errno))
    }
}

fn method_of(operation: &Operation<'_>) -> Method {
    operation.method.to_uppercase().parse().unwrap()
}

/// Who may: the name of a scheme.
fn caller_of<'a>(operation: &Operation<'a>) -> Option<&'a str> {
    let scheme = operation.is["security"][0].as_object()?;
    scheme.keys().next().map(String::as_str)
}

/// Operations that refuse with that status for the reason that many have; others say themselves what it means.
fn that_refuse(status: &str, shared: &str) -> impl Iterator<Item = Operation<'static>> {
    let reference = format!("#/components/responses/{shared}");
    let status = status.to_owned();
    let operations = described().operations().into_iter();
    operations.filter(move |it| it.is["responses"][&status]["$ref"] == reference.as_str())
}

#[tokio::test]
async fn each_operation_refuses_a_request_without_a_host() {
    let there = Furnished::new(0).await;
    for operation in described().operations() {
        let request = Request::builder().method(method_of(&operation));
        let request = request.uri(there.target(&operation)).body(Body::empty());
        let answer = there.it.app.send(request.unwrap()).await;
        assert_eq!(answer.status, 400, "{}", operation.id());
    }
}

#[tokio::test]
async fn each_operation_with_a_caller_refuses_strangers_and_those_of_the_other_kind() {
    let there = Furnished::new(0).await;
    for operation in described().operations() {
        let Some(caller) = caller_of(&operation) else {
            continue;
        };
        let nobody = there.call(&operation, "", there.body(&operation)).await;
        assert_eq!(nobody.status, 401, "{}", operation.id());
        let (user, runner) = (&there.it.app.api_token, &there.it.runner);
        let other = match caller {
            "runnerToken" => format!("Bearer {user}"),
            "apiToken" => format!("Basic {}", STANDARD.encode(format!(":{runner}"))),
            _ => format!("Bearer {runner}"),
        };
        let other = there.call(&operation, &other, there.body(&operation)).await;
        assert_eq!(other.status, 403, "{}", operation.id());
    }
}

#[tokio::test(start_paused = true)]
async fn each_operation_with_a_caller_refuses_one_that_failed_too_often() {
    let there = Furnished::new(1).await;
    for operation in described().operations() {
        if caller_of(&operation).is_none() {
            continue;
        }
        there.call(&operation, "", there.body(&operation)).await;
        let again = there.call(&operation, "", there.body(&operation)).await;
        again.coded(429, "rate_limited");
    }
}

#[tokio::test]
async fn a_page_that_is_none_is_refused() {
    let there = Furnished::new(0).await;
    let has_pages = |operation: &Operation<'_>| {
        let mut parameters = operation.parameters.iter();
        parameters.any(|it| it["name"] == "per_page")
    };
    for operation in described().operations() {
        if !has_pages(&operation) {
            continue;
        }
        let (target, caller) = (there.target(&operation), there.authorization(&operation));
        let headers = [("authorization", caller.as_str())];
        for wrong in ["page=0", "per_page=0", "per_page=x"] {
            let uri = format!("{target}&{wrong}");
            let answer = there.it.app.call(Method::GET, &uri, &headers, "").await;
            assert_eq!(answer.status, 422, "{}", operation.id());
            let said = answer.json().to_string();
            assert!(said.contains("must be a number from 1"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_link_with_another_secret_opens_nothing() {
    let there = Furnished::new(0).await;
    for operation in that_refuse("403", "InvalidToken") {
        let target = there.target(&operation);
        let (used, query) = target.split_once('?').unwrap_or((&target, ""));
        let wrong = if query.starts_with("token=") {
            format!("{used}?token={}", "0".repeat(32))
        } else {
            let (secret, end) = (used.split('/').nth(4).unwrap(), query);
            format!("{}?{end}", used.replace(secret, &"A".repeat(secret.len())))
        };
        let answer = there
            .it
            .app
            .call(method_of(&operation), &wrong, &[], "bytes");
        assert_eq!(answer.await.status, 403, "{}", operation.id());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_a_fault_of_ours_and_one_without_files_to_open_is_busy() {
    for (errno, status, shared) in [
        (Errno::IO, "500", "Internal"),
        (Errno::MFILE, "503", "Unavailable"),
    ] {
        let there = Furnished::new(0).await;
        there.let_store_fail(errno);
        for operation in that_refuse(status, shared) {
            let answer = there.call_rightly(&operation).await;
            assert_eq!(answer.status.as_str(), status, "{}", operation.id());
        }
    }
}

/// What only reads, or writes nothing, works all the same.
#[tokio::test(start_paused = true)]
async fn a_full_store_refuses_what_would_write() {
    let mut refused = BTreeSet::new();
    for operation in described().operations() {
        let there = Furnished::new(0).await;
        there.let_store_fail(Errno::NOSPC);
        let answer = there.call_rightly(&operation).await;
        if answer.status == 507 {
            refused.insert(operation.id());
        }
    }
    let described = that_refuse("507", "StoreFull").map(|operation| operation.id());
    assert_eq!(refused, described.collect());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_or_does_not_come_is_refused() {
    let there = Furnished::new(0).await;
    for operation in that_refuse("408", "TooSlow") {
        let authorization = there.authorization(&operation);
        let limit = match operation.id() {
            "upload" => UPLOAD_LIMIT,
            "appendLog" => MAX_APPEND_BYTES as u64,
            _ => API_BODY_LIMIT,
        };
        let long = vec![b' '; usize::try_from(limit).unwrap() + 1];
        let answer = there.call(&operation, &authorization, long).await;
        assert_eq!(answer.status, 413, "{}", operation.id());
        let answer = there.call(&operation, &authorization, stuck(b"{")).await;
        assert_eq!(answer.status, 408, "{}", operation.id());
    }
}
