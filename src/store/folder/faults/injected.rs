//! Calls to the file system that fail when a test says so.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
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

/// What a test decides by: it is told the name of each call before it is made.
pub type Hook = dyn Fn(&'static str) -> Verdict + Send + Sync;

/// The calls of one store, and what decides which of them fail.
#[derive(Clone, Default)]
pub struct Faults {
    hook: Option<Arc<Hook>>,
}

impl Faults {
    /// Each call asks `hook` first.
    pub fn decided_by(hook: Arc<Hook>) -> Self {
        Self { hook: Some(hook) }
    }

    /// Makes a call, known to tests as `name`.
    pub(in crate::store::folder) fn call<T>(
        &self,
        name: &'static str,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match self.judge(name) {
            Verdict::Go => call(),
            Verdict::FailAfter(error) => call().and(Err(error)),
            Verdict::Fail(error) | Verdict::Halve(error) => Err(error),
        }
    }

    /// Writes all of `bytes`.
    pub(in crate::store::folder) fn write_all(
        &self,
        mut file: &File,
        bytes: &[u8],
    ) -> io::Result<()> {
        match self.judge("write") {
            Verdict::Go => file.write_all(bytes),
            Verdict::Fail(error) => Err(error),
            Verdict::FailAfter(error) => file.write_all(bytes).and(Err(error)),
            Verdict::Halve(error) => file.write_all(&bytes[..bytes.len() / 2]).and(Err(error)),
        }
    }

    fn judge(&self, name: &'static str) -> Verdict {
        self.hook.as_ref().map_or(Verdict::Go, |hook| hook(name))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}
