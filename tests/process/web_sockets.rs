//! Following deployments with a WebSocket client that was not written here.

use serde_json::{Value, json};
use waystation_testing::program::{Program, tools, without_settings};
use waystation_testing::{eventually, repository};

use crate::scripted_runner::Deploying;

impl Deploying {
    fn follow(&self, how: &str, token: &str) -> Program {
        let url = self.server.url("/v1/apps/my-shop/deployments/stream");
        let mut python = without_settings("python3");
        python
            .arg(repository().join("tests/tools/follow.py"))
            .arg(tools().join("websockets"))
            .args([&url.replace("http://", "ws://"), how, token]);
        Program::start(python)
    }

    fn follow_whole(&self) -> Program {
        self.follow("whole", self.server.api_token())
    }

    fn await_followers(&self, count: f64) {
        eventually("so many follow", || {
            self.server.metric("waystation_deployment_followers") == Some(count)
        });
    }
}

/// All that a client has said when it has ended.
fn said(mut client: Program) -> Vec<Value> {
    assert_eq!(client.await_end(), Some(0), "{}", client.stderr());
    let text = client.stdout();
    let lines = text.lines().map(serde_json::from_str);
    let said: Result<Vec<Value>, _> = lines.collect();
    said.unwrap()
}

const ADMIN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];

#[test]
fn a_client_follows_to_the_end_whether_it_comes_early_or_late() {
    let it = Deploying::start(&ADMIN);
    let early = it.follow_whole();
    it.await_followers(1.0);
    let (id, reports) = it.run();
    early.await_line("building");
    it.append(&reports, 0, "one\ntwo\n");
    early.await_line("two");
    let late = it.follow_whole();
    late.await_line("two");
    it.report(&reports, "success");
    let (early, late) = (said(early), said(late));
    let pusher = json!({ "username": "admin" });
    let mut expected = vec![
        json!({ "type": "new", "id": id, "data": { "deployment": { "id": id, "pusher": pusher } } }),
        json!({ "type": "status", "id": id, "data": { "status": "building" } }),
        json!({ "type": "log", "id": id, "data": { "content": "one\ntwo\n" } }),
        json!({ "type": "status", "id": id, "data": { "status": "success" } }),
        json!({ "closed": 1000, "reason": "" }),
    ];
    assert_eq!(early, expected);
    assert_eq!(late, expected);
    // And so does one that comes when all is over.
    expected.remove(1);
    assert_eq!(said(it.follow_whole()), expected);
    it.await_followers(0.0);
    it.server.stop();
}

#[test]
fn a_client_with_a_wrong_token_is_told_so() {
    let it = Deploying::start(&[]);
    let wrong = format!("tk-us-{}", "A".repeat(48));
    let said = said(it.follow("whole", &wrong));
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0]["closed"], 1008);
    let reason = said[0]["reason"].as_str().unwrap();
    assert!(reason.contains("the bearer is unknown"), "{reason}");
}

#[test]
fn a_client_that_does_not_say_who_it_is_is_told_so() {
    let it = Deploying::start(&[]);
    let said = said(it.follow("mute", ""));
    let reason = "no token came within 10 s";
    assert_eq!(said, [json!({ "closed": 1008, "reason": reason })]);
}

#[test]
fn a_client_that_closes_its_side_follows_no_more() {
    let it = Deploying::start(&ADMIN);
    let (_, reports) = it.run();
    let half = it.follow("half", it.server.api_token());
    drop(said(half));
    it.await_followers(0.0);
    it.append(&reports, 0, "one\n");
    it.report(&reports, "success");
    let last = said(it.follow_whole());
    assert_eq!(last[3]["closed"], 1000, "{last:?}");
}

#[test]
fn a_client_that_stands_still_is_given_up_and_others_are_told_all() {
    let it = Deploying::start(&[&ADMIN[..], &["--idle-timeout", "2s"]].concat());
    let stuck = it.follow("stuck", it.server.api_token());
    it.await_followers(1.0);
    let (_, reports) = it.run();
    stuck.await_line("new");
    let quick = it.follow_whole();
    it.await_followers(2.0);
    let piece = format!("{}\n", "a".repeat(99)).repeat(10_000);
    for number in 0..6 {
        it.append(&reports, number * piece.len(), &piece);
    }
    it.await_followers(1.0);
    it.report(&reports, "success");
    let said = said(quick);
    let logs = said
        .iter()
        .filter_map(|frame| frame["data"]["content"].as_str());
    let log_bytes: usize = logs.map(str::len).sum();
    assert_eq!(log_bytes, 6 * piece.len());
    drop(stuck);
}

#[test]
fn who_follows_is_told_when_the_server_ends_and_the_next_one_tells_it_all() {
    let flags = [&ADMIN[..], &["--drain", "1s"]].concat();
    let it = Deploying::start(&flags);
    let (id, reports) = it.run();
    it.append(&reports, 0, "one\n");
    let here = it.follow_whole();
    here.await_line("one");
    let it = it.restart(&flags);
    let last = said(here).pop();
    let reason = "the server is shutting down";
    assert_eq!(last, Some(json!({ "closed": 1001, "reason": reason })));

    let there = it.follow_whole();
    there.await_line("one");
    it.append(&reports, 4, "two\n");
    it.report(&reports, "success");
    let told = said(there);
    let log = told
        .iter()
        .filter_map(|frame| frame["data"]["content"].as_str());
    assert_eq!(log.collect::<String>(), "one\ntwo\n");
    assert_eq!(told[0]["id"], id);
    let end = json!({ "type": "status", "id": id, "data": { "status": "success" } });
    assert_eq!(
        told[told.len() - 2..],
        [end, json!({ "closed": 1000, "reason": "" })]
    );
}
