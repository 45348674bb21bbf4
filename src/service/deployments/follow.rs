//! Following the deployments of an application: what there is of them, then what is new, each to its end.
//!
//! A follower asks for one piece of news after the other, so one that stands still costs no more than the piece that
//! it has not taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::changes::{Change, Feed, Look};
use super::names::{Role, Roster};
use super::records::Deployment;
use super::{Deployments, LOOK_EVERY};
use crate::deployment::{DeploymentId, Status};
use crate::limits::Permit;
use crate::store::StoreError;

/// How long after its end the newest deployment is still shown to new followers: clients open the stream after
/// their POST, and a quick deployment may be over by then.
const SHOWN_AFTER_END: Duration = Duration::from_mins(10);
/// The most of a log that is read at once, and that is handed out at once: a follower that stands still holds no more.
const READ_BYTES: usize = 64 * 1024;
const PIECE_BYTES: usize = 16 * 1024;
/// A longer line is sent in parts.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// What a follower learns. Of one deployment: that it is there, its states and its log, and its final state last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeploymentUpdate {
    New { id: DeploymentId, pusher: String },
    Log { id: DeploymentId, content: String },
    Status { id: DeploymentId, status: Status },
}

/// Somebody who follows an application.
pub struct Follower {
    deployments: Arc<Deployments>,
    app: [u8; 16],
    feed: Arc<Feed>,
    changes: watch::Receiver<Change>,
    cursors: BTreeMap<u64, Cursor>,
    /// The newest deployment that has been considered; `None` before the first look.
    newest: Option<u64>,
    _permit: Permit<[u8; 16]>,
}

/// How far a follower is with a deployment.
struct Cursor {
    deployment: Deployment,
    is_announced: bool,
    status: Status,
    offset: u64,
    /// What has been read from there on.
    ahead: Bytes,
    /// The beginning of a line whose end has not come.
    held: Vec<u8>,
}

impl Deployments {
    /// One more follower of `app`; `None` if it has as many as it may.
    pub fn follow(self: &Arc<Self>, app: [u8; 16]) -> Option<Follower> {
        let permit = self.followers.acquire_for(app)?;
        let feed = self.changes.follow(app);
        Some(Follower {
            deployments: Arc::clone(self),
            app,
            changes: feed.change.subscribe(),
            feed,
            cursors: BTreeMap::new(),
            newest: None,
            _permit: permit,
        })
    }

    /// The deployments of an application, of which only those are read that may have changed since `last`.
    async fn look_again(
        &self,
        app: [u8; 16],
        last: Option<&Look>,
    ) -> Result<Vec<Deployment>, StoreError> {
        let roster: Roster = self.roster(app).await?;
        let mut known: BTreeMap<_, _> = last
            .iter()
            .flat_map(|look| look.deployments.iter())
            .filter(|known| is_current(known, &roster))
            .map(|known| (known.id.number, known.clone()))
            .collect();
        let unread = roster
            .accepted()
            .filter(|number| !known.contains_key(number));
        for read in self.load_all(app, &roster, unread.collect()).await? {
            known.insert(read.id.number, read);
        }
        Ok(known.into_values().collect())
    }
}

/// Has nothing been written since that would have been read?
fn is_current(known: &Deployment, roster: &Roster) -> bool {
    let present = roster.of(known.id.number);
    let has_ended = known.end.is_some();
    present.has(Role::Record) && (has_ended || !present.has(Role::Claim) && !present.has(Role::End))
}

impl Follower {
    /// Does it wait for nothing but what may be deployed later?
    pub fn is_idle(&self) -> bool {
        self.newest.is_some() && self.cursors.is_empty()
    }

    /// The next update. Cancelling this loses nothing.
    pub async fn next(&mut self) -> Result<DeploymentUpdate, StoreError> {
        loop {
            let states = self.changes.borrow_and_update().states;
            let look = self.look(states).await?;
            self.note(&look);
            if let Some(update) = self.step().await? {
                return Ok(update);
            }
            // An error would mean that the feed is gone, which is held here.
            let _ = timeout(LOOK_EVERY, self.changes.changed()).await;
        }
    }

