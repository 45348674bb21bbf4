//! All processes that a command has started, also those that left its group or session: the runner is their reaper
//! (`PR_SET_CHILD_SUBREAPER`), so whatever becomes of their parents, they stay below it.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};
use tokio::time::{Instant, sleep};

/// How often to look whether they have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
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

/// Sends a signal to all below this process.
pub(super) fn signal_all(signal: Signal) {
    for process in below_this() {
        send(process, signal);
    }
}

/// Waits until all below this process have ended, for as long as `grace`; then kills them. False if there are
/// still some after that.
pub(super) async fn end_all(grace: Duration) -> bool {
    let kill_at = Instant::now() + grace;
    let give_up_at = kill_at + KILL_FOR;
    loop {
        reap_orphans(None);
        let living = living();
        if living.is_empty() {
            return true;
        }
        let now = Instant::now();
        if now >= give_up_at {
            return false;
        }
        if now >= kill_at {
            for process in living {
                send(process, Signal::KILL);
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Forgets orphans that have ended, except the one that somebody else waits for.
pub(super) fn reap_orphans(except: Option<Pid>) {
    let own = getpid().as_raw_nonzero().get();
    let except = except.map(|pid| pid.as_raw_nonzero().get());
    for process in below_this() {
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

fn living() -> Vec<Process> {
    let below = below_this().into_iter();
    below.filter(|process| !process.is_zombie).collect()
}

fn send(process: Process, signal: Signal) {
    if let Some(pid) = Pid::from_raw(process.id) {
        // One that has ended by now needs none.
        let _ = kill_process(pid, signal);
    }
}

fn below_this() -> Vec<Process> {
    let all = all();
    let mut ancestors = BTreeSet::from([getpid().as_raw_nonzero().get()]);
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
