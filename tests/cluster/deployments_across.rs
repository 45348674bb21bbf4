//! Deployments across servers: one takes the POST, one the runner's reports, one streams; and each may go.

use rustix::process::Signal;
use serde_json::{Value, json};
use waystation_testing::program::{Program, tools, without_settings};
use waystation_testing::seaweedfs::SeaweedFs;
use waystation_testing::{Server, archive, repository};

use crate::shared_store::SharedStore;

fn call(node: &Server, method: &str, path: &str, bearer: &[&str], body: &Value) -> Value {
    let body = body.to_string();
    let reply = node
        .try_call(method, path, bearer, body.as_bytes())
        .unwrap();
    assert!([200, 201].contains(&reply.status), "{reply:?}");
    reply.json()
}

fn follow(node: &Server, token: &str) -> Program {
    let url = node.url("/v1/apps/my-shop/deployments/stream");
    let mut python = without_settings("python3");
    python
        .arg(repository().join("tests/tools/follow.py"))
        .arg(tools().join("websockets"))
        .args([&url.replace("http://", "ws://"), "whole", token]);
    Program::start(python)
}

#[test]
fn any_node_takes_a_deployment_hands_it_out_takes_reports_and_streams() {
    let store = SharedStore::on(SeaweedFs::shared());
    let [a, b, mut c] = [(); 3].map(|()| Server::start(store.serve(&[])));
    let bearer = store.create_bearer();
    let (_, token) = bearer.rsplit_once(' ').unwrap();
    let made = store.run(&["token", "create", "builds", "--runner"]);
    let runner = format!("Authorization: Bearer {}", made.stdout.trim_end());
    let app = json!({ "app": { "name": "my-shop" } });
    call(&a, "POST", "/v1/apps", &[&bearer], &app);
    let source = a.create_and_upload(&bearer, &archive(2_000_000, 1));
    let body = json!({ "deployment": { "source_url": source.download_url } });
    let path = "/v1/apps/my-shop/deployments";
    let ids = [(); 2].map(|()| {
        let made = call(&b, "POST", path, &[&bearer], &body);
        made["deployment"]["id"].as_str().unwrap().to_owned()
    });

    let claimed = call(&a, "POST", "/v1/runner/claims", &[&runner], &json!({}));
    let claim = &claimed["claim"];
    assert_eq!(claim["deployment"]["id"], *ids[0]);
    let reports = claim["report_url"].as_str().unwrap();
    let reports = reports.strip_prefix(&a.url("")).unwrap();
    call(
        &b,
        "PUT",
        &format!("{reports}/status"),
        &[],
        &json!({ "status": "building" }),
    );
    let follower = follow(&c, token);
    let log = b.try_call("PUT", &format!("{reports}/log?offset=0"), &[], b"one\n");
    assert_eq!(log.unwrap().json()["log_bytes"], 4);
    follower.await_line("one");
    // The node that streams is told to stop, and stays until the last frame.
    c.program.signal(Signal::TERM);
    c.program.await_line("shutting down");
    let fetch = claim["source_url"].as_str().unwrap();
    let fetched = b.call("GET", fetch.strip_prefix(&a.url("")).unwrap(), &[]);
    assert!(fetched.body == archive(2_000_000, 1));
    call(
        &a,
        "PUT",
        &format!("{reports}/status"),
        &[],
        &json!({ "status": "success" }),
    );
    let mut follower = follower;
    assert_eq!(follower.await_end(), Some(0), "{}", follower.stderr());
    assert!(follower.stdout().contains(r#""status":"success""#));
    assert_eq!(c.program.await_end(), Some(0));

    // The next one is handed out by the node that has seen nothing of the first but its end.
    let claimed = call(&b, "POST", "/v1/runner/claims", &[&runner], &json!({}));
    assert_eq!(claimed["claim"]["deployment"]["id"], *ids[1]);
}
