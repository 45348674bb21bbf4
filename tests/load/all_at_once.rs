//! The whole attack, and the honest client in the middle of it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::attack::{Attack, CONNECTIONS_PER_ADDRESS, SLOW_READERS, SLOW_UPLOADS};
use crate::honest::Honest;
use crate::victim::Victim;
use waystation_testing::eventually_within;

/// What can be told apart on a machine of two processors that others, and the attackers, use too: a few
/// turns of the scheduler more or less. It stands in for times that are shorter.
const FLOOR: Duration = Duration::from_millis(8);
/// How much longer the client may need than one of a server that the attackers leave alone, on the same
/// processors at the same time. It is for the middle of all measurements, which is well above the best of them.
const LIMIT_WHILE_ATTACKED: u32 = 3;
/// How much longer when all is over.
const LIMIT_AFTERWARDS: u32 = 2;
/// What the attack may cost the victim, in processor time, for each second that it costs the attackers.
const COST_LIMIT: f64 = 3.0;
/// Hand-offs in one measurement: the slowest two are beyond the p99.
const HAND_OFFS: usize = 200;
/// The middle one of these counts: an attack that harms does so in most of them, a neighbour on the machine
/// now and then.
const MEASUREMENTS: usize = 9;
/// Most of it is what a thousand readers within TLS have not taken yet.
const MEMORY_LIMIT_KIB: u64 = 320 * 1024;
/// How many tokens are guessed a second, about.
const GUESSES_PER_SECOND: u64 = 20_000;
/// And how many at least; as many again, and more, are made alone, or in a soak.
const SOME_GUESSES: u64 = 200_000;
const SOAK_GUESSES: u64 = 1_000_000;
const IN_FLIGHT: &str = "waystation_transfers_in_flight";
const PATIENCE: Duration = Duration::from_mins(1);

