//! How much an archive may unpack to, and take meanwhile.

/// How much memory an archive may ask for to be unpacked with; what the strongest usual settings of `xz` and
/// `zstd` need, and a little more. An archive can ask for gigabytes.
pub(super) const WINDOW_BYTES: u32 = 128 * 1024 * 1024;

/// How much an archive may unpack to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Of all files together.
    pub unpacked_bytes: u64,
    /// Files, links and folders, those included that are only named on the way to others.
    pub entries: usize,
    pub name_bytes: usize,
    /// How many parts a name may have.
    pub depth: usize,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self {
            unpacked_bytes: 2 * 1024 * 1024 * 1024,
            entries: 200_000,
            name_bytes: 4096,
            depth: 100,
        }
    }
}
