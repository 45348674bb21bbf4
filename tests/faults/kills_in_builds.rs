//! `kill -9` of the server while deployments run, again and again: builds go on, their logs are whole, each ends once,
//! and of an application never two run.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use waystation_testing::deployers::{Deploying, FLAGS};
use waystation_testing::dice::{Dice, Rounds};
use waystation_testing::{Waystation, eventually};

const KILLS: usize = 3;
const RUNNERS: usize = 3;
const APPS: usize = 2;
/// How many deployments of each application are asked for between two kills.
const DEPLOYMENTS: usize = 2;
const MAX_PAUSE_US: usize = 30_000;

#[test]
fn a_server_killed_in_mid_build_loses_nothing_of_what_runs() {
    let mut dice = Dice::new("kills while deploying");
    let mut server = Waystation::start(&FLAGS);
    let made = server
        .store
        .run(&["token", "create", "runners", "--runner"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let runner = format!("Authorization: Bearer {}", made.stdout.trim_end());
    let deploying = Deploying::new(server.address, &server.bearer(), &runner, APPS);
    let mut work_dice = dice.split();
    let (kills, server) = deploying.run_during(RUNNERS, &mut dice, || {
        let mut kills = 0;
        for _ in Rounds::new(KILLS) {
            for app in (0..APPS).cycle().take(APPS * DEPLOYMENTS) {
                deploying.deploy(app);
            }
            let enough = deploying.pieces() + 1 + work_dice.below(20);
            eventually("runners have come so far", || {
                deploying.pieces() >= enough || deploying.is_done()
            });
            let us = u64::try_from(work_dice.below(MAX_PAUSE_US)).unwrap();
            thread::park_timeout(Duration::from_micros(us));
            server = Waystation::start_on(server.kill(), &FLAGS);
            deploying.move_to(&[server.address]);
            kills += 1;
        }
        eventually("all have ended", || deploying.is_done());
        // Runners that wait for work would do so for half a minute.
        deploying.end();
        server = Waystation::start_on(server.kill(), &FLAGS);
        deploying.move_to(&[server.address]);
        (kills, server)
    });
    let deployments = deploying.check();
    assert_eq!(deployments, kills * APPS * DEPLOYMENTS);
    let audit = server.store.run(&["audit"]);
    assert_eq!(audit.code, Some(0), "{audit:?}");
    println!(
        "soak: {kills} kills while deploying; {deployments} deployments, {} pieces of logs",
        deploying.pieces()
    );
}

#[test]
fn a_test_that_fails_ends_its_runners() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let deploying = Deploying::new(nowhere, "", "", 0);
    let failing = || deploying.run_during::<()>(RUNNERS, &mut Dice::of(1), || panic!("on purpose"));
    assert!(catch_unwind(AssertUnwindSafe(failing)).is_err());
}
