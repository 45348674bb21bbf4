//! Deployments on three servers and one bucket: each is asked by turns, one after the other is killed, and the object
//! store goes away for a while. And a runner that is killed.

use std::thread;
use std::time::Duration;

use jiff::SignedDuration;
use waystation_testing::deployers::Deploying;
use waystation_testing::dice::Dice;
use waystation_testing::reply::Reply;
use waystation_testing::seaweedfs::SeaweedFs;
use waystation_testing::wall_clock::WallClock;
use waystation_testing::{Server, eventually, eventually_within};

use crate::shared_store::SharedStore;

const NODES: usize = 3;
const RUNNERS: usize = 4;
const APPS: usize = 3;
const KILLS: usize = 2;
const MAX_PAUSE_US: usize = 200_000;
const FLAGS: [&str; 6] = [
    "--rate-limit",
    "0",
    "--max-queued-per-app",
    "1000",
    "--keep-deployments",
    "1000",
];

/// The header of a runner.
fn create_runner(store: &SharedStore) -> String {
    let made = store.run(&["token", "create", "runners", "--runner"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    format!("Authorization: Bearer {}", made.stdout.trim_end())
}

#[test]
fn deployments_on_three_servers_outlive_kills_and_an_object_store_that_goes_away() {
    let mut dice = Dice::new("deploying on three servers");
    let objects = SeaweedFs::start();
    let store = SharedStore::on(&objects);
    let bearer = store.create_bearer();
    let runner = create_runner(&store);
    let start = || Server::start(store.serve(&FLAGS));
    let mut nodes: Vec<_> = (0..NODES).map(|_| start()).collect();
    let deploying = Deploying::new(nodes[0].address, &bearer, &runner, APPS);
    let addresses = |nodes: &[Server]| nodes.iter().map(|node| node.address).collect::<Vec<_>>();
    deploying.move_to(&addresses(&nodes));
    let mut work_dice = dice.split();
    deploying.run_during(RUNNERS, &mut dice, || {
        for kill in 0..KILLS {
            (0..2 * APPS).for_each(|number| deploying.deploy(number % APPS));
            let enough = deploying.pieces() + 1 + work_dice.below(10);
            eventually("runners have come so far", || deploying.pieces() >= enough);
            let us = u64::try_from(work_dice.below(MAX_PAUSE_US)).unwrap();
            thread::park_timeout(Duration::from_micros(us));
            nodes[kill % NODES].program.kill();
            nodes[kill % NODES] = start();
            deploying.move_to(&addresses(&nodes));
        }
        objects.stop();
        thread::park_timeout(Duration::from_secs(1));
        objects.resume();
        eventually("all have ended", || deploying.is_done());
    });
    let deployments = deploying.check();
    let audit = store.run(&["audit"]);
    assert_eq!(audit.code, Some(0), "{audit:?}");
    println!(
        "soak: {KILLS} kills and an outage while deploying on {NODES} servers; {deployments} deployments"
    );
}

/// A call with JSON, whose answer has to come.
fn call(node: &Server, header: &str, method: &str, path: &str, body: &str) -> Reply {
    let reply = node.try_call(method, path, &[header], body.as_bytes());
    reply.unwrap()
}

/// The paths of the report link and of the deployment that a runner is handed.
fn claim(node: &Server, runner: &str) -> (String, String) {
    let reply = call(node, runner, "POST", "/v1/runner/claims", "{}");
    assert_eq!(reply.status, 200, "{reply:?}");
    let claim = &reply.json()["claim"];
    let (app, id) = (&claim["app"]["id"], &claim["deployment"]["id"]);
    let (app, id) = (app.as_str().unwrap(), id.as_str().unwrap());
    let report = claim["report_url"].as_str().unwrap();
    let report = report.split_once("/v1/").unwrap().1;
    (
        format!("/v1/{report}"),
        format!("/v1/apps/{app}/deployments/{id}"),
    )
}

#[test]
fn a_killed_runner_loses_its_deployment_by_a_deadline_and_the_next_one_runs() {
    let store = SharedStore::on(SeaweedFs::shared());
    let clock = WallClock::new();
    let [here, there] = [(); 2].map(|()| Server::start(clock.rule(store.serve(&FLAGS))));
    let (bearer, runner) = (store.create_bearer(), create_runner(&store));
    let deploying = Deploying::new(here.address, &bearer, &runner, 1);
    (0..2).for_each(|_| deploying.deploy(0));
    let (report, killed) = claim(&here, &runner);
    let log = format!("{report}/log?offset=0");
    let half = call(&here, "X-Test: log", "PUT", &log, "half a line");
    assert_eq!(half.status, 200, "{half:?}");

    let mut ahead = SignedDuration::ZERO;
    // A server has to look several times meanwhile: its own absence loses nobody.
    eventually_within(Duration::from_mins(5), "it is aborted", || {
        ahead += SignedDuration::from_millis(80);
        clock.run_off_by(ahead);
        call(&there, &bearer, "GET", &killed, "").json()["deployment"]["status"] == "aborted"
    });
    let output = format!("{killed}/output");
    let told = "half a line\nwaystation: its runner has not been heard of for 60 s\n";
    assert_eq!(call(&here, &bearer, "GET", &output, "").text(), told);
    // It was not dead after all: that changes nothing.
    for offset in [0, 11, told.len()] {
        let log = format!("{report}/log?offset={offset}");
        let late = call(&there, "X-Test: log", "PUT", &log, "late");
        assert_eq!(late.status, 410, "{late:?}");
    }
    assert_eq!(call(&there, &bearer, "GET", &output, "").text(), told);
    let (_, next) = claim(&there, &runner);
    assert_ne!(next, killed);
}
