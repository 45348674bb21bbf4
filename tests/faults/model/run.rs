//! One sequence: what is done to a service, and what the model says of what was seen.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::yield_now;
use waystation::clock::{FakeClock, Timestamp};
use waystation::service::api_tokens::ApiTokens;
use waystation::service::users::UserId;
use waystation::source::SourceId;
use waystation::store::StoreError;

use super::place::Place;
use super::plan::{Fault, How, Jump, Op, Put, Step, Wish};
use super::reference::{Model, Seen, Weather};
use super::service::{Links, Service};
use super::trouble::{Failed, Trouble};

/// Within a second, so that not everything expires when one begins.
pub(crate) const START: Timestamp = Timestamp::from_ms(1_800_000_000_400);
/// How long anything may take that is only waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was done, for the sum at the end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) operations: u64,
    pub(crate) failed_calls: u64,
    pub(crate) crashes: u64,
}

struct Run {
    place: Place,
    clock: FakeClock,
    api_token: String,
    /// There is one except between two servers.
    service: Option<Service>,
    trouble: Trouble,
    model: Model,
    sources: Vec<Links>,
    /// Uploads whose clients went away: they may still end by themselves.
    late: Vec<(Op, Seen)>,
    /// How many files are in the stage because they could not be deleted.
    leftovers: u64,
    is_full: bool,
    tally: Tally,
}

/// Does the steps one after the other, and then looks whether everything is as it should be.
pub(crate) async fn run(place: Place, clock: FakeClock, steps: &[Step]) -> Result<Tally, String> {
    let mut run = Run::start(place, clock).await?;
    for (number, step) in steps.iter().enumerate() {
        run.step(step)
            .await
            .map_err(|problem| format!("step {number}, {step:?}:\n  {problem}"))?;
    }
    run.audit()
        .await
        .map_err(|problem| format!("the audit at the end:\n  {problem}"))?;
    Ok(run.tally)
}

impl Run {
    async fn start(place: Place, clock: FakeClock) -> Result<Self, String> {
        let mut run = Self {
            place,
            model: Model::at(START),
            clock,
            api_token: String::new(),
            service: None,
            trouble: Trouble::default(),
            sources: Vec::new(),
            late: Vec::new(),
            leftovers: 0,
            is_full: false,
            tally: Tally::default(),
        };
        run.open(None).await?;
        let tokens = ApiTokens::new(run.service().store.clone());
        let (_, token) = tokens
            .create("a test", UserId::of("ada"), START)
            .await
            .unwrap();
        token.reveal().clone_into(&mut run.api_token);
        Ok(run)
    }

