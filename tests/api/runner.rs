//! What runners see: claims one at a time for an application, in order; a log by offsets; one end; deadlines.

use std::time::Duration;

use http::Method;
use serde_json::json;
use waystation::service::deployments::{CONFIRM_WITHIN, DeploymentLimits, LOG_TAIL_BYTES};

use crate::app::LIFETIME;
use crate::deploying::{ARCHIVE, Claim, Deploying};

#[tokio::test]
async fn a_claim_says_all_that_a_runner_needs() {
    let it = Deploying::new().await;
    let id = it.deploy("my-shop").await;
    let variable = json!({ "variable": { "name": "GREETING", "value": "hello" } });
    let made = it.post("/v1/apps/my-shop/variables", &variable).await;
    assert_eq!(made.status, 201, "{made:?}");
    let claim = it.claim().await;
    assert_eq!(claim.id(), id);
    assert_eq!(claim.0["app"]["name"], "my-shop");
    assert_eq!(claim.0["variables"], json!({ "GREETING": "hello" }));
    assert_eq!(claim.0["deadline_at"], "2027-01-15T08:30:00.001Z");
    assert_eq!(claim.0["timeout_seconds"], 30 * 60);
    assert_eq!(claim.0["log_limit_bytes"], 16 * 1024 * 1024);
    let archive = it.fetch(&claim).await;
    assert_eq!(
        (archive.status.as_u16(), &archive.body[..]),
        (200, ARCHIVE.as_bytes())
    );
    let digest = claim.0["deployment"]["source"]["sha256"].as_str().unwrap();
    assert_eq!(archive.header("etag"), format!("\"{digest}\""));
}

#[tokio::test(start_paused = true)]
async fn a_runner_waits_for_work_for_half_a_minute() {
    let it = Deploying::new().await;
    let asked_at = tokio::time::Instant::now();
    assert_eq!(it.ask_for_work().await.status, 204);
    assert_eq!(asked_at.elapsed(), Duration::from_secs(30));
    let (claimed, id) = tokio::join!(it.claim(), it.deploy("my-shop"));
    assert_eq!(claimed.id(), id);
}

#[tokio::test(start_paused = true)]
async fn an_app_runs_one_at_a_time_in_order_and_others_meanwhile() {
    let it = Deploying::new().await;
    it.create_app("other-shop").await;
    let first = it.deploy("my-shop").await;
    let second = it.deploy("my-shop").await;
    let other = it.deploy("other-shop").await;
    let running = it.run().await;
    assert_eq!(running.id(), first);
    let beside = it.run().await;
    assert_eq!(beside.id(), other);
    assert_eq!(it.ask_for_work().await.status, 204);
    assert_eq!(it.status(&second).await, "queued");
    it.report(&running, "build-error").await;
    assert_eq!(it.run().await.id(), second);
}

