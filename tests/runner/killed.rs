//! `kill -9` of the server, of the runner and of both, in the middle of a build: nothing of a log is lost, nothing goes on
//! whose runner is gone, and the next deployment runs.

use rustix::process::Signal;
use waystation_testing::program::Program;
use waystation_testing::runners::{Gate, app, children_of, is_running, kill};
use waystation_testing::store_folder::Store;
use waystation_testing::wall_clock::WallClock;
use waystation_testing::{Waystation, eventually};

use crate::site::{Deployment, FLAGS, Site};

/// Prints the numbers of two processes, of which one has left its group and session, and waits for its end.
const SCRIPT: &str =
    "setsid sh -c 'echo left $$.; exec sleep 1000' & sleep 1000 & echo begun $!.; wait";

/// The processes of a command that has begun.
fn processes_of(deployment: &Deployment) -> [i32; 2] {
    let id_after = |word: &str| {
        deployment.await_output(word);
        let output = deployment.output();
        let (_, rest) = output.split_once(word)?;
        let (id, _) = rest.split_once('.')?;
        id.parse().ok()
    };
    ["left ", "begun "].map(|word| {
        let mut id = None;
        eventually(word, || {
            id = id_after(word);
            id.is_some()
        });
        id.unwrap()
    })
}

fn await_end_of(processes: [i32; 2]) {
    eventually("the end of what it has left", || {
        !processes.iter().any(|id| is_running(*id))
    });
}

#[test]
fn a_killed_runner_takes_its_command_along_and_the_next_one_runs_after_the_deadline() {
    let clock = WallClock::new();
    let site = Site::of(clock.start(Store::new(), &FLAGS));
    let mut runner = site.runner(SCRIPT);
    let (deployment, next) = (site.deploy(&app()), site.deploy(&app()));
    let processes = processes_of(&deployment);
    runner.kill();
    // Nobody has started another runner.
    await_end_of(processes);
    deployment.await_loss(&clock);
    let _runner = site.runner("cat index.html");
    next.await_end_as("success");
}

#[test]
fn what_a_runner_has_left_that_was_killed_with_its_supervisor_ends_when_the_next_one_starts() {
    let site = Site::start();
    let mut runner = site.runner(SCRIPT);
    let processes = processes_of(&site.deploy(&app()));
    let supervisors = children_of(runner.id());
    assert_eq!(supervisors.len(), 1, "{supervisors:?}");
    // If the runner were killed first, its supervisor could end the command before it is killed itself.
    kill_together(&mut runner, supervisors[0]);
    assert!(processes.iter().all(|id| is_running(*id)));
    let next = site.runner(SCRIPT);
    next.await_line("that an earlier runner left");
    await_end_of(processes);
}

/// Neither of them can do anything meanwhile.
fn kill_together(runner: &mut Program, supervisor: i32) {
    runner.signal(Signal::STOP);
    kill(supervisor);
    eventually("the end of the supervisor", || !is_running(supervisor));
    runner.kill();
}

#[test]
fn a_build_whose_supervisor_is_killed_ends_and_says_so() {
    let site = Site::start();
    let runner = site.runner(SCRIPT);
    let deployment = site.deploy(&app());
    let processes = processes_of(&deployment);
    kill(children_of(runner.id())[0]);
    deployment.assert_ends(
        "build-error",
        "the runner can no longer watch the command: its supervisor was killed\n",
    );
    await_end_of(processes);
}

#[test]
fn a_server_that_is_killed_stops_no_build_and_misses_none_of_its_log() {
    let site = Site::start();
    let gate = Gate::new(site.room.path());
    let lines =
        |from: usize, to: usize| format!("for i in $(seq {from} {to}); do echo line $i; done");
    let script = [lines(1, 2000), gate.wait(), lines(2001, 4000)].join("; ");
    let _runner = site.runner(&script);
    let deployment = site.deploy(&app());
    deployment.await_output("line 2000\n");
    let id = deployment.id.clone();
    let site = site.restart(Waystation::kill, |store| {
        // While there is no server, the command ends.
        gate.open();
        Waystation::start_on(store, &FLAGS)
    });
    let deployment = Deployment { site: &site, id };
    let output = deployment.await_end_as("success");
    let is_line = |line: &&str| line.starts_with("line ");
    let lines: Vec<_> = output.lines().filter(is_line).collect();
    let expected: Vec<_> = (1..=4000).map(|number| format!("line {number}")).collect();
    assert_eq!(lines, expected);
}

#[test]
fn where_both_are_killed_the_log_is_whole_as_far_as_it_came_and_the_next_one_runs() {
    let clock = WallClock::new();
    let site = Site::of(clock.start(Store::new(), &FLAGS));
    let mut runner = site.runner(SCRIPT);
    let (deployment, next) = (site.deploy(&app()), site.deploy(&app()));
    let processes = processes_of(&deployment);
    let (seen, ids) = (
        deployment.output(),
        [deployment.id.clone(), next.id.clone()],
    );
    let site = site.restart(
        |server| {
            let store = server.kill();
            runner.kill();
            store
        },
        |store| clock.start(store, &FLAGS),
    );
    await_end_of(processes);
    let [deployment, next] = ids.map(|id| Deployment { site: &site, id });
    let output = deployment.await_loss(&clock);
    assert!(output.starts_with(&seen), "{output}");
    let _runner = site.runner("cat index.html");
    next.await_end_as("success");
}