    /// The look of another follower, if it is still good.
    async fn look(&self, states: u64) -> Result<Arc<Vec<Deployment>>, StoreError> {
        let mut look = self.feed.look.lock().await;
        if let Some(look) = &*look
            && look.states == states
            && look.at.elapsed() < LOOK_EVERY
        {
            return Ok(Arc::clone(&look.deployments));
        }
        let at = Instant::now();
        let deployments = self.deployments.look_again(self.app, look.as_ref()).await?;
        let deployments = Arc::new(deployments);
        *look = Some(Look {
            at,
            states,
            deployments: Arc::clone(&deployments),
        });
        Ok(deployments)
    }

    fn note(&mut self, look: &[Deployment]) {
        let newest = self.newest;
        for deployment in look {
            let number = deployment.id.number;
            if let Some(cursor) = self.cursors.get_mut(&number) {
                cursor.deployment = deployment.clone();
            } else if newest.map_or(deployment.end.is_none(), |newest| number > newest) {
                self.cursors.insert(number, Cursor::new(deployment.clone()));
            }
        }
        if newest.is_none()
            && self.cursors.is_empty()
            && let Some(last) = look.last()
            && self.is_shown(last)
        {
            let cursor = Cursor::new(last.clone());
            self.cursors.insert(last.id.number, cursor);
        }
        let last = look.last().map_or(0, |last| last.id.number);
        self.newest = Some(last.max(newest.unwrap_or_default()));
        // What has been deleted has nothing more to say.
        self.cursors
            .retain(|number, _| look.iter().any(|found| found.id.number == *number));
    }

    fn is_shown(&self, ended: &Deployment) -> bool {
        let now = self.deployments.clock.now();
        let end = ended.end.as_ref();
        end.is_some_and(|end| now.since(end.at) < SHOWN_AFTER_END)
    }

    /// The next news of the deployments that are followed, the oldest first.
    async fn step(&mut self) -> Result<Option<DeploymentUpdate>, StoreError> {
        for (number, cursor) in &mut self.cursors {
            let tail = tail_for(&self.changes, *number, cursor.offset);
            let update = cursor.step(&self.deployments, tail).await?;
            let Some(update) = update else { continue };
            let number = *number;
            if matches!(&update, DeploymentUpdate::Status { status, .. } if status.is_end()) {
                self.cursors.remove(&number);
            }
            return Ok(Some(update));
        }
        Ok(None)
    }
}

/// What was appended last in this process, if it is what a follower wants next: then it need not be read.
fn tail_for(changes: &watch::Receiver<Change>, number: u64, offset: u64) -> Option<Bytes> {
    let change = changes.borrow();
    let tail = change.tail.as_ref().filter(|tail| tail.number == number)?;
    let start = usize::try_from(offset.checked_sub(tail.offset)?).ok()?;
    (start < tail.bytes.len()).then(|| tail.bytes.slice(start..))
}

impl Cursor {
    const fn new(deployment: Deployment) -> Self {
        Self {
            deployment,
            is_announced: false,
            status: Status::Queued,
            offset: 0,
            ahead: Bytes::new(),
            held: Vec::new(),
        }
    }

    async fn step(
        &mut self,
        deployments: &Deployments,
        tail: Option<Bytes>,
    ) -> Result<Option<DeploymentUpdate>, StoreError> {
        let id = self.deployment.id;
        if !self.is_announced {
            let pusher = deployments.pusher_of(&self.deployment).await?;
            self.is_announced = true;
            return Ok(Some(DeploymentUpdate::New { id, pusher }));
        }
        let status = self.deployment.status();
        if !status.is_end() && status != self.status {
            self.status = status;
            return Ok(Some(DeploymentUpdate::Status { id, status }));
        }
        if let Some(content) = self.read_lines(deployments, tail).await? {
            return Ok(Some(DeploymentUpdate::Log { id, content }));
        }
        Ok(status
            .is_end()
            .then_some(DeploymentUpdate::Status { id, status }))
    }

