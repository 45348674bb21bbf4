//! A link is as good as a password, and every user of a machine can read the command lines of all. So a command that is
//! given one starts itself again at once, in its place, with the link on standard input.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::trust::LINK_BYTES;
use crate::config::arguments;
use crate::secret::Secret;

/// Restarts the program with `instead` in place of the link in its arguments. Returns only on failure; then everything
/// works, but the link stays visible.
pub(super) fn hide(link: &Secret, instead: &str) -> io::Error {
    let link = link.reveal();
    if link.len() > LINK_BYTES {
        return io::ErrorKind::InvalidInput.into();
    }
    let words = arguments().into_iter();
    let words = words.map(|word| {
        if word == link {
            OsString::from(instead)
        } else {
            word
        }
    });
    let words: Vec<_> = words.collect();
    match start(link, &words) {
        Ok(never) => never,
        Err(error) => error,
    }
}

fn start(link: &str, words: &[OsString]) -> io::Result<io::Error> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(link.as_bytes())?;
    drop(writer);
    let program = std::env::current_exe()?;
    Ok(Command::new(program).args(words).stdin(reader).exec())
}
