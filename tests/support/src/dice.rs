//! Chance that can be repeated: everything random in a test comes from one seed, which is printed.

use std::time::{Duration, Instant};

/// Random numbers from a seed (xorshift).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The seed of a test: the one given in `WAYSTATION_SEED`, or a new one. Printed, so that a test
    /// that failed can be repeated.
    pub fn new(what: &str) -> Self {
        let given = std::env::var("WAYSTATION_SEED").ok();
        let seed = given.map_or_else(
            || u64::from(rand::random::<u32>()),
            |seed| seed.parse().expect("WAYSTATION_SEED is a number"),
        );
        println!("{what}: WAYSTATION_SEED={seed}");
        Self::of(seed)
    }

    pub fn of(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            dice.roll();
        }
        dice
    }

    /// Others for a part of the test, so that it does not depend on how often another part throws.
    pub fn split(&mut self) -> Self {
        Self::of(self.roll())
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// One of `0..end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(end).unwrap()).unwrap()
    }

    /// True in `percent` of a hundred throws.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// How often a test does what it does: a few times in `./test`, and in `./soak` for as long as
/// `WAYSTATION_SOAK_SECONDS` says.
pub struct Rounds {
    few: usize,
    until: Option<Instant>,
    done: usize,
}

impl Rounds {
    pub fn new(few: usize) -> Self {
        let seconds = std::env::var("WAYSTATION_SOAK_SECONDS").ok();
        let seconds = seconds.map(|text| text.parse().expect("a number of seconds"));
        Self {
            few,
            until: seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
            done: 0,
        }
    }
}

/// Counts the rounds, from 0.
impl Iterator for Rounds {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let goes_on = match self.until {
            Some(until) => Instant::now() < until,
            None => self.done < self.few,
        };
        goes_on.then(|| {
            self.done += 1;
            self.done - 1
        })
    }
}
