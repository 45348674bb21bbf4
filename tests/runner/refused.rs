//! What a runner does when its server does not want what it does any more, or wants it in another way.

use serde_json::json;
use waystation_testing::certificate::Certificate;
use waystation_testing::program::Program;
use waystation_testing::runners::{app, is_running, runner_of};
use waystation_testing::store_folder::Store;
use waystation_testing::tarball::Tarball;
use waystation_testing::wall_clock::WallClock;
use waystation_testing::{Waystation, eventually};

use crate::site::{Deployment, FLAGS, Site};

/// Goes to the state that its archive names, says so, and stays there.
const STAYS: &str = r#"state=$(cat how)
    report() { curl -sS -o /dev/null -X PUT -H 'Content-Type: application/json' -d "{\"status\":\"$1\"}" "$WAYSTATION_REPORT_URL/status"; }
    test $state = building || report $state
    echo "now $state"; exec sleep 1000"#;

impl Site {
    /// Deploys what [`STAYS`] there, and waits until it is.
    fn deploy_to(&self, state: &str) -> Deployment<'_> {
        let archive = Tarball::new().file("app/how", state.as_bytes()).end();
        let deployment = self.deploy(&archive);
        deployment.await_output(&format!("now {state}\n"));
        assert_eq!(deployment.status(), state);
        deployment
    }
}

#[test]
fn a_deployment_can_be_cancelled_in_every_state() {
    let site = Site::start();
    let waiting = site.deploy(&app());
    waiting.cancel();
    let last = "waystation: it was cancelled before a runner claimed it\n";
    assert_eq!(waiting.await_end_as("aborted"), last);

    let _runner = site.runner(STAYS);
    for state in ["building", "pushing", "starting"] {
        let deployment = site.deploy_to(state);
        deployment.cancel();
        let output = deployment.await_end_as("aborted");
        assert!(output.ends_with("\nwaystation: cancelled\n"), "{output}");
        // Nothing happens at its end.
        deployment.cancel();
        assert_eq!(deployment.await_end_as("aborted"), output);
    }
}

#[test]
fn what_takes_longer_than_it_may_is_stopped_and_ends_by_the_state_it_is_in() {
    let site = Site::with(&["--deployment-timeout", "2s"]);
    let _runner = site.runner(STAYS);
    for (state, end) in [("building", "build-error"), ("starting", "timeout-error")] {
        let archive = Tarball::new().file("app/how", state.as_bytes()).end();
        let last = "waystation: it took longer than 2s, and was stopped\n";
        site.deploy(&archive).assert_ends(end, last);
    }
}

#[test]
fn a_runner_that_is_told_that_it_has_lost_its_deployment_stops_it_and_takes_the_next() {
    let clock = WallClock::new();
    let site = Site::of(clock.start(Store::new(), &FLAGS));
    let runner = site.runner("echo begun $$; if test -e index.html; then exec sleep 1000; fi");
    let deployment = site.deploy(&app());
    deployment.await_output("begun");
    let next = site.deploy(&Tarball::new().file("app/other", b"").end());
    site.relay.move_to(&[]);
    runner.await_line("trying again");
    let output = deployment.await_loss(&clock);
    let id = output
        .split_whitespace()
        .skip_while(|word| *word != "begun")
        .nth(1);
    let id = id.unwrap().parse().unwrap();
    assert!(is_running(id));
    site.relay.move_to(&[site.server.address]);
    eventually("the end of the command", || !is_running(id));
    let (status, said) = next.await_end();
    assert_eq!(status, "success", "{said}");
    assert_eq!(deployment.await_end(), ("aborted".to_owned(), output));
}

/// The first 10 KiB, a line about what is missing, and the last 64 KiB.
fn assert_is_cut((status, output): &(String, String)) {
    assert_eq!(status, "success");
    assert!(output.contains("\n1\n2\n3\n"), "{output}");
    assert!(
        output.contains("\nwaystation: the log is longer than 10.0 KiB; "),
        "{output}"
    );
    assert!(output.ends_with("\n99999\n100000\n"), "{output}");
    let most = 10 * 1024 + 68 * 1024;
    assert!(
        output.len() > 74 * 1024 && output.len() <= most,
        "{}",
        output.len()
    );
}

#[test]
fn a_log_that_is_longer_than_the_server_takes_has_its_end() {
    let site = Site::with(&["--log-limit", "10KiB"]);
    let _runner = site.runner("seq 100000");
    assert_is_cut(&site.deploy(&app()).await_end());
}

/// What was said with the claim counts.
#[test]
fn a_log_has_its_end_where_a_server_comes_that_takes_less_than_the_one_before_had_said() {
    let site = Site::with(&["--log-limit", "10KiB"]);
    let gate = waystation_testing::runners::Gate::new(site.room.path());
    let _runner = site.runner(&format!("echo begun; {}; seq 100000", gate.wait()));
    let deployment = site.deploy(&app());
    deployment.await_output("begun");
    let id = deployment.id.clone();
    let less = [&FLAGS[..], &["--log-limit", "1KiB"]].concat();
    let site = site.restart(Waystation::stop, |store| Waystation::start_on(store, &less));
    gate.open();
    let deployment = Deployment { site: &site, id };
    assert_is_cut(&deployment.await_end());
}

#[test]
fn a_runner_trusts_the_authority_that_it_is_given_and_no_other_of_that_kind() {
    let site = Site::start();
    let deployment = site.deploy(&app());
    let id = deployment.id.clone();
    let (token, work) = (site.token_file(), site.work_dir());
    let site = site.restart(Waystation::stop, |store| {
        let certificate = Certificate::make(&store);
        let server = Waystation::start_on(store, &[&FLAGS[..], &certificate.flags()].concat());
        let url = format!("https://localhost:{}", server.address.port());
        let runner = |flags: &[&str]| {
            let mut command = runner_of(&url, &token, &work);
            command.args(flags).args(["--", "cat", "index.html"]);
            Program::start(command)
        };
        let distrusting = runner(&[]);
        distrusting.await_line("cannot ask for work; trying again");
        drop(distrusting);
        let trusting = runner(&["--ca-file", &certificate.cert_file]);
        trusting.await_line("a deployment ended");
        drop(trusting);
        Waystation::start_on(server.stop(), &FLAGS)
    });
    Deployment { site: &site, id }.assert_ends("success", "hello\n");
    let shown = site.call("GET", "/v1/apps/my-shop", &json!({}), 200);
    assert_eq!(shown["app"]["status"], "running");
}