/// Measurements of times and of memory, one after the other.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long the attack lasts, where more than a short one is asked for.
fn soak() -> Option<Duration> {
    let seconds = std::env::var("WAYSTATION_SOAK_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().unwrap()))
}

#[test]
fn an_honest_client_does_not_notice_an_attack_of_all_kinds_at_once() {
    let _alone = alone();
    let victim = start_victim();
    let honest = Honest::new(&victim.target, victim.api_token());
    honest.hand_offs(20);
    let before = middle(|| measure("alone", &honest));
    // The attackers take the processors from everybody on this machine: how much, one that they leave alone shows.
    let other = start_victim();
    let other_honest = Honest::new(&other.target, other.api_token());
    other_honest.hand_offs(20);

    let attack = Attack::start(&victim.target, victim.api_token(), GUESSES_PER_SECOND);
    let tally = attack.tally.clone();
    eventually_within(PATIENCE, "all slow ones are under way", || {
        victim.metric(IN_FLIGHT) >= Some(f64::from(SLOW_UPLOADS + SLOW_READERS))
    });
    let begun_at = Instant::now();
    let cpu_times = || {
        (
            cpu_ticks(victim.program.id()),
            cpu_ticks(std::process::id()),
        )
    };
    let (victim_before, attackers_before) = cpu_times();
    let (mut attacked, mut left_alone) = (Vec::new(), Vec::new());
    let lasts = soak().unwrap_or_default();
    let guesses = soak().map_or(SOME_GUESSES, |_| SOAK_GUESSES);
    while attacked.len() < MEASUREMENTS
        || begun_at.elapsed() < lasts
        || tally.of("guesses") < guesses
        || !have_all_happened(&tally)
    {
        attacked.push(measure("attacked", &honest));
        left_alone.push(measure("left alone", &other_honest));
        assert!(
            begun_at.elapsed() < lasts + 4 * PATIENCE,
            "{}",
            tally.text()
        );
    }
    let (victim_after, attackers_after) = cpu_times();
    let cost = (victim_after - victim_before) / (attackers_after - attackers_before);
    println!("the attack costs the victim {cost:.2} times what it costs the attackers");
    let in_flight = victim.metric(IN_FLIGHT).unwrap();
    let peak_kib = victim.program.peak_memory_kib();
    println!(
        "{}{in_flight:>9} transfers in flight at the end",
        tally.text()
    );
    println!("peak memory {peak_kib} KiB");
    drop(attack);
    eventually_within(PATIENCE, "the attackers are forgotten", || {
        victim.metric(IN_FLIGHT) == Some(0.0)
    });
    let not_attacked = middle(|| measure("not attacked", &other_honest));
    let again = middle(|| measure("alone again", &honest));
    let limit = LIMIT_WHILE_ATTACKED * middle_of(left_alone).max(before).max(FLOOR);
    let attacked = middle_of(attacked);
    assert!(attacked <= limit, "p99 {attacked:?}, and not {limit:?}");
    let limit = LIMIT_AFTERWARDS * before.max(not_attacked).max(FLOOR);
    assert!(again <= limit, "still {again:?} when all is over");
    assert!(cost <= COST_LIMIT, "the attack costs {cost} times itself");
    assert!(peak_kib <= MEMORY_LIMIT_KIB, "{peak_kib} KiB");
    for never in [
        "slow uploads that ended",
        "slow readers that ended",
        "guesses that were not refused",
        "guesses cut off",
        "smugglers that were not refused",
        "bodies that stopped: 200",
        "silent connections that were answered",
    ] {
        assert_eq!(tally.of(never), 0, "{never}");
    }
    assert!(victim.metric("waystation_connections_refused_total") > Some(0.0));
    recovers(victim, &honest);
}

fn start_victim() -> Victim {
    let per_address = CONNECTIONS_PER_ADDRESS.to_string();
    Victim::start(&[
        "--max-connections",
        "6000",
        "--max-connections-per-address",
        &per_address,
        "--max-transfers",
        "4096",
        "--header-timeout",
        "5s",
        "--idle-timeout",
        "12s",
        "--lifetime",
        "1d",
    ])
}

/// The middle one of several measurements.
fn middle(measure: impl FnMut() -> Duration) -> Duration {
    middle_of(std::iter::repeat_with(measure).take(MEASUREMENTS).collect())
}

fn middle_of(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The processor time that a process has taken so far, in ticks of the system's clock.
fn cpu_ticks(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name of the program, in brackets, may hold blanks. Times are fields 14 and 15 of proc_pid_stat(5).
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let times = fields.split(' ').skip(11).take(2);
    times.map(|time| time.parse::<f64>().unwrap()).sum()
}

/// The 99th percentile of one measurement.
fn measure(when: &str, honest: &Honest) -> Duration {
    let times = honest.hand_offs(HAND_OFFS);
    println!("{when}: median {:?}, p99 {:?}", times.median(), times.p99());
    times.p99()
}

/// Has the server defended itself in each of the ways that this is about?
fn have_all_happened(tally: &crate::attack::Tally) -> bool {
    [
        "silent connections that were closed",
        "heads drop by drop: 408",
        "bodies that stopped: 408",
        "resets in a body",
        "connections too many that were closed at once",
        "smugglers that were refused",
    ]
    .iter()
    .all(|what| tally.of(what) > 0)
}

/// When the attackers are gone, nothing of them is left, and the server stops when it gets the signal.
fn recovers(mut victim: Victim, honest: &Honest) {
    eventually_within(PATIENCE, "the attackers are forgotten", || {
        victim.metric(IN_FLIGHT) == Some(0.0) && victim.store.staged_bytes().is_none()
    });
    honest.hand_offs(1);
    let errors = victim.program.stderr();
    let errors = errors.lines().filter(|line| line.contains("ERROR"));
    assert_eq!(errors.collect::<Vec<_>>(), [""; 0]);
    victim.program.signal(Signal::TERM);
    assert_eq!(victim.server.program.await_end(), Some(0));
    let audit = victim.store.run(&["audit"]);
    assert_eq!(audit.code, Some(0), "{audit:?}");
}
