//! The whole attack, and the honest client in the middle of it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::attack::{Attack, SLOW_READERS, SLOW_UPLOADS};
use crate::harness::eventually_within;
use crate::honest::Honest;
use crate::victim::Victim;

/// What can be told apart on a machine of two processors that others, and the attackers, use too: a few
/// turns of the scheduler more or less. The limit is twice this, or twice what the client needs alone,
/// whichever is more.
const FLOOR: Duration = Duration::from_millis(10);
/// Hand-offs in one measurement: the slowest two are beyond the p99.
const HAND_OFFS: usize = 200;
/// An attack that harms does so in each of them; a neighbour on the machine, now and then.
const MEASUREMENTS: usize = 12;
/// Most of it is what a thousand readers within TLS have not taken yet.
const MEMORY_LIMIT_KIB: u64 = 320 * 1024;
/// How many tokens are guessed a second, about.
const GUESSES_PER_SECOND: u64 = 1_000;
const SOME_GUESSES: u64 = 10_000;
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
    let victim = Victim::start(&[
        "--max-connections",
        "6000",
        "--max-connections-per-address",
        "400",
        "--max-transfers",
        "4096",
        "--header-timeout",
        "5s",
        "--idle-timeout",
        "12s",
        "--lifetime",
        "1d",
    ]);
    let honest = Honest::new(&victim.target, &victim.api_token);
    honest.hand_offs(20);
    let before = honest.hand_offs(HAND_OFFS);
    println!(
        "alone: median {:?}, p99 {:?}",
        before.median(),
        before.p99()
    );
    let limit = 2 * before.p99().max(FLOOR);

    let attack = Attack::start(&victim.target, &victim.api_token, GUESSES_PER_SECOND);
    let tally = attack.tally.clone();
    eventually_within(PATIENCE, "all slow ones are under way", || {
        victim.figure("waystation_transfers_in_flight") >= f64::from(SLOW_UPLOADS + SLOW_READERS)
    });
    let begun_at = Instant::now();
    let mut best = Duration::MAX;
    let mut measurements = 0;
    let lasts = soak().unwrap_or_default();
    while measurements < MEASUREMENTS && (best > limit || soak().is_some())
        || begun_at.elapsed() < lasts
        || tally.of("guesses") < SOME_GUESSES
        || !have_all_happened(&tally)
    {
        let under = honest.hand_offs(HAND_OFFS);
        best = best.min(under.p99());
        measurements += 1;
        println!(
            "attacked: median {:?}, p99 {:?}",
            under.median(),
            under.p99()
        );
        assert!(
            begun_at.elapsed() < lasts + 2 * PATIENCE,
            "{}",
            tally.text()
        );
    }
    let in_flight = victim.figure("waystation_transfers_in_flight");
    let peak_kib = victim.program.peak_memory_kib();
    println!(
        "{}{in_flight:>9} transfers in flight at the end",
        tally.text()
    );
    println!("peak memory {peak_kib} KiB");
    drop(attack);
    eventually_within(PATIENCE, "the attackers are forgotten", || {
        victim.figure("waystation_transfers_in_flight") == 0.0
    });
    // Others may have come to the machine since the first measurement.
    let after = honest.hand_offs(HAND_OFFS);
    println!(
        "alone again: median {:?}, p99 {:?}",
        after.median(),
        after.p99()
    );
    let limit = limit.max(2 * after.p99());

    assert!(
        best <= limit,
        "p99 {best:?}, and at most {limit:?} is allowed"
    );
    assert!(peak_kib <= MEMORY_LIMIT_KIB, "{peak_kib} KiB");
    for never in [
        "slow uploads that ended",
        "slow readers that ended",
        "guesses that were not refused",
        "guesses cut off",
        "smugglers that were not refused",
        "bodies that stopped: 200",
    ] {
        assert_eq!(tally.of(never), 0, "{never}");
    }
    assert!(victim.figure("waystation_connections_refused_total") > 0.0);
    recovers(victim, &honest);
}

/// Has the server defended itself in each of the ways that this is about?
fn have_all_happened(tally: &crate::attack::Tally) -> bool {
    [
        "silent connections that were closed",
        "silent connections within TLS that were closed",
        "heads drop by drop: 408",
        "bodies that stopped: 408",
        "resets in a body",
        "connections too many that were closed at once",
        "smugglers that were refused",
        "floods that were cut off: RapidReset",
        "floods that were cut off: Continuation",
        "stalled readers of HTTP/2 that were given up",
    ]
    .iter()
    .all(|what| tally.of(what) > 0)
}

/// When the attackers are gone, nothing of them is left, and the server ends when it is told to.
fn recovers(mut victim: Victim, honest: &Honest) {
    eventually_within(PATIENCE, "the attackers are forgotten", || {
        victim.figure("waystation_transfers_in_flight") == 0.0
            && victim.store.staged_bytes().is_none()
    });
    honest.hand_offs(1);
    let errors = victim.program.stderr();
    let errors = errors.lines().filter(|line| line.contains("ERROR"));
    assert_eq!(errors.collect::<Vec<_>>(), [""; 0]);
    victim.program.signal(Signal::TERM);
    assert_eq!(victim.program.await_end(), Some(0));
    let audit = victim.store.run(&["audit"]);
    assert_eq!(audit.code, Some(0), "{audit:?}");
}
