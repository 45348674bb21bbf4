//! What is done: steps of moves, made from a seed.

use std::time::Duration;

use waystation_testing::dice::Dice;

use crate::model::plan::{Fault, fault};

/// How many applications there are, and how many runners.
pub(crate) const APPS: usize = 2;
pub(crate) const RUNNERS: usize = 3;

const ADVANCES: [&str; 2] = ["pushing", "starting"];
const ENDS: [&str; 4] = ["success", "success", "build-error", "aborted"];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Move {
    /// A new archive is deployed.
    Deploy {
        app: usize,
    },
    /// One that was deployed before, or one that expired.
    DeployAgain {
        app: usize,
        source: u64,
    },
    Cancel {
        deployment: u64,
    },
    DeleteApp {
        app: usize,
    },
    /// A runner asks for work, and forgets what it had.
    Claim {
        runner: usize,
    },
    /// A runner reports of what it has.
    Report {
        runner: usize,
        report: Report,
    },
    /// Somebody reports who once had something.
    LateReport {
        attempt: u64,
        report: Report,
    },
    Upkeep,
    Sweep,
    /// Time goes by in which the server looks after its deployments, and these runners are there.
    Pass {
        time: Duration,
        are_heard: [bool; RUNNERS],
    },
    /// The same without anybody looking.
    Jump {
        time: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Heartbeat,
    /// So many bytes more.
    Log(usize),
    /// The same piece from two connections at once.
    LogTwice(usize),
    /// Other bytes in the place of those that are there.
    LogOver,
    /// Bytes behind the end.
    LogBeyond,
    Status(&'static str),
    Fetch,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Moves at once, and calls of the store that fail.
    Together(Vec<Move>, Option<Fault>),
    /// The same, and all servers are killed after so many calls.
    Crash(Vec<Move>, u32),
    Restart,
}

/// The sequence of a seed. It begins with something to deploy.
pub(crate) fn sequence(seed: u64) -> Vec<Step> {
    let mut dice = Dice::of(seed);
    let length = 6 + dice.below(16);
    let first = Step::Together(vec![Move::Deploy { app: 0 }], None);
    let rest = (0..length).map(|_| step(&mut dice));
    std::iter::once(first).chain(rest).collect()
}

fn step(dice: &mut Dice) -> Step {
    match dice.below(20) {
        0 | 1 => {
            let calls = u32::try_from(dice.below(40)).unwrap();
            Step::Crash(moves(dice), calls)
        }
        2 => Step::Restart,
        3..=6 => {
            let fault = fault(dice);
            Step::Together(moves(dice), Some(fault))
        }
        _ => Step::Together(moves(dice), None),
    }
}

fn moves(dice: &mut Dice) -> Vec<Move> {
    let count: usize = *dice.pick(&[1, 1, 2, 2, 3, 4]);
    (0..count).map(|_| next_move(dice)).collect()
}

fn next_move(dice: &mut Dice) -> Move {
    let app = dice.below(APPS);
    let runner = dice.below(RUNNERS);
    match dice.below(40) {
        0..=5 => Move::Deploy { app },
        6 => Move::DeployAgain {
            app,
            source: dice.roll(),
        },
        7 | 8 => Move::Cancel {
            deployment: dice.roll(),
        },
        9 => {
            // Seldom: nothing more happens in it.
            if dice.chance(30) {
                Move::DeleteApp { app }
            } else {
                Move::Upkeep
            }
        }
        10..=16 => Move::Claim { runner },
        17..=28 => Move::Report {
            runner,
            report: report(dice),
        },
        29..=31 => Move::LateReport {
            attempt: dice.roll(),
            report: report(dice),
        },
        32 | 33 => Move::Upkeep,
        34 => Move::Sweep,
        35..=37 => Move::Pass {
            time: Duration::from_secs(*dice.pick(&[10, 20, 60, 80, 90, 660])),
            are_heard: [(); RUNNERS].map(|()| dice.chance(60)),
        },
        _ => Move::Jump {
            time: Duration::from_secs(*dice.pick(&[1, 16, 40, 80, 660, 1_900, 3_700])),
        },
    }
}

fn report(dice: &mut Dice) -> Report {
    match dice.below(16) {
        0 => Report::Heartbeat,
        1..=5 => Report::Log(1 + dice.below(300)),
        6 => Report::LogTwice(1 + dice.below(300)),
        7 => Report::LogOver,
        8 => Report::LogBeyond,
        9 => Report::Status("building"),
        10 => Report::Status(ADVANCES[dice.below(ADVANCES.len())]),
        11..=13 => Report::Status(ENDS[dice.below(ENDS.len())]),
        _ => Report::Fetch,
    }
}
