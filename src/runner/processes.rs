//! All processes that a command has started, also those that left its group or session: its supervisor is their reaper
//! (`PR_SET_CHILD_SUBREAPER`), and the runner that of both, so whatever becomes of their parents, they stay below them.
//! Where both were killed, what is left is known by its environment.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};
use tokio::time::{Instant, sleep};

/// How long they may take to end after SIGTERM.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(10);
/// How often to look whether they have ended, or begun.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long to kill what starts new processes as quickly as they are killed.
const KILL_FOR: Duration = Duration::from_secs(10);

#[derive(Clone, Copy)]
struct Process {
    id: i32,
    parent: i32,
    is_zombie: bool,
}

/// From now on orphans below this process become its children.
pub(super) fn adopt_orphans() -> std::io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Sends a signal to all below a process. False if there are none that it could reach.
pub(super) fn signal_below(ancestor: Pid, signal: Signal) -> bool {
    let mut living = below(ancestor);
    living.retain(|process| !process.is_zombie);
    signal_each(&living, signal);
    !living.is_empty()
}

/// Stops all below this process: SIGTERM, some time, SIGKILL. False if there are still some after that.
pub(super) async fn stop_all() -> bool {
    signal_below(getpid(), Signal::TERM);
    end_all(STOP_GRACE).await
}

/// Stops all that a killed runner and its supervisor have left: whatever has `mark` at the start of a variable in its
/// environment, and all below that. False if there are still some after that.
pub(super) async fn stop_marked(mark: &[u8]) -> bool {
    let left = marked(mark);
    if !left.is_empty() {
        tracing::warn!(
            "stopping {} processes that an earlier runner left",
            left.len()
        );
    }
    signal_each(&left, Signal::TERM);
    end(STOP_GRACE, || marked(mark)).await
}

/// Waits until all below this process have ended, for as long as `grace`; then kills them. False if there are
/// still some after that.
pub(super) async fn end_all(grace: Duration) -> bool {
    let left = || {
        reap_orphans(None);
        below(getpid())
    };
    end(grace, left).await
}

async fn end(grace: Duration, left: impl Fn() -> Vec<Process>) -> bool {
    let kill_at = Instant::now() + grace;
    let give_up_at = kill_at + KILL_FOR;
    loop {
        let mut living = left();
        living.retain(|process| !process.is_zombie);
        if living.is_empty() {
            return true;
        }
        let now = Instant::now();
        if now >= give_up_at {
            return false;
        }
        if now >= kill_at {
            signal_each(&living, Signal::KILL);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Forgets orphans that have ended, except the one that somebody else waits for.
pub(super) fn reap_orphans(except: Option<Pid>) {
    let own = getpid().as_raw_nonzero().get();
    let except = except.map(|pid| pid.as_raw_nonzero().get());
    for process in below(getpid()) {
        if process.is_zombie
            && process.parent == own
            && Some(process.id) != except
            && let Some(pid) = Pid::from_raw(process.id)
        {
            // If it is gone, that was the aim.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

fn signal_each(processes: &[Process], signal: Signal) {
    for pid in processes
        .iter()
        .filter_map(|process| Pid::from_raw(process.id))
    {
        // One that has ended by now needs none.
        let _ = kill_process(pid, signal);
    }
}

fn below(ancestor: Pid) -> Vec<Process> {
    below_any(BTreeSet::from([ancestor.as_raw_nonzero().get()]))
}

fn below_any(mut ancestors: BTreeSet<i32>) -> Vec<Process> {
    let all = all();
    let mut below: Vec<Process> = Vec::new();
    // Numbers are used again, so that a parent may have a higher one than its child.
    loop {
        let before = below.len();
        for process in &all {
            if ancestors.contains(&process.parent) && ancestors.insert(process.id) {
                below.push(*process);
            }
        }
        if below.len() == before {
            return below;
        }
    }
}

/// This process is none of them, even where a deployment has started it.
fn marked(mark: &[u8]) -> Vec<Process> {
    let own = getpid().as_raw_nonzero().get();
    let mut found = all();
    found.retain(|process| has_mark(process.id, mark));
    let below = below_any(found.iter().map(|process| process.id).collect());
    found.extend(below);
    found.retain(|process| process.id != own);
    found
}

fn has_mark(id: i32, mark: &[u8]) -> bool {
    // That of another user's process cannot be read, and is none of ours.
    let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| variable.starts_with(mark))
}

fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = entries.filter_map(|entry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        parse(id, &fs::read(format!("/proc/{id}/stat")).ok()?)
    });
    stats.collect()
}

/// `ID (NAME) STATE PARENT …`, where the name may have anything in it.
fn parse(id: i32, stat: &[u8]) -> Option<Process> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = str::from_utf8(&stat[end + 1..]).ok()?;
    let mut words = rest.split_whitespace();
    Some(Process {
        id,
        is_zombie: matches!(words.next()?, "Z" | "X"),
        parent: words.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_it_is_called() {
        let process = parse(7, b"7 (a) Z 1) S 42 7 7 0").unwrap();
        assert_eq!((process.parent, process.is_zombie), (42, false));
        let process = parse(7, b"7 (\xff) Z 1 7 7 0").unwrap();
        assert_eq!((process.parent, process.is_zombie), (1, true));
        assert!(parse(7, b"").is_none());
    }
}
