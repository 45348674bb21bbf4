//! The system's wall clock as one program sees it. A test sets it, as an administrator would.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::Waystation;
use crate::program::{Program, tools};
use crate::store_folder::Store;

/// A clock that can be set while programs go by it. It has to outlive them.
pub struct WallClock {
    room: TempDir,
}

impl WallClock {
    /// One that is right.
    pub fn new() -> Self {
        let clock = Self {
            room: tempfile::tempdir().unwrap(),
        };
        clock.run_off_by(SignedDuration::ZERO);
        clock
    }

    /// Makes a program go by it.
    pub fn rule(&self, mut command: Command) -> Command {
        let library = tools().join("wall_clock.so");
        assert!(library.exists(), "run tests/tools/install again");
        command
            .env("LD_PRELOAD", library)
            .env("WALL_CLOCK", self.file());
        command
    }

    /// Starts a server that goes by it, on a store that may have been in use.
    pub fn start(&self, store: Store, flags: &[&str]) -> Waystation {
        let program = Program::start(self.rule(store.serve(flags)));
        Waystation::of(store, program)
    }

    /// Sets it, and lets it run: it goes on at this distance from the true time.
    pub fn run_off_by(&self, distance: SignedDuration) {
        self.write(1, distance.as_nanos());
    }

    /// Sets it, and lets it stand still: no slow machine makes a test late for an instant.
    pub fn stand_at(&self, now: Timestamp) {
        self.write(0, now.as_nanosecond());
    }

    /// Nobody reads half of it: the new file takes the place of the old one at once.
    fn write(&self, runs: u8, ns: i128) {
        let written = self.room.path().join("new");
        fs::write(&written, format!("{runs} {ns}")).unwrap();
        fs::rename(written, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.room.path().join("clock")
    }
}
