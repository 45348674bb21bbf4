//! Deployments as users see them: accepted, listed, shown, cancelled, and refused with a sentence.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use waystation::service::deployments::DeploymentLimits;

use crate::app::{LIFETIME, Settings, TestApp};
use crate::deploying::{ARCHIVE, BASE, Deploying};

fn source_url_error(answer: &crate::app::Answer) -> String {
    assert_eq!(answer.status, 422, "{answer:?}");
    let json = answer.json();
    json["errors"]["source_url"][0].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_deployment_has_all_that_clients_read_and_some_crash_without() {
    let it = Deploying::new().await;
    let source = it.source().await;
    let made = it.ask_for("my-shop", &source).await;
    assert_eq!(made.status, 201, "{made:?}");
    let app = it.get("/v1/apps/my-shop").await.json()["app"].clone();
    let (app_id, owner) = (app["id"].as_str().unwrap(), &app["owner"]);
    let made = made.json();
    let id = made["deployment"]["id"].as_str().unwrap();
    let expected = json!({
        "id": id,
        "app_id": app_id,
        "created_at": "2027-01-15T08:00:00.000Z",
        "started_at": null,
        "finished_at": null,
        "status": "queued",
        "reason": null,
        "git_ref": "v1",
        "type": "archive",
        "duration": 0,
        "image_size": 0,
        "pusher": owner,
        "source": {
            "sha256": hex::encode(Sha256::digest(ARCHIVE)),
            "size": ARCHIVE.len(),
            "host": null,
        },
        "links": {
            "output": format!("{BASE}/v1/apps/{app_id}/deployments/{id}/output"),
            "deployments_stream": format!("ws://x.example/v1/apps/{app_id}/deployments/stream"),
        },
    });
    assert_eq!(made, json!({ "deployment": expected }));
    let shown = it.get(&format!("/v1/apps/{app_id}/deployments/{id}")).await;
    assert_eq!(shown.json(), made);
    let listed = it.get("/v1/apps/my-shop/deployments").await.json();
    assert_eq!(listed["deployments"], json!([expected]));
    assert_eq!(listed["meta"]["pagination"]["total_count"], 1);
    let cache = it
        .call(Method::DELETE, "/v1/apps/my-shop/caches/deployment", "")
        .await;
    assert_eq!(cache.status, 204);
}

#[tokio::test]
async fn the_newest_comes_first_page_by_page() {
    let it = Deploying::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(it.deploy("my-shop").await);
    }
    let page = async |number: u32| -> Vec<Value> {
        let path = format!("/v1/apps/my-shop/deployments?page={number}&per_page=2");
        let json = it.get(&path).await.json();
        let listed = json["deployments"].as_array().unwrap().iter();
        listed.map(|deployment| deployment["id"].clone()).collect()
    };
    assert_eq!(page(1).await, [ids[2].clone(), ids[1].clone()]);
    assert_eq!(page(2).await, [ids[0].clone()]);
}

#[tokio::test]
async fn git_ref_may_be_null_or_missing_and_nothing_else_is_taken_for_one() {
    let it = Deploying::new().await;
    for (git_ref, status, shown) in [
        (json!(null), 201, json!(null)),
        (json!(""), 201, json!(null)),
        (json!("a".repeat(255)), 201, json!("a".repeat(255))),
        (json!("a".repeat(256)), 422, json!(null)),
        (json!("a\nb"), 422, json!(null)),
        (json!(1), 422, json!(null)),
    ] {
        let source = it.source().await;
        let body = json!({ "deployment": { "source_url": source, "git_ref": git_ref } });
        let made = it.post("/v1/apps/my-shop/deployments", &body).await;
        assert_eq!(made.status, status, "{git_ref}");
        assert_eq!(made.json()["deployment"]["git_ref"], shown);
    }
    // The platform's JavaScript library does not root its attributes.
    let body = json!({ "source_url": it.source().await });
    let made = it.post("/v1/apps/my-shop/deployments", &body).await;
    assert_eq!(made.status, 201);
}

