//! Log lines on their way to standard error: gathered for a moment, and written many at a time.
//!
//! So a request waits neither for a terminal or a pipe, nor for a system call of its own. A line that
//! warns or tells of an error is written at once, with all before it, and so is what is left when the
//! program ends; a server that is killed loses the lines of its last [`GATHERING_TIME`].

use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for others.
const GATHERING_TIME: Duration = Duration::from_millis(10);
/// When that much is waiting, the next line is written by who logs it, however long that takes.
const MAX_WAITING_BYTES: usize = 256 * 1024;

/// Lines that have not been written yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    waiting: Mutex<Vec<u8>>,
    has_begun: Condvar,
    /// Held while lines are taken and written, so that they stay in order.
    writing: Mutex<()>,
}

static LINES: OnceLock<Lines> = OnceLock::new();

impl Lines {
    /// Those of this process; a thread begins to write them, if none does.
    pub(super) fn start() -> io::Result<&'static Self> {
        if LINES.set(Self::default()).is_ok() {
            thread::Builder::new()
                .name("log".to_owned())
                .spawn(|| Self::started().write_forever())?;
        }
        Ok(Self::started())
    }

    fn started() -> &'static Self {
        LINES.get_or_init(Self::default)
    }

    fn write_forever(&self) {
        loop {
            drop(
                self.has_begun
                    .wait_while(self.lock(), |waiting| waiting.is_empty())
                    .expect("no panic while it is held"),
            );
            thread::sleep(GATHERING_TIME);
            self.write_out();
        }
    }

    fn add(&self, line: &[u8], urgency: Urgency) {
        let mut waiting = self.lock();
        let is_first = waiting.is_empty();
        waiting.extend_from_slice(line);
        let is_full = waiting.len() > MAX_WAITING_BYTES;
        drop(waiting);
        if urgency == Urgency::Now || is_full {
            self.write_out();
        } else if is_first {
            self.has_begun.notify_one();
        }
    }

    fn write_out(&self) {
        let _writing = self.writing.lock().expect("no panic while it is held");
        let lines = mem::take(&mut *self.lock());
        // There is no other place to say that the log cannot be written, and that must not end the
        // server: its disk may just be full.
        let _ = io::stderr().write_all(&lines);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.waiting.lock().expect("no panic while it is held")
    }
}

/// Writes what is waiting: the program ends.
pub(super) fn write_rest() {
    if let Some(lines) = LINES.get() {
        lines.write_out();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    Soon,
    Now,
}

/// Takes one event's line.
pub(super) struct LineWriter {
    lines: &'static Lines,
    urgency: Urgency,
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.add(line, self.urgency);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for &'static Lines {
    type Writer = LineWriter;

    fn make_writer(&self) -> LineWriter {
        LineWriter {
            lines: self,
            urgency: Urgency::Now,
        }
    }

    fn make_writer_for(&self, event: &Metadata<'_>) -> LineWriter {
        let urgency = if *event.level() <= Level::WARN {
            Urgency::Now
        } else {
            Urgency::Soon
        };
        LineWriter {
            lines: self,
            urgency,
        }
    }
}