    fn service(&self) -> &Service {
        self.service.as_ref().expect("a server runs")
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Together(wishes, fault) => self.together(wishes, *fault).await,
            Step::Crash(wishes, calls) => self.crash(wishes, *calls).await,
            Step::Restart(fault) => {
                self.stop().await?;
                self.open(*fault).await
            }
            Step::Fill => {
                self.is_full = true;
                Ok(())
            }
            Step::Free => {
                self.is_full = false;
                Ok(())
            }
        }
    }

    async fn together(&mut self, wishes: &[Wish], fault: Option<Fault>) -> Result<(), String> {
        let ops = self.resolve(wishes, fault.is_some());
        let is_held = self.place.held_until().await.is_some();
        self.trouble.begin(fault, None, self.is_full());
        let seen = self.perform(ops).await;
        self.settle().await?;
        let failed = self.trouble.end();
        if failed.calls > 0 {
            self.leftovers = self.place.staged().await;
        }
        self.observe(seen, failed, is_held)
    }

    async fn crash(&mut self, wishes: &[Wish], calls: u32) -> Result<(), String> {
        let ops = self.resolve(wishes, false);
        let is_held = self.place.held_until().await.is_some();
        self.trouble.begin(None, Some(calls), self.is_full());
        let seen = self.perform(ops).await;
        self.trouble.kill();
        self.observe(seen, Failed::default(), is_held)?;
        self.tally.crashes += 1;
        self.end().await?;
        self.open(None).await
    }

    /// Does all of them at once. What is answered by a server that is dead, nobody hears.
    async fn perform(&mut self, ops: Vec<Op>) -> Vec<(Op, Seen)> {
        self.tally.operations += ops.len() as u64;
        let (service, sources, token) = (self.service(), &self.sources, &self.api_token);
        let performances = ops.into_iter().map(async |op| {
            let (seen, links) = service.perform(&op, sources, token).await;
            if self.trouble.is_dead() {
                return (op, Seen::Lost, None);
            }
            (op, seen, links)
        });
        let done = join_all(performances).await;
        let mut seen = Vec::new();
        for (op, answer, links) in done {
            self.sources.extend(links);
            seen.push((op, answer));
        }
        seen
    }

    fn observe(
        &mut self,
        mut seen: Vec<(Op, Seen)>,
        failed: Failed,
        is_held: bool,
    ) -> Result<(), String> {
        self.tally.failed_calls += u64::from(failed.calls);
        let is_dropped = |(op, seen): &&(Op, Seen)| {
            let dropped = matches!(op, Op::Put(put) if matches!(put.how, How::Dropped(_)));
            dropped && *seen == Seen::Lost
        };
        let dropped: Vec<_> = seen.iter().filter(is_dropped).cloned().collect();
        seen.append(&mut self.late);
        self.late = dropped;
        let sweeps = seen
            .iter()
            .filter(|(op, _)| matches!(op, Op::Sweep))
            .count();
        let terms = self.place.terms();
        let is_read = |(op, _): &(Op, Seen)| matches!(op, Op::Get(_) | Op::Range(..));
        let weather = Weather {
            failed_calls: failed.calls,
            excuses: self.place.excuses(failed),
            is_full: self.is_full(),
            began_at: self.model.worlds.first().unwrap().now,
            is_clock_moved: seen.iter().any(|(op, _)| matches!(op, Op::SetClock(_))),
            sweeps,
            is_held: is_held || terms.has_pins && seen.iter().any(is_read),
            terms,
        };
        self.model.observe(&seen, weather)
    }

    /// Waits until nothing is under way any more. What could not be deleted may stay.
    async fn settle(&self) -> Result<(), String> {
        let settled = wait_until("uploads are staged forever", async || {
            // More may fail while that is waited for.
            let may_be_left = self.place.may_be_left(self.trouble.failed());
            self.place.staged().await <= self.leftovers + may_be_left
        });
        match settled.await {
            Ok(()) => Ok(()),
            Err(problem) => Err(format!("{problem}: {:?}", self.place.entries().await)),
        }
    }

    /// Ends the server as a signal does.
    async fn stop(&mut self) -> Result<(), String> {
        self.end().await?;
        let staged = self.place.staged().await;
        if staged > self.leftovers {
            return Err(format!("{staged} uploads are staged after the end"));
        }
        Ok(())
    }

    /// The server is gone, with all that it did in the background.
    async fn end(&mut self) -> Result<(), String> {
        self.service = None;
        self.late.clear();
        wait_until("the server does not end", async || self.trouble.is_alone()).await
    }

    /// Starts a server. If that fails because calls do, the next start has none of that trouble.
    async fn open(&mut self, fault: Option<Fault>) -> Result<(), String> {
        let staged = self.place.staged().await;
        self.trouble = Trouble::default();
        self.trouble.begin(fault, None, self.is_full());
        let started_at = Instant::now();
        let mut opened = self.place.open(&self.trouble).await;
        // The lock of the last server is released last of all, and held by what is just being forked.
        while matches!(opened, Err(StoreError::InUse { .. })) && started_at.elapsed() < PATIENCE {
            std::thread::yield_now();
            opened = self.place.open(&self.trouble).await;
        }
        let failed_calls = self.trouble.end().calls;
        self.tally.failed_calls += u64::from(failed_calls);
        let (store, removed) = match opened {
            Ok(opened) => opened,
            Err(_) if failed_calls > 0 => {
                wait_until("it does not end", async || self.trouble.is_alone()).await?;
                return Box::pin(self.open(None)).await;
            }
            Err(error) => return Err(format!("cannot start: {error:?}")),
        };
        self.leftovers = self.place.staged().await;
        let is_clean = removed.is_none_or(|removed| removed == staged && self.leftovers == 0);
        if failed_calls == 0 && !is_clean {
            return Err(format!("{staged} were staged, {removed:?} removed"));
        }
        self.service = Some(Service::on(store, &self.clock));
        Ok(())
    }

    /// The operations that are wished for, as things are now.
    fn resolve(&self, wishes: &[Wish], is_failing: bool) -> Vec<Op> {
        let is_open = is_failing || self.place.is_remote();
        let mut creates = 0;
        let ops = wishes.iter().map(|wish| match *wish {
            Wish::Create => {
                creates += 1;
                // The model knows sources by their order.
                if creates == 1 { Op::Create } else { Op::Sweep }
            }
            Wish::Sweep => Op::Sweep,
            Wish::Move(jump) => Op::SetClock(self.moved(jump)),
            _ if self.sources.is_empty() => Op::Sweep,
            Wish::Put(source, content, how) => Op::Put(Put {
                index: self.index(source),
                content,
                // What still fails in the background could not be told apart from what follows.
                how: if is_open && matches!(how, How::Dropped(_)) {
                    How::Chunked
                } else {
                    how
                },
            }),
            Wish::Get(source) => Op::Get(self.index(source)),
            Wish::Head(source) => Op::Head(self.index(source)),
            Wish::Range(source, first) => Op::Range(self.index(source), first),
        });
        ops.collect()
    }

    fn is_full(&self) -> bool {
        self.is_full && self.place.terms().can_be_full
    }

    fn index(&self, source: u64) -> usize {
        usize::try_from(source % self.sources.len() as u64).unwrap()
    }

    fn moved(&self, jump: Jump) -> Timestamp {
        let now = self.service().now();
        match jump {
            Jump::On(by) => now.after(by),
            Jump::Back(by) => now.before(by),
            Jump::ToExpiry(..) if self.sources.is_empty() => now,
            Jump::ToExpiry(source, by_ms) => {
                let expiry = self.sources[self.index(source)].id.expires_at();
                Timestamp::from_ms(expiry.as_ms().saturating_add_signed(by_ms))
            }
        }
    }

    /// Both ways: all that is promised is there, and nothing else is. Then all expires, and nothing is.
    async fn audit(&mut self) -> Result<(), String> {
        self.is_full = false;
        self.stop().await?;
        self.open(None).await?;
        self.fetch_all().await?;
        self.compare().await?;

        let last = self.sources.iter().map(|links| links.id.expires_at()).max();
        // Folders go when their second is over.
        let grace = self.place.terms().sweep_grace + Duration::from_secs(1);
        let last = last.max(self.place.held_until().await);
        let over = last.unwrap_or(START).after(grace);
        let ops = vec![Op::SetClock(over)];
        let seen = self.perform(ops).await;
        self.observe(seen, Failed::default(), false)?;
        let seen = self.perform(vec![Op::Sweep]).await;
        self.observe(seen, Failed::default(), false)?;
        self.fetch_all().await?;
        let left = self.place.entries().await;
        if !left.is_empty() {
            return Err(format!("left after all has expired: {left:?}"));
        }
        self.stop().await
    }

    async fn fetch_all(&mut self) -> Result<(), String> {
        for index in 0..self.sources.len() {
            let seen = self.perform(vec![Op::Get(index)]).await;
            self.observe(seen, Failed::default(), false)?;
            self.settle().await?;
        }
        Ok(())
    }

    /// What the model says is there, what lies there, and what the store's own audit says.
    async fn compare(&mut self) -> Result<(), String> {
        let found = self.place.archives().await;
        let mut worlds = self.model.worlds.clone();
        worlds.retain(|world| {
            let kept = world.sources.iter().zip(&self.sources);
            let kept = kept.filter(|(source, _)| source.archive.is_some());
            kept.map(|(_, links)| links.id)
                .collect::<BTreeSet<SourceId>>()
                == found
        });
        if worlds.is_empty() {
            return Err(format!("{found:?} lie there, not {:?}", self.model.worlds));
        }
        self.model.worlds = worlds;
        let audit = self
            .service()
            .store
            .audit()
            .await
            .map_err(|error| error.to_string())?;
        if !audit.faults.is_empty() || audit.whole != found.len() as u64 {
            return Err(format!("{found:?} lie there; {audit:?}"));
        }
        Ok(())
    }
}

/// Waits for what can be waited for in no better way, while others go on.
async fn wait_until(problem: &str, condition: impl AsyncFn() -> bool) -> Result<(), String> {
    let started_at = Instant::now();
    while !condition().await {
        if started_at.elapsed() > PATIENCE {
            return Err(problem.to_owned());
        }
        yield_now().await;
        std::thread::yield_now();
    }
    Ok(())
}
