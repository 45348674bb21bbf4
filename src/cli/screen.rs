//! What people see on standard error while a command works: notes, and a line that moves, on a terminal only.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use rustix::termios::tcgetwinsize;
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::client::Progress;
use crate::error_chain::printable;

const REDRAW_EVERY: Duration = Duration::from_millis(100);
/// What a rate is reckoned from.
const SETTLED: Duration = Duration::from_millis(500);
const USUAL_COLUMNS: usize = 80;
/// Back to the first column, and nothing from there on.
const CLEAR: &str = "\r\x1b[K";

pub(super) struct Screen {
    quiet: bool,
    on_terminal: bool,
    line: Mutex<Line>,
}

/// The line of the progress bar. Writers hold its lock, so that output does not interleave.
#[derive(Default)]
struct Line {
    has_bar: bool,
    /// It has to be cleared first.
    is_drawn: bool,
}

impl Screen {
    pub(super) fn new(quiet: bool) -> Arc<Self> {
        Arc::new(Self {
            quiet,
            on_terminal: io::stderr().is_terminal(),
            line: Mutex::default(),
        })
    }

    /// A sentence for those who want to know.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// A sentence for all.
    pub(super) fn warn(&self, text: &str) {
        self.say(&format!("warning: {text}"));
    }

    /// Errors are ignored: somebody closed standard error.
    fn say(&self, text: &str) {
        let mut line = self.line();
        let clear = if std::mem::take(&mut line.is_drawn) {
            CLEAR
        } else {
            ""
        };
        let _ = writeln!(io::stderr().lock(), "{clear}{}", printable(text));
    }

    /// Shows a line, which `draw` writes ever anew, until it is let go of.
    pub(super) fn bar(self: &Arc<Self>, draw: impl Fn() -> String + Send + 'static) -> Bar {
        if self.quiet || !self.on_terminal {
            return Bar(None);
        }
        self.line().has_bar = true;
        let screen = Arc::clone(self);
        let drawing = Arc::clone(self);
        let task = tokio::spawn(async move {
            let mut ticks = interval(REDRAW_EVERY);
            loop {
                ticks.tick().await;
                drawing.draw(&draw());
            }
        });
        Bar(Some((screen, task)))
    }

    /// A transfer that is watched until the bar is let go of.
    pub(super) fn transfer(self: &Arc<Self>, doing: &'static str) -> (Arc<Progress>, Bar) {
        let noted = Arc::clone(self);
        let progress = Arc::new(Progress::new(move |text| noted.note(text)));
        let (watched, started_at) = (Arc::clone(&progress), Instant::now());
        let line = move || transfer_line(doing, watched.done(), watched.total(), started_at);
        (progress, self.bar(line))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task that draws may be at it while its bar goes: that one is the last word.
    fn draw(&self, text: &str) {
        let stderr = io::stderr();
        let columns = tcgetwinsize(&stderr).map_or(0, |size| usize::from(size.ws_col));
        let columns = if columns == 0 { USUAL_COLUMNS } else { columns };
        let text: String = text.chars().take(columns - 1).collect();
        let mut line = self.line();
        if line.has_bar {
            line.is_drawn = true;
            let mut stderr = stderr.lock();
            let _ = write!(stderr, "{CLEAR}{text}").and_then(|()| stderr.flush());
        }
    }

    fn end_bar(&self) {
        let mut line = self.line();
        line.has_bar = false;
        if std::mem::take(&mut line.is_drawn) {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "{CLEAR}").and_then(|()| stderr.flush());
        }
    }
}

/// A line that moves. It goes when it is dropped.
pub(super) struct Bar(Option<(Arc<Screen>, JoinHandle<()>)>);

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((screen, task)) = self.0.take() {
            task.abort();
            screen.end_bar();
        }
    }
}

/// A transfer as a line: bytes, rate, time left.
fn transfer_line(doing: &str, done: u64, total: u64, started_at: Instant) -> String {
    let elapsed = started_at.elapsed();
    let mut line = format!("{doing} {}", ByteSize(done));
    if total > 0 {
        let percent = u128::from(done) * 100 / u128::from(total);
        line = format!("{line} of {}, {percent}%", ByteSize(total));
    }
    if elapsed < SETTLED || done == 0 {
        return line;
    }
    let rate = u128::from(done) * 1000 / elapsed.as_millis();
    let shown = u64::try_from(rate).unwrap_or(u64::MAX);
    line = format!("{line}, {}/s", ByteSize(shown));
    let left = u128::from(total.saturating_sub(done)).checked_div(rate);
    match left.and_then(|left| u64::try_from(left).ok()) {
        Some(left) if total > 0 => {
            let left = humantime::format_duration(Duration::from_secs(left));
            format!("{line}, {left} left")
        }
        _ => line,
    }
}
