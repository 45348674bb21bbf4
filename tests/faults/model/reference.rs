//! The reference model: what a service that keeps its promises may answer, and what it then holds.
//!
//! It keeps every [`World`] that the answers so far allow: mostly one; more where an answer was lost,
//! or calls failed. An answer that no world allows is a broken promise. What runs at once is taken in
//! every order.

use std::collections::BTreeSet;
use std::time::Duration;

use waystation::clock::Timestamp;

use super::content::Content;
use super::plan::{How, Op, Put};

/// The largest archive that is taken.
pub(crate) const UPLOAD_LIMIT: u64 = 70_000;
pub(crate) const LIFETIME: Duration = Duration::from_mins(10);

/// One state that the service may be in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) sources: Vec<Source>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    pub(crate) expires_at: Timestamp,
    pub(crate) archive: Option<Content>,
}

impl Source {
    fn is_expired(self, now: Timestamp) -> bool {
        now >= self.expires_at
    }
}

/// What was seen of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A source that expires then.
    Created(Timestamp),
    /// A status without an archive.
    Status(u16),
    /// 200 (206 for a part), with exactly what belongs to this archive.
    Archive(Content),
    /// An archive that broke off, after nothing but its own bytes.
    Broken,
    /// So many archives were deleted, and so many could not be.
    Swept { sources: u64, failures: u64 },
    /// A sweep ended with an error.
    SweepFailed,
    /// Nothing to see.
    Done,
    /// The client, or the server, was gone before an answer came.
    Lost,
}

/// What went on while operations ran.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// How many calls of the store failed.
    pub(crate) failed_calls: u32,
    /// What a client may be answered for that.
    pub(crate) excuses: &'static [u16],
    /// No file can be made or grow.
    pub(crate) is_full: bool,
    /// The clock was moved meanwhile, by another of them.
    pub(crate) is_clock_moved: bool,
    /// What time it was when they began. A sweep may still go by that when the clock has been moved.
    pub(crate) began_at: Timestamp,
    /// How many sweeps there were: with others, how many archives each of them deleted is open.
    pub(crate) sweeps: usize,
    /// A download, or what a killed one left, may keep a source from being deleted.
    pub(crate) is_held: bool,
    /// What the store is.
    pub(crate) terms: Terms,
}

/// What stores promise differently.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// How long after its expiry an archive is deleted.
    pub(crate) sweep_grace: Duration,
    /// May an upload have happened although a call failed and its client got an error? An object
    /// store whose answer is lost cannot be asked what it did.
    pub(crate) is_error_open: bool,
    /// Does it end somewhere?
    pub(crate) can_be_full: bool,
    /// Does a download keep its source from being deleted?
    pub(crate) has_pins: bool,
}

/// All that may be the case.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) worlds: BTreeSet<World>,
}

impl Model {
    pub(crate) fn at(now: Timestamp) -> Self {
        let sources = Vec::new();
        Self {
            worlds: BTreeSet::from([World { now, sources }]),
        }
    }

    /// Takes in what was seen of operations that ran at once. Says what is wrong, if no order of them
    /// explains it.
    pub(crate) fn observe(&mut self, seen: &[(Op, Seen)], weather: Weather) -> Result<(), String> {
        let mut next = BTreeSet::new();
        for order in orders(seen.len()) {
            let mut worlds = self.worlds.clone();
            for (op, seen) in order.iter().map(|index| &seen[*index]) {
                worlds = worlds
                    .iter()
                    .flat_map(|world| world.after(op, seen, weather))
                    .collect();
            }
            next.extend(worlds);
        }
        if next.is_empty() {
            return Err(format!(
                "seen {seen:?}\n  in {weather:?}\n  from {:?}",
                self.worlds
            ));
        }
        self.worlds = next;
        Ok(())
    }
}

/// Every order of the first `count` numbers.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let shorter = orders(last);
    let insert = |order: &Vec<usize>, at| {
        let mut order = order.clone();
        order.insert(at, last);
        order
    };
    let longer = shorter
        .iter()
        .flat_map(|order| (0..count).map(move |at| insert(order, at)));
    longer.collect()
}

impl World {
    /// The worlds in which `op` may leave this one, if `seen` was the answer.
    fn after(&self, op: &Op, seen: &Seen, weather: Weather) -> Vec<Self> {
        match op {
            Op::Create => self.create(seen, weather),
            Op::Put(put) => self.put(put, seen, weather),
            Op::Get(index) | Op::Head(index) => self.fetch(*index, seen, weather, Seen::Archive),
            Op::Range(index, first) => self.fetch(*index, seen, weather, |archive| {
                if *first < archive.size() {
                    Seen::Archive(archive)
                } else {
                    Seen::Status(416)
                }
            }),
            Op::Sweep => self.sweep(seen, weather),
            Op::SetClock(now) => vec![Self {
                now: *now,
                ..self.clone()
            }],
        }
    }

