//! Calls to the file system, which fail when a test says so.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What is to become of a call.
#[derive(Debug)]
pub enum Verdict {
    /// It is made.
    Go,
    /// It fails and has no effect.
    Fail(io::Error),
    /// It has its effect, and says that it failed.
    FailAfter(io::Error),
    /// A write takes half of its bytes, then fails; any other call fails without effect.
    Halve(io::Error),
}

impl Verdict {
    fn apply<T>(self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Go => call(),
            Self::FailAfter(error) => call().and(Err(error)),
            Self::Fail(error) | Self::Halve(error) => Err(error),
        }
    }
}

/// What a test decides by: it is told the name of each call before it is made.
pub type Hook = dyn Fn(&'static str) -> Verdict + Send + Sync;

/// Decides which calls of one store fail: outside of tests none.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Hook>>);

impl Faults {
    /// Each call asks `hook` first.
    pub fn decided_by(hook: Arc<Hook>) -> Self {
        Self(Some(hook))
    }

    /// Makes a call, known to tests as `name`.
    pub(super) fn call<T>(
        &self,
        name: &'static str,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.judge(name).apply(call)
    }

    /// Writes all of `bytes`.
    pub(super) fn write_all(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        let verdict = self.judge("write");
        if let Verdict::Halve(error) = verdict {
            return file.write_all(&bytes[..bytes.len() / 2]).and(Err(error));
        }
        verdict.apply(|| file.write_all(bytes))
    }

    /// Writes all of `bytes` at this place.
    pub(super) fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let verdict = self.judge("write");
        if let Verdict::Halve(error) = verdict {
            let half = &bytes[..bytes.len() / 2];
            return file.write_all_at(half, offset).and(Err(error));
        }
        verdict.apply(|| file.write_all_at(bytes, offset))
    }

    fn judge(&self, name: &'static str) -> Verdict {
        self.0.as_ref().map_or(Verdict::Go, |hook| hook(name))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}
