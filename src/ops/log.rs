//! The log: its two formats, and what is written to it.

use std::io::{self, IsTerminal as _};

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, registry};

mod lines;

use lines::Lines;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogForm {
    /// For people at a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `RUST_LOG` is not read, and libraries are not listened to: what is
/// logged is decided here, so that nobody can be talked into writing a request's line with its token.
pub fn start_log(form: LogForm) -> io::Result<()> {
    let to_stderr = Lines::start()?;
    let ours = Targets::new().with_target(env!("CARGO_PKG_NAME"), Level::INFO);
    let lines = fmt::layer()
        .with_writer(to_stderr)
        // The library would complain to standard error, and panic if that cannot be written.
        .log_internal_errors(false);
    let lines = match form {
        LogForm::Human => lines
            .with_target(false)
            .with_ansi(io::stderr().is_terminal())
            .boxed(),
        LogForm::Json => lines.json().flatten_event(true).boxed(),
    };
    registry().with(lines.with_filter(ours)).init();
    Ok(())
}

/// Writes the lines that are still on their way: the program ends.
pub fn end_log() {
    lines::write_rest();
}

/// Sends panics to the log. Only a fixed text is told: one that was put together while running may
/// hold what must not be logged.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload().downcast_ref::<&'static str>();
        let location = panic.location().map(ToString::to_string);
        tracing::error!(
            location,
            text = text.copied().unwrap_or("(not a fixed text, so not told)"),
            "a panic: this is a fault of the server"
        );
    }));
}
