//! The log: its two formats, and the thread that writes it to standard error.
//!
//! Nothing waits for standard error: a line is queued for that thread, and one that finds the queue
//! full is dropped and counted. A terminal, pipe or disk that is slow, stuck or gone costs log lines, but
//! no request, no connection and no shutdown.

use std::io::{self, BufWriter, IsTerminal as _, Stderr, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, registry};

/// How many lines may wait to be written: some 2 MiB of them.
const QUEUED_LINES: usize = 8192;
/// How long the first of them waits for others, so that one system call writes them all.
const GATHERING_TIME: Duration = Duration::from_millis(10);
const BATCH_BYTES: usize = 64 * 1024;
/// How long the last lines may hold up the exit.
const FLUSH_LIMIT: Duration = Duration::from_millis(1500);

/// Lines that found the queue full, once there is a queue.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();
/// Lines that standard error did not take.
static UNWRITTEN: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people at a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// As `--log` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
        }
    }
}

pub fn lost_lines() -> usize {
    let dropped = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    dropped + UNWRITTEN.load(Ordering::Relaxed)
}

#[derive(Debug)]
pub struct Log {
    queue: NonBlocking,
    worker: WorkerGuard,
}

impl Log {
    /// Starts logging, panics included. `RUST_LOG` is not read, and libraries are not listened to:
    /// what is logged is decided here, so that nobody can be talked into writing a request's line with
    /// its token.
    pub fn start(format: LogFormat) -> Self {
        let (queue, worker) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(QUEUED_LINES)
            .thread_name("log")
            .finish(Batches::default());
        // A process starts one log.
        let _ = DROPPED.set(queue.error_counter());
        let ours = Targets::new().with_target(env!("CARGO_PKG_NAME"), Level::INFO);
        let lines = fmt::layer()
            .with_writer(queue.clone())
            // The library would report them on standard error, and panic if that cannot be written.
            .log_internal_errors(false);
        let lines = match format {
            LogFormat::Human => lines
                .with_target(false)
                .with_ansi(io::stderr().is_terminal())
                .boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        registry().with(lines.with_filter(ours)).init();
        panic::set_hook(Box::new(log_panic));
        Self { queue, worker }
    }

    /// Writes a line as it is, for the end of a command.
    pub fn print(&mut self, line: &str) {
        // It is only queued, which does not fail. In one piece, since each one is a line to the queue.
        let _ = self.queue.write_all(format!("{line}\n").as_bytes());
    }

    /// Waits until all lines are written, up to [`FLUSH_LIMIT`].
    pub fn end(self) {
        let (flushed, is_flushed) = mpsc::channel();
        // On a thread of its own: the library has a time limit too, but prints to standard output when
        // the queue is full, and that may be the same pipe.
        let flushing = thread::Builder::new().spawn(move || {
            drop(self.worker);
            // Too late, if nobody waits any more.
            let _ = flushed.send(());
        });
        if flushing.is_ok() {
            let _ = is_flushed.recv_timeout(FLUSH_LIMIT);
        }
    }
}

/// Only a fixed text is logged: one that was put together while running may hold a secret.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let text = panic.payload().downcast_ref::<&'static str>();
    let location = panic.location().map(ToString::to_string);
    tracing::error!(
        location,
        text = text.copied().unwrap_or("(not a fixed text, so not logged)"),
        "a panic: this is a bug in the server"
    );
}

/// Standard error, as the log's thread writes to it.
struct Batches {
    stderr: BufWriter<Stderr>,
    reported_lost: usize,
}

impl Default for Batches {
    fn default() -> Self {
        Self {
            stderr: BufWriter::with_capacity(BATCH_BYTES, io::stderr()),
            reported_lost: 0,
        }
    }
}

impl Write for Batches {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.stderr.buffer().is_empty() {
            thread::sleep(GATHERING_TIME);
        }
        self.stderr.write(line).inspect_err(|_| {
            UNWRITTEN.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Comes when the queue has just been emptied: there is room in it for a report.
    fn flush(&mut self) -> io::Result<()> {
        let lost = lost_lines();
        if lost > self.reported_lost {
            let lines = lost - self.reported_lost;
            tracing::warn!(
                lines,
                "log lines were dropped: standard error did not accept them"
            );
            self.reported_lost = lost;
        }
        self.stderr.flush()
    }
}
