//! What clients and runners learn from the answers that they get, and whether these are as they have to be.

use waystation::clock::Timestamp;

use super::ledger::{Attempt, Book, QUEUED, Wish, is_end};
use super::moves::Report;
use super::sequence_servers::{Deed, Outcome, Reply, Sending};

impl Book {
    /// Takes note of what came of a deed. `is_quiet` says that nothing went wrong meanwhile.
    pub(crate) fn note(
        &mut self,
        deed: &Deed,
        outcome: Outcome,
        is_quiet: bool,
        now: Timestamp,
    ) -> Result<(), String> {
        let replies = match outcome {
            Outcome::Replies(replies) => replies,
            Outcome::Claimed(attempt) => return self.note_claim(deed, attempt),
            Outcome::Failed if is_quiet => return Err("it failed".to_owned()),
            Outcome::Failed | Outcome::Done => return Ok(()),
        };
        for reply in &replies {
            if reply.is_trouble() && is_quiet {
                return Err(format!("{reply:?} although nothing is wrong"));
            }
            match deed {
                Deed::Deploy { wish, .. } => self.note_deployed(*wish, reply, now)?,
                Deed::Cancel { id, .. } => self.note_cancelled(id, reply)?,
                Deed::DeleteApp(app) => self.note_deleted(*app, reply)?,
                Deed::Report(sending) => self.note_report(sending, reply)?,
                Deed::Claim(_) | Deed::Upkeep | Deed::Sweep => {}
            }
        }
        Ok(())
    }

    fn note_claim(&mut self, deed: &Deed, attempt: Option<Attempt>) -> Result<(), String> {
        let (Deed::Claim(runner), Some(attempt)) = (deed, attempt) else {
            return Ok(());
        };
        let seen = self
            .wish_of(&attempt.id)
            .and_then(|wish| wish.seen.as_ref());
        if seen.is_some_and(|seen| is_end(&seen.status)) {
            return Err(format!("{attempt:?} of what has ended: {seen:?}"));
        }
        self.attempts.push(attempt);
        self.held[*runner] = Some(self.attempts.len() - 1);
        Ok(())
    }

    fn note_deployed(&mut self, wish: usize, reply: &Reply, now: Timestamp) -> Result<(), String> {
        let Wish { app, source, .. } = self.wishes[wish];
        let unfinished = self.wishes.iter().filter(|other| other.app == app);
        let unfinished =
            unfinished.filter(|other| other.seen.as_ref().is_none_or(|seen| !is_end(&seen.status)));
        let is_right = match reply.status {
            201 => !source.is_expired(now),
            422 => source.is_expired(now),
            404 => self.deleted.contains(&app) || self.maybe_deleted.contains(&app),
            429 => unfinished.count() > QUEUED,
            _ => reply.is_trouble(),
        };
        if !is_right {
            return Err(format!("{reply:?}"));
        }
        let wish = &mut self.wishes[wish];
        wish.is_accepted = reply.status == 201;
        if !wish.is_accepted && !reply.is_trouble() {
            // It must never be seen.
            wish.mark = format!("refused {}", wish.mark);
        }
        Ok(())
    }

    fn note_cancelled(&mut self, id: &str, reply: &Reply) -> Result<(), String> {
        match reply.status {
            202 => self.newly_cancelled.push(id.to_owned()),
            404 => {}
            _ if reply.is_trouble() => {}
            _ => return Err(format!("{reply:?}")),
        }
        Ok(())
    }

    fn note_deleted(&mut self, app: usize, reply: &Reply) -> Result<(), String> {
        self.maybe_deleted.insert(app);
        match reply.status {
            204 | 404 => drop(self.deleted.insert(app)),
            _ if reply.is_trouble() => {}
            _ => return Err(format!("{reply:?}")),
        }
        Ok(())
    }

    fn note_report(&mut self, sending: &Sending, reply: &Reply) -> Result<(), String> {
        let id = &self.attempts[sending.attempt].id;
        let wish = self.wish_of(id);
        let is_cancelled = wish.is_some() && self.cancelled.contains(id);
        let archive = wish.map(|wish| wish.archive.clone());
        let has_ended = wish.and_then(|wish| wish.seen.as_ref());
        let has_ended = has_ended.is_some_and(|seen| is_end(&seen.status));
        let attempt = &mut self.attempts[sending.attempt];
        attempt.is_over |= reply.status == 410;
        let is_same_end = |end: Option<&'static str>| {
            end.is_some_and(|end| sending.report == Report::Status(end))
        };
        let is_repeated = is_same_end(attempt.end) || is_same_end(attempt.end_in_doubt);
        if reply.status == 200 && has_ended && !is_repeated {
            return Err("it had ended".to_owned());
        }
        let is_log = matches!(sending.report, Report::Log(_) | Report::LogTwice(_));
        match (sending.report, reply.status) {
            (Report::Fetch, 200) => {
                let is_right = archive.is_none_or(|archive| archive.as_bytes() == reply.body);
                return if is_right {
                    Ok(())
                } else {
                    Err("another archive".to_owned())
                };
            }
            (Report::LogOver, 200) if sending.piece.is_empty() => {}
            (Report::LogOver | Report::LogBeyond, 200) => return Err(format!("{reply:?}")),
            (_, 200) => {}
            (Report::Status(status), _) if is_end(status) && reply.is_trouble() => {
                attempt.end_in_doubt = Some(status);
                return Ok(());
            }
            (_, 410) if is_log && !sending.is_repeated => {
                attempt.doubt.clear();
                return Ok(());
            }
            (_, 409 | 410 | 404) => return Ok(()),
            _ if reply.is_trouble() => return Ok(()),
            _ => return Err(format!("{reply:?}")),
        }
        attempt.is_heard = true;
        let json = reply.json();
        if is_cancelled && attempt.end.is_none() && json["cancel"] != true {
            return Err(format!("it was cancelled: {reply:?}"));
        }
        if is_log && attempt.doubt == sending.piece {
            attempt.log.append(&mut attempt.doubt);
        }
        if is_log && json["log_bytes"] != attempt.log.len() {
            return Err(format!("{reply:?} with {} bytes", attempt.log.len()));
        }
        if let Report::Status(status) = sending.report
            && is_end(status)
        {
            attempt.end = Some(status);
        }
        Ok(())
    }
}