    fn create(&self, seen: &Seen, weather: Weather) -> Vec<Self> {
        if let Seen::Created(expires_at) = *seen {
            let mut next = self.clone();
            next.sources.push(Source {
                expires_at,
                archive: None,
            });
            let is_due = expires_at == self.now.after(LIFETIME);
            return Vec::from_iter(is_due.then_some(next));
        }
        let is_allowed = *seen == Seen::Lost || is_excused(seen, weather);
        Vec::from_iter(is_allowed.then(|| self.clone()))
    }

    fn put(&self, put: &Put, seen: &Seen, weather: Weather) -> Vec<Self> {
        let (fair, is_stored) = self.fair_put(put, weather);
        let same = || self.clone();
        let stored = || self.with(put.index, Some(put.content));
        let mut next = Vec::new();
        if *seen == fair || *seen == Seen::Lost {
            next.push(if is_stored { stored() } else { same() });
        }
        if *seen == Seen::Lost {
            next.push(same());
        }
        // It ran across the expiry: cut off, or durable too late for anyone to fetch, and maybe for a sweep.
        if weather.is_clock_moved && *seen == Seen::Status(410) {
            next.push(same());
            let began = Self {
                now: weather.began_at,
                ..self.clone()
            };
            if is_stored || began.fair_put(put, weather).1 {
                next.push(stored());
            }
        }
        if is_excused(seen, weather) {
            next.push(same());
            // One failed call is made good for; two may be the failure, and that of making it good.
            if is_stored && (weather.failed_calls > 1 || weather.terms.is_error_open) {
                next.push(stored());
            }
        }
        next
    }

    /// What a PUT is answered when nothing fails, and whether it is stored.
    fn fair_put(&self, put: &Put, weather: Weather) -> (Seen, bool) {
        let source = self.sources[put.index];
        let size = put.content.size();
        let is_too_large = size > UPLOAD_LIMIT;
        let refused = |status| (Seen::Status(status), false);
        if source.is_expired(self.now) {
            return refused(410);
        }
        if put.how.declares_size() && is_too_large {
            return refused(413);
        }
        if put.how.declares_size() && size == 0 {
            return refused(400);
        }
        match source.archive {
            Some(first) if put.how.declares_size() && size != first.size() => refused(409),
            None if weather.is_full => refused(507),
            // Half of it comes, which is never too large; or nothing, which is no archive.
            _ if put.how == How::Broken || size == 0 => refused(400),
            _ if is_too_large => refused(413),
            _ if put.how == How::WrongDigest => refused(400),
            Some(first) if first != put.content => refused(409),
            Some(_) => (Seen::Archive(put.content), false),
            None => (Seen::Archive(put.content), true),
        }
    }

    fn fetch(
        &self,
        index: usize,
        seen: &Seen,
        weather: Weather,
        show: impl Fn(Content) -> Seen,
    ) -> Vec<Self> {
        let source = self.sources[index];
        let fair = match source.archive {
            _ if source.is_expired(self.now) => Seen::Status(410),
            None => Seen::Status(404),
            Some(archive) => show(archive),
        };
        // A clock that is set past the expiry is noticed within a second: a sweep may be quicker than the
        // pin of a download.
        let is_cut = weather.is_clock_moved && weather.sweeps > 0 && weather.terms.has_pins;
        let is_broken = *seen == Seen::Broken && (weather.failed_calls > 0 || is_cut);
        if *seen == fair || *seen == Seen::Lost || is_broken || is_excused(seen, weather) {
            vec![self.clone()]
        } else {
            Vec::new()
        }
    }

    fn sweep(&self, seen: &Seen, weather: Weather) -> Vec<Self> {
        let times = BTreeSet::from([self.now, weather.began_at]);
        let swept = times
            .into_iter()
            .map(|now| self.sweep_at(now, seen, weather));
        swept.flatten().collect()
    }

    fn sweep_at(&self, now: Timestamp, seen: &Seen, weather: Weather) -> Vec<Self> {
        let now = now.before(weather.terms.sweep_grace);
        let swept = |source: &Source| source.archive.is_some() && source.is_expired(now);
        let due: Vec<_> = (0..self.sources.len())
            .filter(|index| swept(&self.sources[*index]))
            .collect();
        let all_gone = due
            .iter()
            .fold(self.clone(), |world, index| world.with(*index, None));
        let fair = Seen::Swept {
            sources: due.len() as u64,
            failures: 0,
        };
        if *seen == fair {
            return vec![all_gone];
        }
        let is_clean = matches!(seen, Seen::Swept { failures: 0, .. });
        let may_leave = weather.failed_calls > 0 || weather.is_held && is_clean;
        if !may_leave && *seen != Seen::Lost {
            return Vec::from_iter((weather.sweeps > 1 && is_clean).then_some(all_gone));
        }
        // Any of them may be left.
        due.iter().fold(vec![self.clone()], |worlds, index| {
            let gone = worlds.iter().map(|world| world.with(*index, None));
            gone.chain(worlds.clone()).collect()
        })
    }

    fn with(&self, index: usize, archive: Option<Content>) -> Self {
        let mut next = self.clone();
        next.sources[index].archive = archive;
        next
    }
}

/// Is that an error that failing calls explain?
fn is_excused(seen: &Seen, weather: Weather) -> bool {
    matches!(seen, Seen::Status(status) if weather.excuses.contains(status))
}
