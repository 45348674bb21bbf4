//! Deployments on three servers and one bucket, by real runners: each server is asked by turns, one after the other is
//! killed, and the object store goes away for a while.

use std::fs;
use std::thread;
use std::time::Duration;

use waystation_testing::deployers::{Deploying, FLAGS};
use waystation_testing::dice::Dice;
use waystation_testing::program::Program;
use waystation_testing::relay::Relay;
use waystation_testing::runners::{runner_of, write_token};
use waystation_testing::seaweedfs::SeaweedFs;
use waystation_testing::tarball::Tarball;
use waystation_testing::{Server, eventually};

use crate::shared_store::SharedStore;

const NODES: usize = 3;
const RUNNERS: usize = 4;
const APPS: usize = 3;
const KILLS: usize = 2;
const MAX_PAUSE_US: usize = 200_000;

/// Says that two run at once if they do, notes what has begun, and prints lines for a while.
const SCRIPT: &str = r#"running=$1/$WAYSTATION_APP_ID.running
    mkdir "$running" || exit 1
    echo "$WAYSTATION_DEPLOYMENT" >>"$1/$WAYSTATION_APP_ID.begun"
    cat index.html
    for i in $(seq 100); do echo "line $i"; test $((i % 10)) = 0 && sleep 0.05; done
    rmdir "$running""#;

/// What it prints.
fn expected_log(mark: &str) -> String {
    let lines = (1..=100).map(|number| format!("line {number}\n"));
    std::iter::once(format!("{mark}\n")).chain(lines).collect()
}

/// A token for runners.
fn create_runner(store: &SharedStore) -> String {
    let made = store.run(&["token", "create", "runners", "--runner"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    made.stdout
}

/// The runners themselves, each with a work folder and all with one room for what their commands note.
fn start_runners(store: &SharedStore, relay: &Relay) -> Vec<Program> {
    let token = store.file("runner-token");
    write_token(&token, &create_runner(store));
    let start = |number| {
        let work = store.file(&format!("work-{number}"));
        let mut command = runner_of(&relay.url(), &token, &work);
        command.args(["--", "sh", "-c", SCRIPT, "sh"]);
        command.arg(store.file(""));
        Program::start(command)
    };
    (0..RUNNERS).map(start).collect()
}

/// How many deployments runners have begun with.
fn begun(store: &SharedStore, deploying: &Deploying) -> usize {
    let apps = deploying.apps().iter();
    let files = apps.map(|app| fs::read_to_string(store.file(&format!("{app}.begun"))));
    files
        .map(|text| text.unwrap_or_default().lines().count())
        .sum()
}

#[test]
fn real_runners_and_three_servers_outlive_kills_and_an_object_store_that_goes_away() {
    let mut dice = Dice::new("deploying on three servers");
    let objects = SeaweedFs::start();
    let store = SharedStore::on(&objects);
    let bearer = store.create_bearer();
    let start = || Server::start(store.serve(&FLAGS));
    let mut nodes: Vec<_> = (0..NODES).map(|_| start()).collect();
    let addresses = |nodes: &[Server]| nodes.iter().map(|node| node.address).collect::<Vec<_>>();
    let deploying = Deploying::new(nodes[0].address, &bearer, "", APPS);
    deploying.move_to(&addresses(&nodes));
    let relay = Relay::to(&addresses(&nodes));
    let _runners = start_runners(&store, &relay);
    let archive = |mark: &str| {
        let page = format!("{mark}\n");
        Tarball::new().file("app/index.html", page.as_bytes()).end()
    };
    for kill in 0..KILLS {
        (0..2 * APPS).for_each(|number| deploying.deploy_with(number % APPS, archive));
        let enough = begun(&store, &deploying) + 1 + dice.below(2);
        eventually("runners have come so far", || {
            begun(&store, &deploying) >= enough || deploying.is_done()
        });
        let us = u64::try_from(dice.below(MAX_PAUSE_US)).unwrap();
        thread::park_timeout(Duration::from_micros(us));
        nodes[kill % NODES].program.kill();
        nodes[kill % NODES] = start();
        deploying.move_to(&addresses(&nodes));
        relay.move_to(&addresses(&nodes));
    }
    objects.stop();
    thread::park_timeout(Duration::from_secs(1));
    objects.resume();
    eventually("all have ended", || deploying.is_done());

    let listed = deploying.list();
    for deployment in &listed {
        let log = String::from_utf8(deploying.log_of(deployment)).unwrap();
        assert_eq!(deployment["status"], "success", "{log}");
        let is_its = |line: &&str| !line.starts_with("waystation: ");
        let printed: String = log.split_inclusive('\n').filter(is_its).collect();
        let mark = deployment["git_ref"].as_str().unwrap();
        assert_eq!(printed, expected_log(mark));
    }
    // Each once, and those of an application in the order in which they were accepted: the newest is listed first.
    for app in deploying.apps() {
        let begun = fs::read_to_string(store.file(&format!("{app}.begun"))).unwrap();
        let accepted = listed
            .iter()
            .rev()
            .filter(|listed| listed["app_id"] == **app);
        let accepted: Vec<_> = accepted
            .map(|listed| listed["id"].as_str().unwrap())
            .collect();
        assert_eq!(begun.lines().collect::<Vec<_>>(), accepted);
    }
    let audit = store.run(&["audit"]);
    assert_eq!(audit.code, Some(0), "{audit:?}");
    println!(
        "soak: {KILLS} kills and an outage under {RUNNERS} runners on {NODES} servers; {} deployments",
        listed.len()
    );
}
