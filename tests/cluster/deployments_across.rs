//! Deployments across servers: one takes the POST, one the runner's reports, one streams; and each may go.

use rustix::process::Signal;
use serde_json::{Value, json};
use waystation_testing::curl::curl;
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

#[test]
fn a_link_of_the_object_store_itself_is_known_and_its_archive_kept() {
    let objects = SeaweedFs::shared();
    let store = SharedStore::on(objects);
    let node = Server::start(store.serve(&["--transfers", "direct"]));
    let bearer = store.create_bearer();
    let made = store.run(&["token", "create", "builds", "--runner"]);
    let runner = format!("Authorization: Bearer {}", made.stdout.trim_end());
    let app = json!({ "app": { "name": "my-shop" } });
    call(&node, "POST", "/v1/apps", &[&bearer], &app);
    let deploy = |url: &str| {
        let body = json!({ "deployment": { "source_url": url } }).to_string();
        let path = "/v1/apps/my-shop/deployments";
        node.try_call("POST", path, &[&bearer], body.as_bytes())
            .unwrap()
    };
    let (source, other) = (node.create_source(&bearer), node.create_source(&bearer));
    let nothing = deploy(&source.download_url);
    assert_eq!(nothing.status, 422);
    assert!(
        nothing.text().contains("nothing has been uploaded"),
        "{nothing:?}"
    );

    let archive = archive(100_000, 1);
    let file = store.file("app.tar.gz");
    std::fs::write(&file, &archive).unwrap();
    let sent = curl(&["-T", file.to_str().unwrap(), &source.upload_url]);
    assert_eq!(sent.status, 200);
    let (_, signature) = other.download_url.split_once('?').unwrap();
    let (place, _) = source.download_url.split_once('?').unwrap();
    for link in [&source.upload_url, &format!("{place}?{signature}")] {
        let refused = deploy(link);
        assert_eq!(refused.status, 422, "{refused:?}");
        assert!(refused.text().contains("not valid"), "{refused:?}");
    }
    let made = deploy(&source.download_url);
    assert_eq!(made.status, 201, "{made:?}");
    let told = json!({ "sha256": null, "size": archive.len(), "host": null });
    assert_eq!(made.json()["deployment"]["source"], told);
    let keys = objects.keys(&store.key_of(None));
    // The place has the bucket before the key.
    let is_pin = |key: &String| {
        let (folder, name) = key.rsplit_once('/').unwrap();
        name.starts_with("pin-") && place.contains(folder)
    };
    assert!(keys.iter().any(is_pin), "{keys:?}");
    let claimed = call(&node, "POST", "/v1/runner/claims", &[&runner], &json!({}));
    let link = claimed["claim"]["source_url"].as_str().unwrap();
    assert!(link.starts_with(&objects.endpoint()), "{link}");
    assert!(curl(&[link]).body == archive);
}
