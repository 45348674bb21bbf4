//! What clients and runners know of deployments, and what has to hold of what they see.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde_json::Value;
use waystation::clock::Timestamp;
use waystation::source::SourceId;

use super::moves::RUNNERS;

/// How many deployments of an application are kept, and how many may wait.
pub(crate) const KEPT: usize = 3;
pub(crate) const QUEUED: usize = 4;
const ENDS: [&str; 6] = [
    "success",
    "build-error",
    "crashed-error",
    "timeout-error",
    "hook-error",
    "aborted",
];

pub(crate) fn is_end(status: &str) -> bool {
    ENDS.contains(&status)
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) app: usize,
    /// Its `git_ref`, by which it is found again.
    pub(crate) mark: String,
    /// When it was asked for.
    pub(crate) at: Timestamp,
    pub(crate) source: SourceId,
    pub(crate) archive: String,
    /// Was it answered that it is accepted?
    pub(crate) is_accepted: bool,
    /// In which step.
    pub(crate) step: usize,
    /// Was it there at the last look?
    pub(crate) is_listed: bool,
    /// As it was seen last.
    pub(crate) seen: Option<Seen>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) reason: Value,
    pub(crate) log: Vec<u8>,
}

impl Wish {
    pub(crate) fn is_unfinished(&self) -> bool {
        let is_unfinished = |seen: &Seen| !is_end(&seen.status);
        self.is_listed && self.seen.as_ref().is_some_and(is_unfinished)
    }

    fn has_id(&self, id: &str) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.id == id)
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = String::from_utf8_lossy(&self.log);
        write!(f, "{} {} {} {log:?}", self.id, self.status, self.reason)
    }
}

/// What a runner was handed.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// Of the deployment.
    pub(crate) id: String,
    pub(crate) report_path: String,
    pub(crate) source_path: String,
    /// A report was answered with 200.
    pub(crate) is_heard: bool,
    /// One was answered with 410.
    pub(crate) is_over: bool,
    /// What is known to be in the log.
    pub(crate) log: Vec<u8>,
    /// What may be in it behind that, or not.
    pub(crate) doubt: Vec<u8>,
    /// The end that was answered with 200.
    pub(crate) end: Option<&'static str>,
    /// An end that may have been taken, or not.
    pub(crate) end_in_doubt: Option<&'static str>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    pub(crate) wishes: Vec<Wish>,
    pub(crate) attempts: Vec<Attempt>,
    /// Applications whose deletion was answered, and those of which it is not known.
    pub(crate) deleted: HashSet<usize>,
    pub(crate) maybe_deleted: HashSet<usize>,
    /// Deployments whose cancellation was answered, in earlier steps and in this one.
    pub(crate) cancelled: HashSet<String>,
    pub(crate) newly_cancelled: Vec<String>,
    /// What each runner has.
    pub(crate) held: [Option<usize>; RUNNERS],
}

impl Book {
    /// What a deployment was asked for with, unless its application was deleted in part: numbers may then begin
    /// anew.
    pub(crate) fn wish_of(&self, id: &str) -> Option<&Wish> {
        let wish = self.wishes.iter().find(|wish| wish.has_id(id))?;
        (!self.maybe_deleted.contains(&wish.app)).then_some(wish)
    }

    /// What is listed of an application, the newest first: one by one, and then as a whole.
    pub(crate) fn note_list(
        &mut self,
        app: usize,
        listed: &[Seen],
        marks: &[String],
    ) -> Result<(), String> {
        let mut found = BTreeMap::new();
        for (seen, mark) in listed.iter().zip(marks) {
            let wish = self
                .wishes
                .iter()
                .position(|wish| wish.mark == *mark && wish.app == app);
            let index = wish.ok_or(format!("nobody asked for {mark}"))?;
            if found.insert(index, seen.clone()).is_some() {
                return Err(format!("{mark} was accepted twice"));
            }
            self.check_change(index, seen)?;
        }
        self.check_missing(app, &found, listed)?;
        self.check_order(&found, marks)?;
        check_running(listed)?;
        for wish in self.wishes.iter_mut().filter(|wish| wish.app == app) {
            wish.is_listed = false;
        }
        for (index, seen) in found {
            self.check_log(&seen)?;
            self.wishes[index].seen = Some(seen);
            self.wishes[index].is_listed = true;
        }
        Ok(())
    }

    /// Nothing goes back, and an end stays as it is.
    fn check_change(&self, index: usize, now: &Seen) -> Result<(), String> {
        let Some(before) = &self.wishes[index].seen else {
            return Ok(());
        };
        let has_same_id = before.id == now.id;
        let is_ended = is_end(&before.status);
        let is_longer = now.log.starts_with(&before.log);
        let is_forward = rank(&now.status) >= rank(&before.status);
        if has_same_id && is_forward && is_longer && (!is_ended || before == now) {
            return Ok(());
        }
        Err(format!("{before:?} became {now:?}"))
    }

