//! Deployments of one store on two servers at once, and what a server that was cut short has left.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use waystation::clock::FakeClock;
use waystation::deployment::Status;
use waystation::grant::{GrantKeys, ReportGrant};
use waystation::public_url::PublicUrl;
use waystation::service::api_tokens::{TokenId, parse_api_token};
use waystation::service::deployments::{
    Claimed, DeploymentLimits, DeploymentUpdate, Deployments, LOG_TAIL_BYTES, LOOK_EVERY,
    ReportError,
};
use waystation::store::{Collection, DocumentKey, Expected};

use crate::app::{NOW, keys};
use crate::deploying::{BASE, Deploying};

fn runner_of(it: &Deploying) -> TokenId {
    parse_api_token(&it.runner).unwrap().0
}

/// Work, if there is any within a few looks.
async fn claim(it: &Deploying, node: &Deployments) -> Option<Claimed> {
    let base: PublicUrl = BASE.parse().unwrap();
    let claimed = node.wait_for_claim(runner_of(it), &base, 3 * LOOK_EVERY);
    claimed.await.unwrap()
}

fn report_grant(claimed: &Claimed) -> ReportGrant {
    let (_, grant) = claimed.report_url.reveal().rsplit_once('/').unwrap();
    GrantKeys::derive(&keys()).verify_report(grant).unwrap()
}

/// Claims, runs and ends what there is, and says in which order.
async fn work(
    it: &Deploying,
    claims_at: Arc<Deployments>,
    reports_at: Arc<Deployments>,
) -> Vec<String> {
    let mut done = Vec::new();
    while let Some(claimed) = claim(it, &claims_at).await {
        let grant = report_grant(&claimed);
        for status in [Status::Building, Status::Success] {
            reports_at.report_status(grant, status, None).await.unwrap();
        }
        done.push(claimed.deployment.id.to_string());
    }
    done
}

