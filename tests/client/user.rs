//! A user of the client, with a home of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use waystation_testing::Waystation;
use waystation_testing::program::{Ended, run, waystation};

pub(crate) struct User {
    home: TempDir,
    /// What is set in their environment.
    variables: Vec<(&'static str, String)>,
}

impl User {
    /// One who has set nothing.
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        }
    }

    /// One who may use a server, by their environment.
    pub(crate) fn of(server: &Waystation) -> Self {
        Self::new()
            .set("WAYSTATION_URL", &server.url(""))
            .set("WAYSTATION_TOKEN", server.api_token())
    }

    /// One whose token opens all of a server that a test makes up.
    pub(crate) fn at(url: &str) -> Self {
        Self::new()
            .set("WAYSTATION_URL", url)
            .set("WAYSTATION_TOKEN", "tk-us-x")
    }

    pub(crate) fn set(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|(set, _)| *set != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn logins_file(&self) -> PathBuf {
        self.home().join(".config/waystation/logins.json")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = waystation(arguments);
        command.current_dir(self.home());
        command
            .env_remove("XDG_CONFIG_HOME")
            .env("HOME", self.home());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        run(self.command(arguments))
    }

    /// What a command printed that did all that it was to do.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout.trim_end().to_owned()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.done(&[arguments, &["--json"]].concat());
        serde_json::from_str(&printed).unwrap()
    }

    /// What a command said that failed.
    pub(crate) fn failed(&self, arguments: &[&str], code: i32) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert_eq!(ended.stdout, "");
        ended.stderr
    }

    /// Writes a file below their home, and the folders on the way.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
}
