//! Many sequences, on all cores; one that fails is made short and printed.

use std::any::Any;
use std::env;
use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use waystation::clock::FakeClock;

use super::content::Content;
use super::place::Place;
use super::plan::{Fault, FaultKind, How, Jump, Step, Wish};
use super::run::{START, Tally};
use super::trouble::{EIO, EMFILE, ENOSPC};

/// How often a shorter sequence may pass before it is taken to be sound: threads take turns in other
/// ways each time.
const TRIES: u32 = 5;
/// How often a seed that was given is repeated.
const REPEATS: u32 = 50;

/// Sequences of steps of some kind, and what does them.
pub(crate) struct Soak<S> {
    pub(crate) name: &'static str,
    /// How many are run, unless a time is given.
    pub(crate) sequences: u64,
    /// Makes the place for the sequence of a seed.
    pub(crate) new_place: fn(u64, &FakeClock) -> Place,
    /// The steps of a seed.
    pub(crate) sequence: fn(u64) -> Vec<S>,
    pub(crate) run: fn(&Runtime, Place, FakeClock, &[S]) -> Result<Tally, String>,
}

impl<S: Clone + Debug> Soak<S> {
    /// Runs sequences. Panics with the first that fails.
    pub(crate) fn run(&self) {
        if let Some(seed) = number_of("WAYSTATION_MODEL_SEED") {
            return self.repeat(seed);
        }
        let limit = number_of("WAYSTATION_SOAK_SECONDS").map(Duration::from_secs);
        let started_at = Instant::now();
        let first_seed: u64 = rand::random();
        let next = AtomicU64::new(0);
        let has_failed = AtomicBool::new(false);
        let sum = Mutex::new((0, Tally::default()));
        let work = || {
            let runtime = new_runtime();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let is_over = match limit {
                    Some(limit) => started_at.elapsed() >= limit,
                    None => number >= self.sequences,
                };
                if is_over || has_failed.load(Ordering::Relaxed) {
                    return;
                }
                let seed = first_seed.wrapping_add(number);
                match self.try_once(&runtime, seed, &(self.sequence)(seed)) {
                    Ok(tally) => {
                        let (count, sum) = &mut *sum.lock().unwrap();
                        *count += 1;
                        sum.operations += tally.operations;
                        sum.failed_calls += tally.failed_calls;
                        sum.crashes += tally.crashes;
                    }
                    Err(problem) => {
                        has_failed.store(true, Ordering::Relaxed);
                        self.explain(&runtime, seed, problem);
                    }
                }
            }
        };
        let threads = thread::available_parallelism().map_or(2, NonZeroUsize::get);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        let (count, sum) = *sum.lock().unwrap();
        println!(
            "soak: {count} sequences on {}: {} operations, {} failed calls, {} crashes",
            self.name, sum.operations, sum.failed_calls, sum.crashes,
        );
        println!(
            "the first of them, in {:.1?}, on {}: WAYSTATION_MODEL_SEED={first_seed}",
            started_at.elapsed(),
            self.name
        );
    }

    fn try_once(&self, runtime: &Runtime, seed: u64, steps: &[S]) -> Result<Tally, String> {
        let clock = FakeClock::at(START);
        let place = (self.new_place)(seed, &clock);
        let run = || (self.run)(runtime, place, clock, steps);
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(text_of(&*panic)))
    }

    fn repeat(&self, seed: u64) {
        let runtime = new_runtime();
        for _ in 0..REPEATS {
            if let Err(problem) = self.try_once(&runtime, seed, &(self.sequence)(seed)) {
                self.explain(&runtime, seed, problem);
            }
        }
    }

    /// Takes away what is not needed for the failure, and shows what is left.
    fn explain(&self, runtime: &Runtime, seed: u64, problem: String) -> ! {
        let (mut steps, mut problem) = ((self.sequence)(seed), problem);
        let mut at = steps.len();
        while at > 1 {
            at -= 1;
            let mut shorter = steps.clone();
            shorter.remove(at);
            let failure = (0..TRIES).find_map(|_| self.try_once(runtime, seed, &shorter).err());
            if let Some(failure) = failure {
                (steps, problem) = (shorter, failure);
            }
        }
        let steps: Vec<_> = steps.iter().map(|step| format!("  {step:?}\n")).collect();
        panic!(
            "WAYSTATION_MODEL_SEED={seed} on {}:\n{}{problem}",
            self.name,
            steps.concat()
        );
    }
}

impl Soak<Step> {
    /// The life of an archive, once for each call of each step: with it failing, in each way, and with
    /// the server being killed before it.
    pub(crate) fn try_each_call(&self) {
        let runtime = new_runtime();
        let mut count = 0;
        for at_step in 0..whole_life().len() {
            for calls in 0..MOST_CALLS {
                for trouble in troubles(calls) {
                    let steps = whole_life_with(at_step, calls, trouble);
                    let done = self.try_once(&runtime, 1, &steps);
                    assert!(done.is_ok(), "{steps:?}\n{}", done.unwrap_err());
                    count += 1;
                }
            }
        }
        println!("soak: {count} lives of an archive on {}", self.name);
    }
}

/// More calls than any of those steps makes.
const MOST_CALLS: u32 = 24;

/// What the steps of an archive's life do, one after the other.
fn whole_life() -> [Wish; 7] {
    let archive = Content::pick(8);
    [
        Wish::Create,
        Wish::Put(0, archive, How::Sized),
        Wish::Get(0),
        Wish::Put(0, archive, How::Chunked),
        Wish::Get(0),
        Wish::Move(Jump::ToExpiry(0, 21_000)),
        Wish::Sweep,
    ]
}

/// All that can become of a call: each failure, and none if the server is killed before it.
fn troubles(after_calls: u32) -> impl Iterator<Item = Option<Fault>> {
    let kinds = [FaultKind::Before, FaultKind::After, FaultKind::Halfway];
    let faults = kinds.into_iter().flat_map(move |kind| {
        [EIO, EMFILE, ENOSPC].map(|errno| Fault {
            after_calls,
            calls: 1,
            kind,
            errno,
        })
    });
    faults.map(Some).chain([None])
}

fn whole_life_with(at_step: usize, calls: u32, fault: Option<Fault>) -> Vec<Step> {
    let steps = whole_life().into_iter().enumerate();
    let steps = steps.map(|(number, wish)| match fault {
        _ if number != at_step => Step::Together(vec![wish], None),
        None => Step::Crash(vec![wish], calls),
        fault => Step::Together(vec![wish], fault),
    });
    steps.collect()
}

fn new_runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a panic: {}", text.unwrap_or("of no text"))
}

fn number_of(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number, not {text}")),
    )
}
