//! One sequence: what clients, runners and time do, and whether what is seen then is as it has to be.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::Value;
use waystation::clock::FakeClock;
use waystation::deployment::DeploymentId;
use waystation::source::SourceId;
use waystation::store::Collection;

use super::ledger::{Attempt, Book, KEPT, Seen, Wish, is_end};
use super::moves::{APPS, Move, RUNNERS, Report, Step};
use super::sequence_servers::{Deed, Nodes, Outcome, Sending, lost, path_of};
use crate::model::place::Place;
use crate::model::plan::Fault;
use crate::model::run::Tally;

/// How many turns of runners and of time it takes at most until all has ended.
const MOST_TURNS: usize = 100;
/// How often a runner that is there is heard of, and the server looks.
const BEAT: Duration = Duration::from_secs(10);
/// How long an archive may be needed: while it is queued, and while it runs.
const NEEDED: Duration = Duration::from_mins(90);
/// After it no archive is kept for a deployment any more.
const AGE: Duration = Duration::from_hours(4);

/// What is deployed.
#[derive(Clone, Debug)]
struct Source {
    id: SourceId,
    link: String,
    archive: String,
}

struct Run {
    place: Place,
    clock: FakeClock,
    nodes: Nodes,
    book: Book,
    sources: Vec<Source>,
    step: usize,
    tally: Tally,
}

/// Does the steps one after the other, and then brings everything to its end.
pub(crate) async fn run(place: Place, clock: FakeClock, steps: &[Step]) -> Result<Tally, String> {
    let mut run = Run::start(place, clock).await?;
    for (number, step) in steps.iter().enumerate() {
        run.step = number;
        let done = run.step(step).await;
        done.map_err(|problem| format!("step {number}, {step:?}:\n  {problem}"))?;
    }
    let ended = run.end_all().await;
    ended.map_err(|problem| format!("at the end:\n  {problem}"))?;
    Ok(run.tally)
}