#[tokio::test]
async fn a_source_url_that_leads_to_no_archive_is_refused_and_says_what_to_give() {
    let it = Deploying::new().await;
    let links = it.app.create().await;
    let upload = format!("{BASE}{}", links.upload);
    let nothing = format!("{BASE}{}", links.download);
    let good = it.source().await;
    let elsewhere = good
        .replace(BASE, "https://other.example")
        .replace("token=", "token=0");
    let untrue = format!("{}0", &good[..good.len() - 1]);
    let untrue = if untrue == good {
        untrue.replace('0', "1")
    } else {
        untrue
    };
    let long = format!("https://a.example/{}", "a".repeat(4096));
    for (url, says) in [
        (upload.as_str(), "upload link"),
        (&nothing, "nothing has been uploaded"),
        (&untrue, "token"),
        (&elsewhere, "not handed out by this service"),
        ("http://x.example/v1/apps", "not a download link"),
        ("file:///etc/passwd", "must begin with https://"),
        ("git@github.com:a/b.git", "must begin with https://"),
        ("https://user:secret@a.example/b", "a user or a password"),
        ("b.tar.gz", "not a URL"),
        ("https:// /", "not a URL"),
        (&long, "has at most 4096 bytes"),
    ] {
        let refused = it.ask_for("my-shop", url).await;
        let error = source_url_error(&refused);
        assert!(error.contains(says), "{url}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    for (url, error) in [
        (json!(""), "can't be blank"),
        (json!(null), "can't be blank"),
        (json!(1), "must be a string"),
    ] {
        let body = json!({ "deployment": { "source_url": url } });
        let refused = it.post("/v1/apps/my-shop/deployments", &body).await;
        assert_eq!(source_url_error(&refused), error);
    }
    it.app.clock.advance(LIFETIME);
    let error = source_url_error(&it.ask_for("my-shop", &good).await);
    assert!(
        error.starts_with("expired at 2027-01-15T08:10:00.000Z"),
        "{error}"
    );
    let listed = it.get("/v1/apps/my-shop/deployments").await.json();
    assert_eq!(listed["deployments"], json!([]));
}

#[tokio::test]
async fn a_link_of_ours_is_taken_by_any_name_of_this_service() {
    let it = Deploying::new().await;
    let good = it.source().await;
    for base in ["http://127.0.0.1:8080", "https://proxy.example/deploy"] {
        let made = it.ask_for("my-shop", &good.replace(BASE, base)).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(made.json()["deployment"]["source"]["host"], json!(null));
    }
}

#[tokio::test]
async fn a_link_to_elsewhere_is_for_the_runner_alone() {
    let it = Deploying::new().await;
    let url = "https://archives.example/a.tar.gz?signature=hush";
    let made = it.ask_for("my-shop", url).await;
    assert_eq!(made.status, 201, "{made:?}");
    let source = json!({ "sha256": null, "size": null, "host": "archives.example" });
    assert_eq!(made.json()["deployment"]["source"], source);
    assert!(!it.app.stored_text().contains("hush"));
    let claim = it.run().await;
    assert_eq!(claim.0["source_url"], url);
    assert_eq!(claim.0["deployment"]["source"], source);
}

#[tokio::test]
async fn what_is_not_there_is_a_sentence_without_a_resource() {
    let it = Deploying::new().await;
    let id = it.deploy("my-shop").await;
    it.create_app("other-shop").await;
    let other = id.replacen(|c: char| c.is_ascii_hexdigit(), "f", 8);
    for path in [
        format!("/v1/apps/other-shop/deployments/{id}"),
        format!("/v1/apps/my-shop/deployments/{other}"),
        "/v1/apps/my-shop/deployments/1".to_owned(),
        format!("/v1/apps/my-shop/deployments/{id}0/output"),
    ] {
        let text = it.get(&path).await.error(404, &["error"]);
        assert!(text.contains("no such deployment"), "{path}: {text}");
    }
    it.cancel(&other).await.error(404, &["error"]);
    assert_eq!(it.status(&id).await, "queued");
}

#[tokio::test]
async fn the_rate_limit_does_not_count_a_look_at_a_deployment() {
    let settings = Settings {
        calls_per_minute: 4,
        ..Settings::default()
    };
    // To create the application, a source and the deployment takes three.
    let it = Deploying::on(TestApp::with(settings).await).await;
    let id = it.deploy("my-shop").await;
    for _ in 0..10 {
        assert_eq!(it.status(&id).await, "queued");
    }
    assert_eq!(it.get("/v1/apps/my-shop/deployments").await.status, 200);
    assert_eq!(it.get("/v1/apps/my-shop/deployments").await.status, 429);
    assert_eq!(it.status(&id).await, "queued");
}

#[tokio::test]
async fn an_app_may_have_so_many_waiting_and_all_together_so_many() {
    let it = Deploying::with(DeploymentLimits {
        queue_per_app: 2,
        queue: 4,
        ..DeploymentLimits::default()
    })
    .await;
    let source = it.source().await;
    it.create_app("other-shop").await;
    for (app, status, says) in [
        ("my-shop", 201, ""),
        ("my-shop", 201, ""),
        ("my-shop", 429, "2 deployments of this app wait"),
        ("other-shop", 201, ""),
        ("other-shop", 201, ""),
        ("other-shop", 429, "2 deployments of this app wait"),
    ] {
        let answer = it.ask_for(app, &source).await;
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 429 {
            let text = answer.coded(429, "queue_full");
            assert!(text.contains(says), "{text}");
        }
    }
    // One that runs does not wait, but is not over either.
    let claim = it.run().await;
    let text = it
        .ask_for("my-shop", &source)
        .await
        .coded(429, "queue_full");
    assert!(text.contains("4 deployments of all apps"), "{text}");
    it.report(&claim, "success").await;
    assert_eq!(it.ask_for("my-shop", &source).await.status, 201);
}

#[tokio::test]
async fn what_waits_is_cancelled_at_once_and_again_is_the_same() {
    let it = Deploying::new().await;
    let id = it.deploy("my-shop").await;
    let next = it.deploy("my-shop").await;
    for _ in 0..2 {
        let answer = it.cancel(&id).await;
        assert_eq!(answer.status, 202);
        let cancelled = &answer.json()["deployment"];
        assert_eq!(cancelled["status"], "aborted");
        let reason = cancelled["reason"].as_str().unwrap();
        assert!(reason.contains("cancelled"), "{reason}");
    }
    assert_eq!(
        it.log(&id).await,
        "waystation: it was cancelled before a runner claimed it\n"
    );
    assert_eq!(it.run().await.id(), next);
}

#[tokio::test]
async fn what_runs_is_asked_to_stop_and_ends_when_its_runner_says_so() {
    let it = Deploying::new().await;
    let id = it.deploy("my-shop").await;
    let claim = it.run().await;
    assert_eq!(it.append(&claim, 0, "a\n").await.json()["cancel"], false);
    assert_eq!(
        it.cancel(&id).await.json()["deployment"]["status"],
        "building"
    );
    let heard = it.append(&claim, 2, "").await.json();
    assert_eq!(heard, json!({ "log_bytes": 2, "cancel": true }));
    let heard = it.report(&claim, "building").await.json();
    assert_eq!(heard, json!({ "status": "building", "cancel": true }));
    assert_eq!(it.report(&claim, "aborted").await.status, 200);
    assert_eq!(
        it.cancel(&id).await.json()["deployment"]["status"],
        "aborted"
    );
}

#[tokio::test]
async fn with_an_app_its_deployments_go_and_what_runs_is_told_to_stop() {
    let it = Deploying::new().await;
    it.deploy("my-shop").await;
    it.deploy("my-shop").await;
    let claim = it.run().await;
    it.append(&claim, 0, "a\n").await;
    let path = "/v1/apps/my-shop?current_name=my-shop";
    assert_eq!(it.call(Method::DELETE, path, "").await.status, 204);
    assert_eq!(it.append(&claim, 2, "").await.json()["cancel"], true);
    assert_eq!(it.report(&claim, "aborted").await.status, 200);
    assert_eq!(it.append(&claim, 2, "").await.status, 410);
    assert_eq!(it.app.files_in("deployments") + it.app.files_in("queue"), 0);
    assert_eq!(it.app.files_in("journals"), 0);
}

/// If its deletion is cut short, an application that is still there gives no id away twice.
#[tokio::test]
async fn numbers_go_on_where_an_app_was_not_deleted_after_all() {
    let it = Deploying::new().await;
    let first = it.deploy("my-shop").await;
    it.report(&it.run().await, "success").await;
    let app = it.get("/v1/apps/my-shop").await.json()["app"]["id"].clone();
    let app = app.as_str().unwrap().parse().unwrap();
    for _ in 0..2 {
        it.app.deployments.end_all_of(app).await.unwrap();
        let list = it.get("/v1/apps/my-shop/deployments").await;
        assert_eq!(list.json()["deployments"], json!([]));
    }
    let second = it.deploy("my-shop").await;
    assert_ne!(second, first);
    it.report(&it.run().await, "success").await;
    let list = it.get("/v1/apps/my-shop/deployments").await.json();
    assert_eq!(list["deployments"].as_array().unwrap().len(), 1);
    assert_eq!(list["deployments"][0]["id"], second);
}

#[tokio::test]
async fn the_newest_are_kept_with_their_logs_and_the_others_are_gone() {
    let it = Deploying::with(DeploymentLimits {
        kept: 2,
        ..DeploymentLimits::default()
    })
    .await;
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(it.deploy("my-shop").await);
        let claim = it.run().await;
        it.append(&claim, 0, &format!("{number}\n")).await;
        assert_eq!(it.report(&claim, "success").await.status, 200);
    }
    let listed = it.get("/v1/apps/my-shop/deployments").await.json();
    assert_eq!(listed["meta"]["pagination"]["total_count"], 2);
    assert_eq!(it.log(&ids[2]).await, "2\n");
    let gone = it
        .get(&format!("/v1/apps/my-shop/deployments/{}", ids[1]))
        .await;
    gone.error(404, &["error"]);
    assert_eq!(it.app.files_in("journals"), 2);
    assert_eq!(it.app.files_in("deployments"), 2 * 3);
    // Numbers go on.
    assert!(!ids.contains(&it.deploy("my-shop").await));
}

