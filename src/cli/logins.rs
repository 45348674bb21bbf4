//! What login keeps: the API token of each server, in one file that only its user can read.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::error::CliError;
use crate::config::logins_file;
use crate::ownership;
use crate::public_url::PublicUrl;
use crate::secret::Secret;

const PRIVATE_FOLDER: u32 = 0o700;
const OF_OTHERS: u32 = 0o077;

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Logins {
    /// The server of the last login.
    current: Option<String>,
    servers: BTreeMap<String, StoredLogin>,
}

#[derive(Serialize, Deserialize)]
struct StoredLogin {
    token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth_url: Option<String>,
}

/// What is known of one server.
pub(super) struct Login {
    pub(super) token: Secret,
    pub(super) auth_url: Option<PublicUrl>,
}

impl Logins {
    /// Reads the file; nothing if there is none.
    pub(super) fn read() -> Result<Self, CliError> {
        let Some(path) = logins_file() else {
            return Ok(Self::default());
        };
        let failed = |source| CliError::Logins {
            path: path.clone(),
            source,
        };
        ownership::check_path(&path)?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & OF_OTHERS != 0 {
            return Err(CliError::LoginsOpen { path, mode });
        }
        serde_json::from_reader(file).map_err(|error| failed(error.into()))
    }

    /// Replaces the file whole.
    fn write(&self) -> Result<PathBuf, CliError> {
        let path = logins_file().ok_or(CliError::NoConfigurationFolder)?;
        let written = self.write_to(&path);
        written.map_err(|source| CliError::Logins {
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(PRIVATE_FOLDER)
            .create(folder)?;
        // Nobody else can read it from its first byte on.
        let mut file = NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        fs::File::open(folder)?.sync_all()
    }

    /// Keeps a token, and makes its server the one that is meant where none is named.
    pub(super) fn keep(&mut self, url: &PublicUrl, login: &Login) -> Result<PathBuf, CliError> {
        let kept = StoredLogin {
            token: login.token.reveal().to_owned(),
            auth_url: login.auth_url.as_ref().map(ToString::to_string),
        };
        self.servers.insert(url.to_string(), kept);
        self.current = Some(url.to_string());
        self.write()
    }

    /// Forgets a token; false if there was none.
    pub(super) fn forget(&mut self, url: &PublicUrl) -> Result<bool, CliError> {
        let url = url.to_string();
        if self.servers.remove(&url).is_none() {
            return Ok(false);
        }
        // Nobody has said that another one is meant.
        if self.current.as_ref() == Some(&url) {
            self.current = None;
        }
        self.write()?;
        Ok(true)
    }

    pub(super) fn current(&self) -> Option<PublicUrl> {
        self.current.as_ref()?.parse().ok()
    }

    pub(super) fn of(&self, url: &PublicUrl) -> Option<Login> {
        let kept = self.servers.get(&url.to_string())?;
        Some(Login {
            token: Secret::new(kept.token.clone()),
            auth_url: kept.auth_url.as_ref().and_then(|url| url.parse().ok()),
        })
    }
}