impl Run {
    async fn start(place: Place, clock: FakeClock) -> Result<Self, String> {
        let nodes = Nodes::new(&place, clock.clone()).await?;
        Ok(Self {
            place,
            clock,
            nodes,
            book: Book::default(),
            sources: Vec::new(),
            step: 0,
            tally: Tally::default(),
        })
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Together(moves, fault) => {
                self.together(moves, *fault, None).await?;
                self.pass_all(moves).await?;
                self.look().await
            }
            Step::Crash(moves, calls) => {
                self.together(moves, None, Some(*calls)).await?;
                self.tally.crashes += 1;
                self.nodes.close().await?;
                self.nodes.open(&self.place).await?;
                self.look().await
            }
            Step::Restart => {
                self.nodes.close().await?;
                self.nodes.open(&self.place).await?;
                self.look().await
            }
        }
    }

    /// Does all of them at once, and takes note of what came of it.
    async fn together(
        &mut self,
        moves: &[Move],
        fault: Option<Fault>,
        dies_after: Option<u32>,
    ) -> Result<(), String> {
        let deeds = self.resolve(moves).await?;
        self.nodes.trouble.begin(fault, dies_after, false);
        self.tally.operations += deeds.len() as u64;
        let performances = deeds.iter().enumerate().map(async |(number, deed)| {
            let done = self.nodes.perform(self.step + number, deed).await;
            (done, self.nodes.trouble.is_dead())
        });
        let outcomes = join_all(performances).await;
        if dies_after.is_some() {
            self.nodes.trouble.kill();
        }
        let failed = self.nodes.trouble.end();
        self.tally.failed_calls += u64::from(failed.calls);
        for (deed, (outcome, is_dead)) in deeds.into_iter().zip(outcomes) {
            let is_quiet = failed.calls == 0 && dies_after.is_none();
            self.note(
                &deed,
                if is_dead { lost(outcome) } else { outcome },
                is_quiet,
            )?;
        }
        self.book
            .cancelled
            .extend(self.book.newly_cancelled.drain(..));
        Ok(())
    }

    fn note(&mut self, deed: &Deed, outcome: Outcome, is_quiet: bool) -> Result<(), String> {
        let noted = self.book.note(deed, outcome, is_quiet, self.nodes.now());
        noted.map_err(|problem| format!("{deed:?}: {problem}"))
    }

    /// The moves as things are now, without those that there is nothing for.
    async fn resolve(&mut self, moves: &[Move]) -> Result<Vec<Deed>, String> {
        let mut deeds = Vec::new();
        let mut reporting = BTreeSet::new();
        for wanted in moves {
            let deed = match *wanted {
                Move::Deploy { app } => Some(self.deploy(app, None).await?),
                Move::DeployAgain { app, source } => Some(self.deploy(app, Some(source)).await?),
                Move::Cancel { deployment } => self.cancellation(deployment),
                Move::DeleteApp { app } => Some(Deed::DeleteApp(app)),
                Move::Claim { runner } => Some(Deed::Claim(runner)),
                Move::Report { runner, report } => {
                    self.book.held[runner].map(|attempt| self.sending(attempt, report))
                }
                Move::LateReport { attempt, report } => {
                    let attempt = attempt.checked_rem(self.book.attempts.len() as u64);
                    attempt.map(|attempt| self.sending(usize::try_from(attempt).unwrap(), report))
                }
                Move::Upkeep => Some(Deed::Upkeep),
                Move::Sweep => Some(Deed::Sweep),
                Move::Pass { .. } | Move::Jump { .. } => None,
            };
            match deed {
                Some(Deed::Report(sending)) if !reporting.insert(sending.attempt) => {}
                deed => deeds.extend(deed),
            }
        }
        for deed in &deeds {
            if let Deed::Report(Sending {
                attempt,
                report: Report::Log(_) | Report::LogTwice(_),
                piece,
                ..
            }) = deed
            {
                self.book.attempts[*attempt].doubt.clone_from(piece);
            }
        }
        Ok(deeds)
    }

    async fn deploy(&mut self, app: usize, again: Option<u64>) -> Result<Deed, String> {
        let index = match again {
            Some(number) if !self.sources.is_empty() => {
                usize::try_from(number % self.sources.len() as u64).unwrap()
            }
            _ => self.upload().await?,
        };
        let source = self.sources[index].clone();
        let (wish, link) = (self.book.wishes.len(), source.link);
        let mark = format!("mark-{wish}");
        self.book.wishes.push(Wish {
            app,
            mark: mark.clone(),
            at: self.nodes.now(),
            source: source.id,
            archive: source.archive,
            is_accepted: false,
            step: self.step,
            is_listed: false,
            seen: None,
        });
        Ok(Deed::Deploy {
            wish,
            app,
            mark,
            link,
        })
    }

    /// A new source with an archive of its own.
    async fn upload(&mut self) -> Result<usize, String> {
        let made = self.nodes.ask(0, Method::POST, "/v1/sources", "").await;
        let json = made.json();
        let link = |key: &str| Some(json["source"][key].as_str()?.to_owned());
        let links = link("upload_url").zip(link("download_url"));
        let (upload, link) = links.ok_or(format!("{made:?}"))?;
        let archive = format!("archive {} ", self.sources.len()).repeat(20);
        let sent = self
            .nodes
            .call(0, Method::PUT, path_of(&upload), None, archive.clone())
            .await;
        if sent.status != 200 {
            return Err(format!("{sent:?}"));
        }
        let id = link.split(['/', '?']).find_map(|part| part.parse().ok());
        self.sources.push(Source {
            id: id.expect("a link has the id of its source"),
            link,
            archive,
        });
        Ok(self.sources.len() - 1)
    }

    fn cancellation(&self, deployment: u64) -> Option<Deed> {
        let known = self
            .book
            .wishes
            .iter()
            .filter_map(|wish| Some((wish.app, wish.seen.as_ref()?)));
        let known: Vec<_> = known.collect();
        let index = deployment.checked_rem(known.len() as u64)?;
        let (app, seen) = known[usize::try_from(index).unwrap()];
        let id = seen.id.clone();
        Some(Deed::Cancel { id, app })
    }

    fn sending(&self, attempt: usize, report: Report) -> Deed {
        let Attempt {
            log,
            doubt,
            report_path,
            source_path,
            ..
        } = &self.book.attempts[attempt];
        let is_repeated = !doubt.is_empty();
        let (offset, piece) = match report {
            Report::Log(_) | Report::LogTwice(_) if is_repeated => (log.len(), doubt.clone()),
            Report::Log(bytes) | Report::LogTwice(bytes) => {
                let mut piece = format!("{}:{}", self.step, "x".repeat(bytes)).into_bytes();
                // Some end within a line.
                piece.extend((bytes % 3 > 0).then_some(b'\n'));
                (log.len(), piece)
            }
            Report::LogOver => (0, b"?".repeat(log.len().min(10))),
            Report::LogBeyond => (log.len() + doubt.len() + 5, b"beyond".to_vec()),
            Report::Heartbeat | Report::Status(_) | Report::Fetch => (log.len(), Vec::new()),
        };
        Deed::Report(Sending {
            attempt,
            report_path: report_path.clone(),
            source_path: source_path.clone(),
            report,
            offset,
            piece,
            is_repeated,
        })
    }

    /// Lets time go by.
    async fn pass_all(&mut self, moves: &[Move]) -> Result<(), String> {
        for wanted in moves {
            if let Move::Jump { time } = *wanted {
                self.clock.advance(time);
                self.sweep().await?;
            } else if let Move::Pass { time, are_heard } = *wanted {
                self.pass(time, are_heard).await?;
            }
        }
        Ok(())
    }

    async fn pass(&mut self, time: Duration, are_heard: [bool; RUNNERS]) -> Result<(), String> {
        let mut left = time;
        while !left.is_zero() {
            self.clock.advance(BEAT.min(left));
            left = left.saturating_sub(BEAT);
            for runner in (0..RUNNERS).filter(|runner| are_heard[*runner]) {
                if let Some(attempt) = self.book.held[runner] {
                    let deed = self.sending(attempt, Report::Heartbeat);
                    let outcome = self.nodes.perform(runner, &deed).await;
                    self.note(&deed, outcome, true)?;
                }
            }
            for node in 0..self.nodes.services.len() {
                let kept = self.nodes.perform(node, &Deed::Upkeep).await;
                self.note(&Deed::Upkeep, kept, true)?;
            }
        }
        self.sweep().await
    }

    /// What the servers do each second.
    async fn sweep(&mut self) -> Result<(), String> {
        let swept = self.nodes.perform(0, &Deed::Sweep).await;
        self.note(&Deed::Sweep, swept, true)
    }

    /// What is there, as clients see it, has to be what it may be.
    async fn look(&mut self) -> Result<(), String> {
        for app in 0..APPS {
            let path = format!("/v1/apps/{}/deployments?per_page=100", self.nodes.apps[app]);
            let node = self.step % self.nodes.services.len();
            let list = self.nodes.ask(node, Method::GET, &path, "").await;
            let is_deleted = self.book.deleted.contains(&app);
            if list.status == 404 && self.book.maybe_deleted.contains(&app) {
                self.book.deleted.insert(app);
                continue;
            }
            if list.status != 200 || is_deleted {
                return Err(format!("{list:?}"));
            }
            // Of one whose deletion was cut short, any of its deployments may be gone.
            if self.book.maybe_deleted.contains(&app) {
                continue;
            }
            let (mut listed, mut marks) = (Vec::new(), Vec::new());
            for deployment in list.json()["deployments"].as_array().unwrap() {
                listed.push(self.see(app, deployment).await?);
                marks.push(deployment["git_ref"].as_str().unwrap().to_owned());
            }
            self.book.note_list(app, &listed, &marks)?;
        }
        self.rebase();
        self.check_archives().await
    }

    async fn see(&self, app: usize, deployment: &Value) -> Result<Seen, String> {
        let id = deployment["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/apps/{}/deployments/{id}/output", self.nodes.apps[app]);
        let log = self.nodes.ask(0, Method::GET, &path, "").await;
        if log.status != 200 {
            return Err(format!("the log of {id}: {log:?}"));
        }
        Ok(Seen {
            id,
            status: deployment["status"].as_str().unwrap().to_owned(),
            reason: deployment["reason"].clone(),
            log: log.body,
        })
    }

    /// A runner that is told another offset goes on from there.
    fn rebase(&mut self) {
        for attempt in &mut self.book.attempts {
            let seen = self
                .book
                .wishes
                .iter()
                .filter_map(|wish| wish.seen.as_ref());
            let mut seen = seen.filter(|seen| seen.id == attempt.id && !is_end(&seen.status));
            if let Some(seen) = seen.next().filter(|_| attempt.is_heard)
                && seen.log.len() > attempt.log.len()
            {
                attempt.log.clone_from(&seen.log);
                attempt.doubt.clear();
            }
        }
    }

    /// Whatever may still be needed is there: if nobody looks at what waits, its time is over all the same.
    async fn check_archives(&self) -> Result<(), String> {
        let store = self.nodes.store();
        for wish in &self.book.wishes {
            let is_there = !self.book.maybe_deleted.contains(&wish.app) && wish.is_unfinished();
            let is_needed = is_there && self.nodes.now() < wish.at.after(NEEDED);
            if is_needed && store.open(wish.source).await.unwrap().is_none() {
                return Err(format!("the archive of {wish:?} is gone"));
            }
        }
        Ok(())
    }

    /// Runners take what is left, time ends the rest, and then everything goes.
    async fn end_all(&mut self) -> Result<(), String> {
        self.book.held = [None; RUNNERS];
        let half_deleted = self.book.maybe_deleted.difference(&self.book.deleted);
        let again: Vec<_> = half_deleted
            .map(|app| Move::DeleteApp { app: *app })
            .collect();
        self.together(&again, None, None).await?;
        for _ in 0..MOST_TURNS {
            self.nodes.close().await?;
            self.nodes.open(&self.place).await?;
            let moves = [Move::Claim { runner: 0 }];
            self.together(&moves, None, None).await?;
            for report in [Report::Log(40), Report::Fetch, Report::Status("success")] {
                let moves = [Move::Report { runner: 0, report }];
                self.together(&moves, None, None).await?;
            }
            let is_idle = self.book.held[0].take().is_none();
            if is_idle {
                // Long enough for a runner that is gone to be noticed.
                self.pass(9 * BEAT, [false; RUNNERS]).await?;
            }
            self.look().await?;
            let store = self.nodes.store();
            let queue = store.list_documents(Collection::Queue, None, 10).await;
            if is_idle && queue.unwrap().is_empty() {
                return self.check_end().await;
            }
        }
        Err(format!("it does not end: {:?}", self.book))
    }

    async fn check_end(&mut self) -> Result<(), String> {
        let mut journals = BTreeSet::new();
        for (app, id) in self.nodes.apps.iter().enumerate() {
            let bytes = *uuid::Uuid::parse_str(id).unwrap().as_bytes();
            let is_deleted = self.book.deleted.contains(&app);
            let listed = self
                .book
                .wishes
                .iter()
                .filter(|wish| wish.app == app && wish.is_listed);
            for seen in listed
                .filter(|_| !is_deleted)
                .filter_map(|wish| wish.seen.as_ref())
            {
                let number = DeploymentId::parse(bytes, &seen.id).unwrap().number;
                journals.insert(format!("{}-{number:020}", hex::encode(bytes)));
            }
            let store = self.nodes.store();
            let list = store.list_documents(Collection::Deployments(bytes), None, 1000);
            let documents = list.await.unwrap().len();
            if documents > KEPT * 4 || is_deleted && documents > 0 {
                return Err(format!("{documents} documents are left of {id}"));
            }
        }
        let left: Vec<_> = self.place.journals().await;
        if let Some(orphan) = left.iter().find(|name| !journals.contains(*name)) {
            return Err(format!("nobody's journal: {orphan}"));
        }
        self.clock.advance(AGE);
        self.nodes.store().sweep(self.nodes.now()).await.unwrap();
        let left = self.place.entries().await;
        if !left.is_empty() {
            return Err(format!("left after all has expired: {left:?}"));
        }
        let audit = self
            .nodes
            .store()
            .audit()
            .await
            .map_err(|error| error.to_string())?;
        if audit.faults.is_empty() {
            return Ok(());
        }
        Err(format!("{audit:?}"))
    }
}
