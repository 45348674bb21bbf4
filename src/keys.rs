//! The key ring: the secrets from which all others are derived, and the file they live in.
//!
//! One ring serves every use; each use derives keys of its own by a label (HKDF, RFC 5869), so that
//! nothing signed for one use is of any worth in another.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use rand::TryRng as _;
use rand::rngs::SysRng;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::ownership::{self, OwnershipError};
use crate::secret::Secret;

pub const MIN_KEY_BYTES: usize = 32;
/// The most keys a ring holds; every token is compared under each.
pub const MAX_KEYS: usize = 16;
/// A key file larger than this is not one.
const MAX_FILE_BYTES: u64 = 64 * 1024;

pub type DerivedKey = Zeroizing<[u8; 32]>;

/// One or more secret keys: the first signs, all verify.
pub struct KeyRing(Vec<Zeroizing<Vec<u8>>>);

/// A key file that cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot {doing} the key file {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("the key file {} can be read or written by every user of this machine (mode {mode:04o}); anyone who reads it can make links: run 'chmod 600 {}', or give the mounted secret that it is mode 0400 or 0440, or WAYSTATION_KEYS in its place; and if it has been exposed, replace the key", path.display(), path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{} is longer than {MAX_FILE_BYTES} bytes, so it is not a key file", path.display())]
    TooLong { path: PathBuf },
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    #[error("line {line} of the key file {} is not base64 of at least {MIN_KEY_BYTES} bytes ({problem}); a good line comes from 'head -c 32 /dev/urandom | base64'", path.display())]
    BadLine {
        path: PathBuf,
        line: usize,
        /// Never the line itself.
        problem: String,
    },
    #[error("the key file {} holds {found} keys; it needs 1 to {MAX_KEYS}, one a line, the first of which signs", path.display())]
    BadCount { path: PathBuf, found: usize },
}

