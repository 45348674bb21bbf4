//! What every call to the file system passes. With the feature `faults` a test can make each of them
//! fail; without it there is nothing but the call.

#[cfg(feature = "faults")]
mod injected;

#[cfg(feature = "faults")]
pub use injected::{Faults, Hook, Verdict};

/// Nothing: what is called is called.
#[cfg(not(feature = "faults"))]
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(());

#[cfg(not(feature = "faults"))]
#[expect(clippy::unused_self, reason = "with the feature it is asked")]
impl Faults {
    /// Makes a call, known to tests as `name`.
    #[inline]
    pub(super) fn call<T>(
        &self,
        _name: &'static str,
        call: impl FnOnce() -> std::io::Result<T>,
    ) -> std::io::Result<T> {
        call()
    }

    /// Writes all of `bytes`.
    #[inline]
    pub(super) fn write_all(&self, mut file: &std::fs::File, bytes: &[u8]) -> std::io::Result<()> {
        std::io::Write::write_all(&mut file, bytes)
    }
}