#[tokio::test(start_paused = true)]
async fn each_deployment_is_handed_out_once_and_those_of_an_app_in_order() {
    let it = Deploying::new().await;
    let (a, b) = (Arc::clone(&it.app.deployments), it.app.another_node());
    let mut deployed = HashMap::new();
    for name in ["shop-no-1", "shop-no-2", "shop-no-3"] {
        it.create_app(name).await;
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(it.deploy(name).await);
        }
        deployed.insert(name, ids);
    }
    let workers = [(&a, &b), (&b, &a), (&a, &a), (&b, &b)]
        .map(|(claims_at, reports_at)| work(&it, Arc::clone(claims_at), Arc::clone(reports_at)));
    let done = futures_util::future::join_all(workers).await.concat();
    // Whoever found nothing to do just then has ended: some may be left.
    let rest = work(&it, a, b).await;
    let mut all = [done, rest].concat();
    all.sort();
    let mut expected = deployed.values().flatten().cloned().collect::<Vec<_>>();
    expected.sort();
    assert_eq!(all, expected);
    for (name, ids) in deployed {
        let mut ended_at = Vec::new();
        for id in ids {
            ended_at.push(it.show(name, &id).await["finished_at"].to_string());
        }
        assert!(ended_at.is_sorted(), "{ended_at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_appended_at_one_node_is_followed_at_another() {
    let it = Deploying::new().await;
    let b = it.app.another_node();
    let app = it.create_app("other-shop").await;
    let app = *uuid::Uuid::try_parse(&app).unwrap().as_bytes();
    let mut follower = b.follow(app).unwrap();
    let id = it.deploy("other-shop").await;
    let claim = it.run().await;
    it.append(&claim, 0, "one\n").await;
    it.report(&claim, "success").await;
    let mut told = Vec::new();
    loop {
        let news = follower.next().await.unwrap();
        told.push(match &news {
            DeploymentUpdate::New { id, .. } => id.to_string(),
            DeploymentUpdate::Log { content, .. } => content.clone(),
            DeploymentUpdate::Status { status, .. } => status.to_string(),
        });
        if matches!(news, DeploymentUpdate::Status { status, .. } if status.is_end()) {
            break;
        }
    }
    assert_eq!(told, [&id, "one\n", "success"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_runner_is_found_by_any_node_and_ends_once() {
    let it = Deploying::new().await;
    let b = it.app.another_node();
    let id = it.deploy("my-shop").await;
    let claimed = claim(&it, &b).await.unwrap();
    let grant = report_grant(&claimed);
    b.append_log(grant, 0, Bytes::from_static(b"a\n"))
        .await
        .unwrap();
    for _ in 0..8 {
        it.app.clock.advance(Duration::from_secs(10));
        let (first, second) = tokio::join!(it.app.deployments.keep_up(), b.keep_up());
        first.and(second).unwrap();
    }
    assert_eq!(it.status(&id).await, "aborted");
    let log = it.log(&id).await;
    assert_eq!(log.matches("has not reported").count(), 1, "{log}");
    let events = it.get("/v1/apps/my-shop/events").await.json();
    let ends = events["events"].as_array().unwrap().iter();
    assert_eq!(
        ends.filter(|event| event["type"] == "deployment").count(),
        1
    );
}

/// What its runner was told with the claim holds at each.
#[tokio::test]
async fn a_log_may_be_as_long_as_the_node_said_that_handed_the_deployment_out() {
    let with = |log_bytes| DeploymentLimits {
        log_bytes,
        ..DeploymentLimits::default()
    };
    let it = Deploying::with(with(10)).await;
    it.deploy("my-shop").await;
    let grant = report_grant(&claim(&it, &it.app.deployments).await.unwrap());
    let most = 10 + usize::try_from(LOG_TAIL_BYTES).unwrap();
    let mut log_bytes = 0;
    for (other, length) in [(1, most), (1_000, most)] {
        let node = it.app.node_of(&it.app.clock, with(other));
        for _ in 0..2 {
            let piece = Bytes::from(vec![b'a'; length - log_bytes]);
            let log = node.append_log(grant, log_bytes as u64, piece).await;
            log_bytes = usize::try_from(log.unwrap().log_bytes).unwrap();
        }
        let piece = Bytes::from_static(b"a");
        let refused = node.append_log(grant, log_bytes as u64, piece).await;
        let Err(ReportError::LogFull { limit_bytes }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(limit_bytes, most as u64);
    }
}

#[tokio::test]
async fn a_deployment_may_take_as_long_as_the_node_said_that_handed_it_out() {
    let it = Deploying::new().await;
    let hasty = DeploymentLimits {
        run_timeout: Duration::from_mins(1),
        ..DeploymentLimits::default()
    };
    let node = it.app.node_of(&it.app.clock, hasty);
    let id = it.deploy("my-shop").await;
    let claim = it.run().await;
    let look = async |minutes: u64| {
        for _ in 0..minutes * 6 {
            it.app.clock.advance(Duration::from_secs(10));
            it.append(&claim, 0, "").await;
            node.keep_up().await.unwrap();
        }
        it.status(&id).await
    };
    assert_eq!(look(30).await, "building");
    assert_eq!(look(2).await, "build-error");
    assert!(it.log(&id).await.ends_with("it took longer than 30m\n"));
}

#[tokio::test]
async fn a_node_whose_clock_is_ahead_takes_no_runner_of_another_for_lost() {
    let it = Deploying::new().await;
    let ahead = FakeClock::at(NOW.after(Duration::from_mins(4)));
    let b = it.app.node_with(&ahead);
    let id = it.deploy("my-shop").await;
    let claim = it.run().await;
    for _ in 0..12 {
        it.app.clock.advance(Duration::from_secs(10));
        ahead.advance(Duration::from_secs(10));
        assert_eq!(it.append(&claim, 0, "").await.status, 200);
        b.keep_up().await.unwrap();
    }
    assert_eq!(it.status(&id).await, "building");
    for _ in 0..8 {
        ahead.advance(Duration::from_secs(10));
        b.keep_up().await.unwrap();
    }
    assert_eq!(it.status(&id).await, "aborted");
}

/// The name of an entry of the queue.
fn entry(created_at_ms: u64, app: &str, number: u64) -> DocumentKey {
    let app = uuid::Uuid::try_parse(app).unwrap();
    let bytes = [
        &created_at_ms.to_be_bytes()[..],
        app.as_bytes(),
        &number.to_be_bytes(),
    ];
    Collection::Queue.key(&bytes.concat())
}

#[tokio::test]
async fn what_a_server_that_was_cut_short_has_left_keeps_nobody_waiting_and_goes() {
    let it = Deploying::new().await;
    let other = it.create_app("other-shop").await;
    let third = it.create_app("third-shop").await;
    // Entries whose records were not written, of which another took a number; and one that stays behind an end.
    let note = json!({ "created_at": NOW });
    let write = async |key| {
        let store = &it.app.store;
        let write = store.write_document(&key, &note, Expected::Absent);
        write.await.unwrap();
    };
    write(entry(NOW.as_ms(), &other, 1)).await;
    write(entry(NOW.as_ms(), &third, 1)).await;
    let id = it.deploy("my-shop").await;
    let claim = it.run().await;
    it.report(&claim, "success").await;
    let shown = it.show("my-shop", &id).await;
    write(entry(NOW.as_ms(), shown["app_id"].as_str().unwrap(), 1)).await;
    let next = it.deploy("other-shop").await;
    let claim = it.run().await;
    assert_eq!(claim.id(), next);
    assert_eq!(it.app.files_in("queue"), 4);
    it.pass(Duration::from_secs(10), &[]).await;
    assert_eq!(it.app.files_in("queue"), 3);
    it.report(&claim, "success").await;
    it.pass(Duration::from_secs(10), &[]).await;
    assert_eq!(it.app.files_in("queue"), 1);
    it.app.clock.advance(Duration::from_mins(10));
    it.app.deployments.keep_up().await.unwrap();
    assert_eq!(it.app.files_in("queue"), 0);
    for id in [("my-shop", id), ("other-shop", next)] {
        assert_eq!(it.show(id.0, &id.1).await["status"], "success");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_without_an_entry_is_put_into_the_queue_by_whoever_comes_behind_it() {
    let it = Deploying::new().await;
    let first = it.deploy("my-shop").await;
    let app = it.show("my-shop", &first).await["app_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let key = entry(NOW.as_ms(), &app, 1);
    it.app.store.delete_document(&key).await.unwrap();
    it.app.deployments.keep_up().await.unwrap();
    assert!(claim(&it, &it.app.deployments).await.is_none());
    let second = it.deploy("my-shop").await;
    let found = claim(&it, &it.app.deployments).await.unwrap();
    assert_eq!(found.deployment.id.to_string(), first);
    let end = it
        .app
        .deployments
        .report_status(report_grant(&found), Status::Success, None);
    end.await.unwrap();
    assert_eq!(it.run().await.id(), second);
}