impl KeyRing {
    /// Reads the ring from a file: one key a line, in base64; empty lines are passed over.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let mut file = File::open(path).map_err(io_error("open", path))?;
        let metadata = file.metadata().map_err(io_error("inspect", path))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o007 != 0 {
            return Err(KeyError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        ownership::check(path, &metadata)?;
        let mut text = Zeroizing::new(String::new());
        Read::by_ref(&mut file)
            .take(MAX_FILE_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(io_error("read", path))?;
        if text.len() as u64 > MAX_FILE_BYTES {
            let path = path.to_owned();
            return Err(KeyError::TooLong { path });
        }
        Self::parse(&text, path)
    }

    /// Reads the ring from keys in base64, one a line or separated by commas. `origin` names their place in errors.
    pub fn from_text(text: &Secret, origin: &str) -> Result<Self, KeyError> {
        let lines = Zeroizing::new(text.reveal().replace(',', "\n"));
        Self::parse(&lines, Path::new(origin))
    }

    /// Reads the ring from `path`, or makes one new key there if the file does not exist.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        if !path.try_exists().map_err(io_error("look for", path))? {
            create_file(path)?;
        }
        Self::load(path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, KeyError> {
        // Some editors put it before UTF-8.
        let keys = text
            .trim_start_matches('\u{feff}')
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| {
                parse_line(line.trim()).map_err(|problem| KeyError::BadLine {
                    path: path.to_owned(),
                    line: index + 1,
                    problem,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(KeyError::BadCount {
                path: path.to_owned(),
                found: keys.len(),
            });
        }
        Ok(Self(keys))
    }

    /// The keys for one use, in the ring's order: the first signs, all verify.
    pub fn derive(&self, label: &str) -> Vec<DerivedKey> {
        self.0
            .iter()
            .map(|key| {
                let mut derived = DerivedKey::default();
                Hkdf::<Sha256>::new(None, key)
                    .expand(label.as_bytes(), derived.as_mut_slice())
                    .expect("HKDF-SHA-256 gives up to 8160 bytes");
                derived
            })
            .collect()
    }

    /// A ring with the given keys, for tests.
    pub fn of(keys: &[[u8; 32]]) -> Self {
        Self(keys.iter().map(|key| key.to_vec().into()).collect())
    }
}

/// Says what is wrong with a line without repeating any of it.
fn parse_line(line: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let key = STANDARD
        .decode(line)
        .map(Zeroizing::new)
        .map_err(|_| "it is not base64".to_owned())?;
    if key.len() < MIN_KEY_BYTES {
        return Err(format!("it has {} bytes", key.len()));
    }
    Ok(key)
}

/// Writes a new random key, whole or not at all: first to a file beside it, then under its name. What
/// an earlier start left of that file, if it was cut short, goes first.
fn create_file(path: &Path) -> Result<(), KeyError> {
    let mut key = Zeroizing::new([0; MIN_KEY_BYTES]);
    SysRng
        .try_fill_bytes(key.as_mut_slice())
        .map_err(|error| io_error("find randomness for", path)(error.into()))?;
    let line = Zeroizing::new(format!("{}\n", STANDARD.encode(key.as_slice())));

    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("make room for", path)(error));
        }
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| {
            file.write_all(line.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| match fs::hard_link(&unfinished, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    let removed = fs::remove_file(&unfinished);
    written
        .and(removed)
        .and_then(|()| match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => sync_folder(folder),
            _ => Ok(()),
        })
        .map_err(io_error("create", path))
}

/// Where the file system does not sync folders, whoever runs the store there has chosen to go without.
fn sync_folder(path: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, Unsupported};
    match File::open(path)?.sync_all() {
        Err(error) if matches!(error.kind(), InvalidInput | Unsupported) => Ok(()),
        synced => synced,
    }
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    fn line_of(bytes: usize) -> String {
        STANDARD.encode(vec![7; bytes])
    }

    #[test]
    fn a_made_key_is_private_and_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let first = KeyRing::load_or_create(&path).unwrap();
        let second = KeyRing::load_or_create(&path).unwrap();
        assert_eq!(first.derive("use"), second.derive("use"));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn each_use_and_each_key_gives_another_key() {
        let ring = KeyRing::of(&[[1; 32], [2; 32]]);
        let (a, b) = (ring.derive("a"), ring.derive("b"));
        assert_ne!(a[0], a[1]);
        assert_ne!(a[0], b[0]);
    }

    #[test]
    fn a_key_of_32_bytes_is_enough_whatever_the_editor_and_31_are_not() {
        let (_folder, path) = key_file(&line_of(32), 0o600);
        KeyRing::load(&path).unwrap();
        let (_folder, path) = key_file(&format!("\u{feff}{}\r\n", line_of(32)), 0o600);
        KeyRing::load(&path).unwrap();
        let (_folder, path) = key_file(&line_of(31), 0o600);
        let refused = KeyRing::load(&path).err().unwrap().to_string();
        assert!(refused.contains("line 1"), "{refused}");
        assert!(refused.contains("it has 31 bytes"), "{refused}");
    }

    #[test]
    fn a_corrupt_line_is_named_but_not_shown() {
        let (_folder, path) = key_file(&format!("{}\n\nno-base64!\n", line_of(32)), 0o600);
        let refused = KeyRing::load(&path).err().unwrap().to_string();
        assert!(refused.contains("line 3"), "{refused}");
        assert!(!refused.contains("no-base64"), "{refused}");
    }

    #[test]
    fn a_file_open_to_everyone_is_refused_with_what_to_do() {
        for mode in [0o604, 0o644, 0o602] {
            let (_folder, path) = key_file(&line_of(32), mode);
            let refused = KeyRing::load_or_create(&path).err().unwrap().to_string();
            assert!(refused.contains("chmod 600"), "{refused}");
        }
        let (_folder, path) = key_file(&line_of(32), 0o640);
        KeyRing::load(&path).unwrap();
    }

    #[test]
    fn a_ring_has_between_one_key_and_sixteen() {
        for (count, is_good) in [(0, false), (1, true), (16, true), (17, false)] {
            let (_folder, path) = key_file(&format!("{}\n", line_of(32)).repeat(count), 0o600);
            assert_eq!(KeyRing::load(&path).is_ok(), is_good, "{count}");
        }
    }
}