#[tokio::test]
async fn of_many_runners_that_ask_at_once_each_gets_another() {
    let it = Deploying::new().await;
    let mut deployed = Vec::new();
    for number in 0..5 {
        let name = format!("shop-no-{number}");
        it.create_app(&name).await;
        deployed.push(it.deploy(&name).await);
    }
    let claims = futures_util::future::join_all((0..5).map(|_| it.claim())).await;
    let mut claimed: Vec<_> = claims.iter().map(Claim::id).collect();
    claimed.sort();
    deployed.sort();
    assert_eq!(claimed, deployed);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_nobody_confirms_is_handed_to_the_next_runner() {
    let it = Deploying::new().await;
    let id = it.deploy("my-shop").await;
    let lost = it.claim().await;
    assert_eq!(it.status(&id).await, "queued");
    assert_eq!(it.ask_for_work().await.status, 204);
    it.app.clock.advance(CONFIRM_WITHIN);
    let next = it.claim().await;
    assert_eq!(next.id(), id);
    for answer in [
        it.append(&lost, 0, "a\n").await,
        it.report(&lost, "building").await,
        it.report(&lost, "success").await,
        it.fetch(&lost).await,
    ] {
        answer.coded(410, "ended");
    }
    assert_eq!(it.append(&next, 0, "b\n").await.status, 200);
    assert_eq!(it.status(&id).await, "building");
    it.app.clock.advance(CONFIRM_WITHIN);
    assert_eq!(it.ask_for_work().await.status, 204);
    assert_eq!(it.log(&id).await, "b\n");
}

#[tokio::test]
async fn a_log_is_appended_where_it_ends_and_the_same_again_is_the_same() {
    let it = Deploying::new().await;
    it.deploy("my-shop").await;
    let claim = it.run().await;
    for _ in 0..2 {
        let appended = it.append(&claim, 0, "one\n").await;
        assert_eq!(appended.json(), json!({ "log_bytes": 4, "cancel": false }));
    }
    for (offset, text) in [(0, "two\n"), (3, "x"), (5, "x"), (5, ""), (1 << 40, "x")] {
        let refused = it.append(&claim, offset, text).await;
        assert!([409, 413].contains(&refused.status.as_u16()), "{refused:?}");
        if refused.status == 409 {
            refused.error(409, &["code", "error", "log_bytes"]);
            assert_eq!(refused.json()["log_bytes"], 4);
        }
    }
    assert_eq!(it.append(&claim, 4, "two\n").await.json()["log_bytes"], 8);
    assert_eq!(it.log(&claim.id()).await, "one\ntwo\n");
    let path = claim.report_path();
    for query in [
        "",
        "?offset=",
        "?offset=-1",
        "?offset=a",
        "?offset=0&offset=8",
        "?offset=+8",
    ] {
        let path = format!("{path}/log{query}");
        let refused = it.app.call(Method::PUT, &path, &[], "x").await;
        assert_eq!(refused.status, 422, "{query}");
        assert!(refused.json()["errors"]["offset"][0].is_string());
    }
}

#[tokio::test]
async fn a_log_has_a_limit_and_the_deployment_goes_on() {
    let it = Deploying::with(DeploymentLimits {
        log_bytes: 10,
        ..DeploymentLimits::default()
    })
    .await;
    it.deploy("my-shop").await;
    let claim = it.run().await;
    let most = 10 + usize::try_from(LOG_TAIL_BYTES).unwrap();
    assert_eq!(it.append(&claim, 0, &"a".repeat(most)).await.status, 200);
    let text = it.append(&claim, most, "a").await.error(413, &["error"]);
    assert!(text.contains("continues without more"), "{text}");
    assert_eq!(it.append(&claim, most, "").await.status, 200);
    assert_eq!(it.report(&claim, "success").await.status, 200);
}

#[tokio::test]
async fn states_go_forward_only_and_the_first_end_stands() {
    let it = Deploying::new().await;
    let id = it.deploy("my-shop").await;
    let claim = it.run().await;
    for (status, answered, shown) in [
        ("building", 200, "building"),
        ("pushing", 200, "pushing"),
        ("pushing", 200, "pushing"),
        ("building", 409, "pushing"),
        ("starting", 200, "starting"),
        ("queued", 422, "starting"),
        ("running", 422, "starting"),
        ("crashed-error", 200, "crashed-error"),
        ("crashed-error", 200, "crashed-error"),
        ("success", 410, "crashed-error"),
        ("starting", 410, "crashed-error"),
    ] {
        let answer = it.report(&claim, status).await;
        assert_eq!(answer.status, answered, "{status}: {answer:?}");
        assert_eq!(it.status(&id).await, shown, "{status}");
    }
    it.append(&claim, 0, "late").await.coded(410, "ended");
    it.fetch(&claim).await.coded(410, "ended");
    assert_eq!(it.log(&id).await, "");
}

#[tokio::test]
async fn a_reason_is_shown_and_has_a_limit() {
    let it = Deploying::new().await;
    let id = it.deploy("my-shop").await;
    let claim = it.run().await;
    let path = format!("{}/status", claim.report_path());
    for (reason, status) in [
        (json!("a".repeat(4097)), 422),
        (json!(1), 422),
        (json!("the archive is none"), 200),
    ] {
        let body = json!({ "status": "build-error", "reason": reason }).to_string();
        let answer = it.app.call(Method::PUT, &path, &[], body).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(
        it.show("my-shop", &id).await["reason"],
        "the archive is none"
    );
}

#[tokio::test]
async fn the_archive_is_served_to_a_runner_as_any_download_is() {
    let it = Deploying::new().await;
    it.deploy("my-shop").await;
    let claim = it.run().await;
    let uri = claim.path("source_url");
    let etag = it.fetch(&claim).await.header("etag").to_owned();
    for (name, value, get, head) in [
        ("range", "bytes=0-3", 206, 200),
        ("range", "bytes=9999-", 416, 200),
        ("if-none-match", etag.as_str(), 304, 304),
        ("if-match", "\"other\"", 412, 412),
    ] {
        for (method, status) in [(Method::GET, get), (Method::HEAD, head)] {
            let headers = [(name, value)];
            let answer = it.app.call(method.clone(), &uri, &headers, "").await;
            assert_eq!(answer.status, status, "{method} {name}: {value}");
        }
    }
    it.app.lose_the_archives();
    it.fetch(&claim).await.error(404, &["error", "resource"]);
    let look = async || it.app.call(Method::HEAD, &uri, &[], "").await.status;
    assert_eq!(look().await, 404);
    it.report(&claim, "success").await;
    assert_eq!(look().await, 410);
}

#[tokio::test]
async fn a_report_link_allows_reports_of_its_attempt_and_nothing_else() {
    let it = Deploying::new().await;
    it.deploy("my-shop").await;
    let claim = it.run().await;
    let report = claim.report_path();
    let source = claim.path("source_url");
    let swapped = report.replace("/reports/", "/sources/");
    for (method, path) in [
        (Method::GET, swapped.as_str()),
        (Method::GET, &format!("{source}0")),
        (
            Method::PUT,
            &format!("{}/status", &report[..report.len() - 1]),
        ),
        (Method::PUT, &format!("{report}0/log?offset=0")),
        (
            Method::PUT,
            &format!("{}/log?offset=0", source.replace("/sources/", "/reports/")),
        ),
    ] {
        let answer = it.app.call(method, path, &[], "{}").await;
        answer.coded(403, "invalid_token");
    }
    let token = &it.app.api_token;
    let answer = it
        .app
        .call_as(token, Method::POST, "/v1/runner/claims", "")
        .await;
    assert_eq!(answer.status, 403, "{answer:?}");
}

#[tokio::test]
async fn a_deployment_keeps_its_archive_beyond_the_expiry_of_its_source_and_gives_it_back() {
    let it = Deploying::new().await;
    it.deploy("my-shop").await;
    it.app.clock.advance(LIFETIME + Duration::from_mins(1));
    let sweep = async || {
        let now = waystation::clock::Clock::Fake(it.app.clock.clone()).now();
        it.app.store.sweep(now).await.unwrap();
    };
    sweep().await;
    let claim = it.run().await;
    assert_eq!(it.fetch(&claim).await.body, ARCHIVE);
    assert_eq!(it.report(&claim, "success").await.status, 200);
    sweep().await;
    it.app.assert_nothing_stored();
}

#[tokio::test]
async fn a_runner_that_is_not_heard_of_loses_its_deployment_and_is_told_so() {
    let it = Deploying::new().await;
    let id = it.deploy("my-shop").await;
    let next = it.deploy("my-shop").await;
    let claim = it.run().await;
    it.append(&claim, 0, "half a li").await;
    it.pass(Duration::from_mins(1), &[]).await;
    assert_eq!(it.status(&id).await, "building");
    it.pass(Duration::from_secs(20), &[]).await;
    let ended = it.show("my-shop", &id).await;
    let reason = "its runner has not reported for 60 s";
    assert_eq!(
        (&ended["status"], &ended["reason"]),
        (&json!("aborted"), &json!(reason))
    );
    assert_eq!(
        it.log(&id).await,
        format!("half a li\nwaystation: {reason}\n")
    );
    for answer in [
        it.append(&claim, 9, "ne\n").await,
        it.report(&claim, "success").await,
        it.fetch(&claim).await,
    ] {
        answer.coded(410, "ended");
    }
    assert_eq!(it.run().await.id(), next);
}

#[tokio::test]
async fn nobody_is_lost_while_the_server_itself_was_away() {
    let it = Deploying::new().await;
    let id = it.deploy("my-shop").await;
    let claim = it.run().await;
    it.pass(Duration::from_secs(10), &[]).await;
    it.app.clock.advance(Duration::from_mins(10));
    it.app.deployments.keep_up().await.unwrap();
    assert_eq!(it.status(&id).await, "building");
    it.pass(Duration::from_mins(1), &[]).await;
    assert_eq!(it.append(&claim, 0, "still there\n").await.status, 200);
    it.pass(Duration::from_mins(1), &[]).await;
    assert_eq!(it.status(&id).await, "building");
}

#[tokio::test]
async fn one_that_takes_too_long_is_ended_by_its_deadline() {
    for (status, end) in [("building", "build-error"), ("starting", "timeout-error")] {
        let it = Deploying::with(DeploymentLimits {
            run_timeout: Duration::from_mins(2),
            ..DeploymentLimits::default()
        })
        .await;
        let id = it.deploy("my-shop").await;
        let claim = it.run().await;
        it.report(&claim, status).await;
        // Its runner has a minute to stop the command.
        it.pass(Duration::from_secs(170), &[&claim]).await;
        assert_eq!(it.status(&id).await, status);
        it.pass(Duration::from_secs(20), &[]).await;
        assert_eq!(it.status(&id).await, end);
        assert!(it.log(&id).await.ends_with("it took longer than 2m\n"));
    }
}

#[tokio::test]
async fn one_that_waits_for_too_long_is_aborted() {
    let it = Deploying::with(DeploymentLimits {
        queue_timeout: Duration::from_mins(1),
        ..DeploymentLimits::default()
    })
    .await;
    let first = it.deploy("my-shop").await;
    let claim = it.run().await;
    let second = it.deploy("my-shop").await;
    it.pass(Duration::from_secs(50), &[&claim]).await;
    assert_eq!(it.status(&second).await, "queued");
    it.pass(Duration::from_secs(10), &[&claim]).await;
    assert_eq!(it.status(&second).await, "aborted");
    assert_eq!(
        it.log(&second).await,
        "waystation: no runner claimed it within 1m\n"
    );
    assert_eq!(it.status(&first).await, "building");
}
