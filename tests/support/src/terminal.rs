//! A terminal that nobody sits at: a pair of pseudo-terminal ends.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Action, tcflow};

/// What is written to one end can be read from the other.
pub struct Terminal {
    /// Reads what programs print to the terminal.
    pub screen: File,
    path: PathBuf,
}

impl Terminal {
    pub fn new() -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let path = ptsname(&screen, Vec::new()).unwrap();
        Self {
            screen: screen.into(),
            path: path.into_string().unwrap().into(),
        }
    }

    /// What a program gets as its standard output.
    pub fn open(&self) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        options.custom_flags(i32::try_from(OFlags::NOCTTY.bits()).unwrap());
        options.open(&self.path).unwrap()
    }

    /// Does as Ctrl-S does: what is printed waits.
    pub fn stop(&self) {
        tcflow(self.open(), Action::OOff).unwrap();
    }
}
