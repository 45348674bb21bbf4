//! A store's folder, looked at from outside, and the commands that work on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::program::{Ended, run, waystation, without_settings};

/// A folder for a store, and room beside it for a test's own files. Both go with the test.
pub struct Store {
    room: TempDir,
}

impl Store {
    /// A place for a store; nothing is made there yet.
    pub fn new() -> Self {
        Self {
            room: tempfile::tempdir().unwrap(),
        }
    }

    /// There is a blank in it, since users have such folders.
    pub fn path(&self) -> PathBuf {
        self.room.path().join("a store")
    }

    /// Where a test may put files of its own.
    pub fn room(&self) -> &Path {
        self.room.path()
    }

    /// Writes a file of the test's own, and returns its path.
    pub fn write_file(&self, name: &str, content: &[u8]) -> String {
        let path = self.room.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// One of the program's commands, for this store.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = waystation(arguments);
        command.arg("--store").arg(self.path());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        run(self.command(arguments))
    }

    /// The server on this store, on a free port.
    pub fn serve(&self, flags: &[&str]) -> Command {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(flags);
        command
    }

    /// What a first start that no terminal watches leaves: an API token, and lines to paste.
    /// The same, in a shell that has run `first`.
    pub fn serve_after(&self, first: &str, flags: &[&str]) -> Command {
        let serve = self.serve(flags);
        let mut shell = without_settings("sh");
        shell.args(["-c", &format!("{first}; exec \"$@\""), "sh"]);
        shell.arg(serve.get_program()).args(serve.get_args());
        shell
    }

    pub fn first_start_text(&self) -> String {
        fs::read_to_string(self.path().join("first-token")).unwrap()
    }

    pub fn create_token(&self, name: &str) -> String {
        let made = self.run(&["token", "create", name]);
        assert_eq!(made.code, Some(0), "{made:?}");
        made.stdout.trim_end().to_owned()
    }

    /// All that is in one of the store's folders, folders included, at any depth.
    pub fn entries_below(&self, folder: &str) -> Vec<PathBuf> {
        walk(&self.path().join(folder))
    }

    /// The archives that are visible.
    pub fn archives(&self) -> Vec<PathBuf> {
        let mut entries = self.entries_below("sources");
        entries.retain(|entry| entry.is_file());
        entries
    }

    /// How many bytes are in the stage; none if nothing is there.
    pub fn staged_bytes(&self) -> Option<u64> {
        let files = self.entries_below("stage").into_iter();
        // One may vanish between the look into the folder and the look at it.
        let lengths = files.filter_map(|file| Some(fs::metadata(file).ok()?.len()));
        lengths.reduce(|sum, length| sum + length)
    }

    /// What has to hold after an upload was refused, and after a crash.
    pub fn assert_nothing_stored(&self) {
        assert_eq!(self.archives(), Vec::<PathBuf>::new());
        assert_eq!(self.entries_below("stage"), Vec::<PathBuf>::new());
    }
}

/// Where the archive of a source is, below a store: in the folders of its expiry.
pub fn archive_path(store: &Path, source: &str) -> PathBuf {
    let ms = u64::from_str_radix(&source.replace('-', "")[..12], 16).unwrap();
    let (minute, second) = (ms / 60_000, ms / 1000 % 60);
    store.join(format!("sources/{minute:09x}/{second:02}/{source}"))
}

/// The files of a store that have the bytes of uploads in parts, as far as they have come.
pub fn files_in_parts(store: &Path) -> Vec<PathBuf> {
    let mut files = walk(&store.join("attempts"));
    files.retain(|path| path.is_file() && path.extension().is_none_or(|end| end != "state"));
    files
}

/// Every file and folder below one that is there and that nobody changes.
pub fn entries_of(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(entries_of(&path));
        }
        found.push(path);
    }
    found
}

/// A folder or file that goes while it is walked was not there.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

/// The API token in what a first start leaves, or in what a command prints.
pub fn api_token_in(text: &str) -> String {
    let mut words = text.split_whitespace();
    let token = words.find(|word| word.starts_with("tk-us-")).unwrap();
    token.to_owned()
}