#[tokio::test]
async fn an_app_knows_the_deployment_that_ended_last() {
    let it = Deploying::new().await;
    for (status, app_status) in [
        ("build-error", "new"),
        ("success", "running"),
        ("aborted", "running"),
    ] {
        let id = it.deploy("my-shop").await;
        let claim = it.run().await;
        it.app.clock.advance(Duration::from_secs(3));
        it.report(&claim, status).await;
        let app = it.get("/v1/apps/my-shop").await.json()["app"].clone();
        assert_eq!(app["status"], app_status);
        assert_eq!(app["last_deployment_id"], id);
        assert_eq!(app["last_deployed_by"], "admin");
        let ended = it.show("my-shop", &id).await;
        assert_eq!(app["last_deployed_at"], ended["finished_at"]);
        let events = it.get("/v1/apps/my-shop/events").await.json();
        let event = json!({
            "deployment_id": id,
            "deployment_uuid": id,
            "pusher": "admin",
            "git_ref": "v1",
            "status": status,
            "duration": 3,
            "finished_at": ended["finished_at"],
        });
        assert_eq!(events["events"][0]["type"], "deployment");
        assert_eq!(events["events"][0]["type_data"], event);
        assert_eq!(
            (&ended["status"], &ended["duration"]),
            (&json!(status), &json!(3))
        );
    }
}