    /// Whatever was accepted is there, unless it has ended and newer ones are kept.
    fn check_missing(
        &self,
        app: usize,
        found: &BTreeMap<usize, Seen>,
        listed: &[Seen],
    ) -> Result<(), String> {
        let ended = listed.iter().filter(|seen| is_end(&seen.status)).count();
        for (index, wish) in self.wishes.iter().enumerate() {
            let is_due = wish.app == app && wish.is_accepted && !found.contains_key(&index);
            if is_due && ended < KEPT {
                return Err(format!(
                    "{wish:?} is not there, with {ended} that have ended"
                ));
            }
        }
        Ok(())
    }

    /// What was accepted first comes last in a list.
    fn check_order(&self, found: &BTreeMap<usize, Seen>, marks: &[String]) -> Result<(), String> {
        let place = |index: &usize| {
            let mark = &self.wishes[*index].mark;
            marks.iter().position(|listed| listed == mark)
        };
        let answered = found
            .keys()
            .filter(|index| self.wishes[**index].is_accepted);
        let mut places: Vec<_> = answered
            .map(|index| (self.wishes[*index].step, place(index)))
            .collect();
        places.sort_by_key(|(step, place)| (*step, std::cmp::Reverse(*place)));
        if places.is_sorted_by_key(|(_, place)| std::cmp::Reverse(*place)) {
            return Ok(());
        }
        Err(format!(
            "they are not in the order of acceptance: {places:?}"
        ))
    }

    /// A log is what its runner appended, whole, and behind that at most lines of the server.
    fn check_log(&self, seen: &Seen) -> Result<(), String> {
        let mut heard = self
            .attempts
            .iter()
            .filter(|attempt| attempt.id == seen.id && attempt.is_heard);
        let (first, second) = (heard.next(), heard.next());
        if second.is_some() {
            return Err(format!("two runners had {}", seen.id));
        }
        let is_right = |log: &[u8], doubt: &[u8]| {
            let rest = seen.log.strip_prefix(log);
            let rest = rest.map(|rest| rest.strip_prefix(doubt).unwrap_or(rest));
            rest.is_some_and(is_server_text)
        };
        let is_right = if let Some(attempt) = first {
            is_right(&attempt.log, &attempt.doubt)
        } else {
            // One whose first report is in doubt.
            let mut all = self.attempts.iter().filter(|attempt| attempt.id == seen.id);
            is_right(b"", b"") || all.any(|attempt| is_right(b"", &attempt.doubt))
        };
        let attempts: Vec<_> = self
            .attempts
            .iter()
            .filter(|attempt| attempt.id == seen.id)
            .collect();
        let log = String::from_utf8_lossy(&seen.log);
        if !is_right {
            return Err(format!(
                "the log of {} is {log:?}, and appended was {attempts:?}",
                seen.id
            ));
        }
        check_end(seen, &attempts)
    }
}

fn check_end(seen: &Seen, attempts: &[&Attempt]) -> Result<(), String> {
    for attempt in attempts {
        let is_wrong = match attempt.end {
            Some(end) => seen.status != end,
            None => attempt.is_heard && attempt.is_over && !is_end(&seen.status),
        };
        if is_wrong {
            return Err(format!("{seen:?} after {attempt:?}"));
        }
    }
    let may_be_reported = |status: &str| {
        let ends = attempts
            .iter()
            .flat_map(|attempt| [attempt.end, attempt.end_in_doubt]);
        ends.flatten().any(|end| end == status)
    };
    // The server ends with these alone.
    let is_server_end = ["aborted", "build-error", "timeout-error"].contains(&seen.status.as_str());
    if is_end(&seen.status) && !is_server_end && !may_be_reported(&seen.status) {
        return Err(format!("nobody reported that end: {seen:?}"));
    }
    Ok(())
}

/// Lines that begin as the server's do.
fn is_server_text(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let text = text.strip_prefix('\n').unwrap_or(&text);
    text.is_empty()
        || text.ends_with('\n') && text.lines().all(|line| line.starts_with("waystation: "))
}

/// In the order of acceptance: some that have ended, at most one that runs, and others that wait or were withdrawn.
fn check_running(newest_first: &[Seen]) -> Result<(), String> {
    let oldest_first = newest_first.iter().rev();
    let mut unfinished = oldest_first.filter(|seen| !is_end(&seen.status));
    unfinished.next();
    match unfinished.find(|seen| seen.status != "queued") {
        Some(second) => Err(format!(
            "{second:?} runs beside another, or before it: {newest_first:?}"
        )),
        None => Ok(()),
    }
}

fn rank(status: &str) -> usize {
    let order = ["queued", "building", "pushing", "starting"];
    order
        .iter()
        .position(|known| *known == status)
        .unwrap_or(order.len())
}