    /// Whole lines of the log, as far as there are any; at its end what is left.
    async fn read_lines(
        &mut self,
        deployments: &Deployments,
        mut tail: Option<Bytes>,
    ) -> Result<Option<String>, StoreError> {
        let end = self.deployment.end.as_ref().map(|end| end.log_bytes);
        loop {
            // It follows where this began: after what was ahead, it would come a second time.
            let tail = tail.take();
            let left = end.map_or(u64::MAX, |end| end.saturating_sub(self.offset));
            let limit = usize::try_from(left).map_or(READ_BYTES, |left| left.min(READ_BYTES));
            if self.ahead.is_empty() && limit > 0 {
                let id = self.deployment.id;
                self.ahead = match tail {
                    // Copied: a piece of it would keep all of it in memory.
                    Some(tail) => Bytes::copy_from_slice(&tail[..tail.len().min(limit)]),
                    None => deployments.read_log(id, self.offset, limit).await?,
                };
            }
            let length = self.ahead.len().min(limit).min(PIECE_BYTES);
            let piece = self.ahead.split_to(length);
            if piece.is_empty() {
                let rest = std::mem::take(&mut self.held);
                if end.is_some() && !rest.is_empty() {
                    return Ok(Some(String::from_utf8_lossy(&rest).into_owned()));
                }
                self.held = rest;
                return Ok(None);
            }
            self.offset += piece.len() as u64;
            self.held.extend_from_slice(&piece);
            if let Some(lines) = take_lines(&mut self.held) {
                return Ok(Some(lines));
            }
        }
    }
}

/// Takes the whole lines off the front, or, of a line that is too long, what has come of it.
fn take_lines(held: &mut Vec<u8>) -> Option<String> {
    let newline = held.iter().rposition(|byte| *byte == b'\n');
    let length = match newline {
        Some(at) => at + 1,
        None if held.len() < MAX_LINE_BYTES => return None,
        None => whole_characters(held),
    };
    let rest = held.split_off(length);
    let lines = std::mem::replace(held, rest);
    Some(String::from_utf8_lossy(&lines).into_owned())
}

/// How many bytes there are before a character that has not come whole.
fn whole_characters(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last();
    let begun = last.map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(begun) {
        Err(error) if error.error_len().is_none() => bytes.len() - begun.len(),
        Ok(_) | Err(_) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(held: &[u8]) -> (Option<String>, Vec<u8>) {
        let mut held = held.to_vec();
        let lines = take_lines(&mut held);
        (lines, held)
    }

    #[test]
    fn lines_come_whole() {
        assert_eq!(taken(b"a\nb"), (Some("a\n".to_owned()), b"b".to_vec()));
        assert_eq!(taken(b"ab"), (None, b"ab".to_vec()));
        let (lines, held) = taken("a\u{fc}\n\u{fc}".as_bytes());
        assert_eq!(lines.unwrap(), "a\u{fc}\n");
        assert_eq!(held, "\u{fc}".as_bytes());
        assert_eq!(taken(b"\xff\n").0.unwrap(), "\u{fffd}\n");
    }

    #[test]
    fn a_line_without_an_end_comes_in_parts_that_cut_no_character() {
        let mut long = vec![b'a'; MAX_LINE_BYTES - 1];
        assert_eq!(taken(&long).0, None);
        long.extend_from_slice(&"\u{20ac}".as_bytes()[..2]);
        let (lines, held) = taken(&long);
        assert_eq!(lines.unwrap().len(), MAX_LINE_BYTES - 1);
        assert_eq!(held.len(), 2);
        // Nor where something before is no character at all.
        long[0] = 0xff;
        assert_eq!(taken(&long).1.len(), 2);
    }
}