#[tokio::test]
async fn a_log_is_served_in_ranges_as_far_as_it_goes() {
    let it = Deploying::new().await;
    let id = it.deploy("my-shop").await;
    let path = format!("/v1/apps/my-shop/deployments/{id}/output");
    let empty = it.get(&path).await;
    assert_eq!((empty.status.as_u16(), empty.body.len()), (200, 0));
    assert_eq!(empty.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(empty.header("x-content-type-options"), "nosniff");
    let claim = it.run().await;
    it.append(&claim, 0, "one\ntwo\n").await;
    let bearer = format!("Bearer {}", it.app.api_token);
    for (range, status, body, content_range) in [
        ("bytes=4-", 206, "two\n", "bytes 4-7/8"),
        ("bytes=-4", 206, "two\n", "bytes 4-7/8"),
        ("bytes=0-2", 206, "one", "bytes 0-2/8"),
        ("bytes=8-", 416, "", "bytes */8"),
    ] {
        let headers = [("authorization", bearer.as_str()), ("range", range)];
        let answer = it.app.call(Method::GET, &path, &headers, "").await;
        assert_eq!(answer.status, status, "{range}");
        assert_eq!(answer.header("content-range"), content_range);
        if status == 206 {
            assert_eq!(answer.body, body);
        }
    }
}
