//! What is done to the service: sequences of steps, made from a seed.

use std::time::Duration;

use waystation::clock::Timestamp;

use waystation_testing::dice::Dice;

use super::content::Content;
use super::reference::LIFETIME;
use super::trouble::{EIO, EMFILE, ENOSPC};

/// One operation.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create,
    Put(Put),
    Get(usize),
    Head(usize),
    /// From this byte to the end.
    Range(usize, u64),
    Sweep,
    SetClock(Timestamp),
}

/// An upload of an archive to a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put {
    pub(crate) index: usize,
    pub(crate) content: Content,
    pub(crate) how: How,
}

/// How an archive is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// With its length, and its digest.
    Sized,
    /// In pieces, without a length.
    Chunked,
    /// In pieces, and the last does not come.
    Broken,
    /// With the digest of other bytes.
    WrongDigest,
    /// By a client that goes away after so many looks at the answer.
    Dropped(u32),
}

impl How {
    pub(crate) fn declares_size(self) -> bool {
        matches!(self, Self::Sized | Self::WrongDigest)
    }
}

/// An operation before it is known which sources there are and what time it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    Create,
    Put(u64, Content, How),
    Get(u64),
    Head(u64),
    Range(u64, u64),
    Sweep,
    Move(Jump),
}

/// How the clock is moved.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Jump {
    On(Duration),
    Back(Duration),
    /// To so many milliseconds after (or before) the expiry of a source.
    ToExpiry(u64, i64),
}

/// Which calls of the store fail, counted from the beginning of the step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// How many calls pass first.
    pub(crate) after_calls: u32,
    /// How many fail then.
    pub(crate) calls: u32,
    pub(crate) kind: FaultKind,
    /// The number of the error.
    pub(crate) errno: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// They have no effect.
    Before,
    /// They have their effect.
    After,
    /// Writes take half.
    Halfway,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Operations at once.
    Together(Vec<Wish>, Option<Fault>),
    /// The same, and the server is killed after so many calls of the store; then another starts.
    Crash(Vec<Wish>, u32),
    /// The server ends as it should, and another starts; the first try may meet a failing store.
    Restart(Option<Fault>),
    /// Nothing fits into the store any more.
    Fill,
    /// Room is made by others.
    Free,
}

/// The sequence of a seed. It begins with a source, since nothing can be done without one.
pub(crate) fn sequence(seed: u64) -> Vec<Step> {
    let mut dice = Dice::of(seed);
    let length = 3 + dice.below(9);
    let first = Step::Together(vec![Wish::Create], None);
    let rest = (0..length).map(|_| step(&mut dice));
    std::iter::once(first).chain(rest).collect()
}

fn small(dice: &mut Dice, end: usize) -> u32 {
    u32::try_from(dice.below(end)).unwrap()
}

fn step(dice: &mut Dice) -> Step {
    match dice.below(24) {
        0 | 1 => Step::Crash(wishes(dice), small(dice, 30)),
        2 => Step::Restart(None),
        3 => {
            let fault = fault(dice);
            Step::Restart(Some(fault))
        }
        4 => Step::Fill,
        5 => Step::Free,
        6..=11 => {
            let fault = fault(dice);
            Step::Together(wishes(dice), Some(fault))
        }
        _ => Step::Together(wishes(dice), None),
    }
}

fn wishes(dice: &mut Dice) -> Vec<Wish> {
    let count: u32 = *dice.pick(&[1, 1, 1, 2, 2, 3]);
    (0..count).map(|_| wish(dice)).collect()
}

fn wish(dice: &mut Dice) -> Wish {
    let source = dice.roll();
    match dice.below(20) {
        0 => Wish::Create,
        1..=9 => Wish::Put(source, Content::pick(dice.roll()), how(dice)),
        10..=12 => Wish::Get(source),
        13 => Wish::Head(source),
        14 => Wish::Range(source, *dice.pick(&[0, 1, 11, 12, 65_536])),
        15 | 16 => Wish::Sweep,
        _ => Wish::Move(jump(dice)),
    }
}

fn how(dice: &mut Dice) -> How {
    match dice.below(10) {
        0 => How::Broken,
        1 => How::WrongDigest,
        2 => How::Dropped(small(dice, 12)),
        3..=5 => How::Chunked,
        _ => How::Sized,
    }
}

fn jump(dice: &mut Dice) -> Jump {
    let hour = Duration::from_hours(1);
    match dice.below(10) {
        0 => Jump::On(hour),
        1 => Jump::Back(hour),
        2 => Jump::On(LIFETIME),
        3 => Jump::Back(*dice.pick(&[Duration::from_millis(1), Duration::from_secs(61)])),
        4..=6 => {
            let by_ms = *dice.pick(&[-1, 0, 0, 1, 999, 1_000, 20_000, 21_000, -59_000]);
            Jump::ToExpiry(dice.roll(), by_ms)
        }
        _ => Jump::On(Duration::from_millis(*dice.pick(&[1, 400, 1_000, 61_000]))),
    }
}

pub(crate) fn fault(dice: &mut Dice) -> Fault {
    Fault {
        after_calls: small(dice, 3) * small(dice, 9),
        calls: *dice.pick(&[1, 1, 1, 1, 2, 5, 1_000]),
        kind: *dice.pick(&[FaultKind::Before, FaultKind::After, FaultKind::Halfway]),
        errno: *dice.pick(&[EIO, EIO, EMFILE, ENOSPC]),
    }
}
