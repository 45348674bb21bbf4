//! Packing a commit: git lists it, and hands its files out.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::error::EntryName;
use super::links::judge;
use super::pack_error::PackError;
use super::squeeze::{Put, Squeezer};
use super::tree::{Oddity, Origin, Tree, TreeEntry, TreeKind, Warning};
use crate::error_chain::printable;

const EXECUTABLE: &str = "100755";
const LINK: &str = "120000";
const SUBMODULE: &str = "160000";

/// Lists the commit, branch or tag `git_ref`, as far as it is below `folder`.
pub fn list_commit(folder: &Path, git_ref: &str) -> Result<Tree, PackError> {
    let commit = resolve(folder, git_ref)?;
    let listed = git(folder, &["ls-tree", "-r", "-z", "-l", &commit])?;
    let mut tree = Tree {
        origin: Origin::Folder(folder.to_owned()),
        entries: Vec::new(),
        warnings: Vec::new(),
    };
    let mut objects = Vec::new();
    let mut folders = BTreeSet::new();
    let mut reader = CommitReader::start(folder)?;
    for line in listed
        .split(|byte| *byte == 0)
        .filter(|line| !line.is_empty())
    {
        let listed = Listed::parse(line).ok_or(PackError::GitAnswer)?;
        add_folders(&mut tree, &mut objects, &mut folders, listed.path);
        let kind = match listed.mode {
            SUBMODULE => {
                tree.warnings
                    .push(Warning::of(listed.path, Oddity::Submodule));
                continue;
            }
            LINK => {
                let target = reader.read(listed.object)?;
                let depth = listed.path.split(|byte| *byte == b'/').count() - 1;
                if let Some(oddity) = judge(&target, depth) {
                    tree.warnings.push(Warning::of(listed.path, oddity));
                    continue;
                }
                TreeKind::Link {
                    target: target.into(),
                }
            }
            mode => TreeKind::File {
                bytes: listed.bytes.ok_or(PackError::GitAnswer)?,
                is_executable: mode == EXECUTABLE,
            },
        };
        tree.entries.push(TreeEntry {
            path: listed.path.into(),
            kind,
        });
        objects.push(listed.object.to_owned());
    }
    warn_of_dangling(&mut tree);
    sort(&mut tree.entries, &mut objects);
    let folder = folder.to_owned();
    tree.origin = Origin::Commit { folder, objects };
    Ok(tree)
}

/// The commit's id. It is checked that it is none of git's flags.
fn resolve(folder: &Path, git_ref: &str) -> Result<String, PackError> {
    let asked = format!("{git_ref}^{{commit}}");
    let arguments = [
        "rev-parse",
        "--quiet",
        "--verify",
        "--end-of-options",
        &asked,
    ];
    // Git says nothing where it knows nothing of that name.
    let unknown = |said: &str| said.is_empty().then(|| printable(git_ref));
    let answered = git(folder, &arguments).map_err(|error| {
        if let PackError::Commit(said) = &error
            && let Some(name) = unknown(said)
        {
            return PackError::Commit(name);
        }
        error
    })?;
    let id = String::from_utf8(answered).map_err(|_| PackError::GitAnswer)?;
    Ok(id.trim().to_owned())
}

/// The token is not for what git may start.
fn git_in(folder: &Path) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).env_remove("WAYSTATION_TOKEN");
    git
}

fn git(folder: &Path, arguments: &[&str]) -> Result<Vec<u8>, PackError> {
    let mut git = git_in(folder);
    let done = git
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(PackError::Git)?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(PackError::Commit(printable(said.trim())))
}

/// A line of `git ls-tree -l`: `<mode> <type> <object> <size>\t<path>`.
struct Listed<'a> {
    mode: &'a str,
    object: &'a str,
    bytes: Option<u64>,
    path: &'a [u8],
}

impl<'a> Listed<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        let mut words = str::from_utf8(&line[..tab]).ok()?.split_ascii_whitespace();
        let (mode, _kind, object) = (words.next()?, words.next()?, words.next()?);
        Some(Self {
            mode,
            object,
            bytes: words.next()?.parse().ok(),
            path: &line[tab + 1..],
        })
    }
}

/// Git lists files only.
fn add_folders(
    tree: &mut Tree,
    objects: &mut Vec<String>,
    seen: &mut BTreeSet<Box<[u8]>>,
    path: &[u8],
) {
    for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        let folder = Box::from(&path[..at]);
        if seen.insert(folder) {
            tree.entries.push(TreeEntry {
                path: path[..at].into(),
                kind: TreeKind::Folder,
            });
            objects.push(String::new());
        }
    }
}

/// In the order of a walk: by each part of a name.
fn sort(entries: &mut Vec<TreeEntry>, objects: &mut Vec<String>) {
    let mut both: Vec<_> = entries.drain(..).zip(objects.drain(..)).collect();
    both.sort_by(|(a, _), (b, _)| {
        let (a, b) = (&a.path, &b.path);
        a.split(|byte| *byte == b'/')
            .cmp(b.split(|byte| *byte == b'/'))
    });
    for (entry, object) in both {
        entries.push(entry);
        objects.push(object);
    }
}

/// A link whose target is no entry leads to nothing.
fn warn_of_dangling(tree: &mut Tree) {
    let paths: BTreeSet<&[u8]> = tree.entries.iter().map(|entry| &*entry.path).collect();
    let mut warnings = Vec::new();
    for entry in &tree.entries {
        let TreeKind::Link { target } = &entry.kind else {
            continue;
        };
        let lands = landing(&entry.path, target);
        if !lands.is_empty() && !paths.contains(&*lands) {
            let oddity = Oddity::LinkToNothing(EntryName::of(target));
            warnings.push(Warning::of(&entry.path, oddity));
        }
    }
    tree.warnings.extend(warnings);
}

/// Where a link leads that goes up at its beginning only.
fn landing(link: &[u8], target: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = link.split(|byte| *byte == b'/').collect();
    parts.pop();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join(&b'/')
}

/// A running `git cat-file`, which hands out one object after the other.
pub(super) struct CommitReader {
    child: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl CommitReader {
    pub(super) fn start(folder: &Path) -> Result<Self, PackError> {
        let mut git = git_in(folder);
        git.args(["cat-file", "--batch"]);
        git.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = git.spawn().map_err(PackError::Git)?;
        let missing = || PackError::Git(io::ErrorKind::BrokenPipe.into());
        let asked = child.stdin.take().ok_or_else(missing)?;
        let answers = child.stdout.take().ok_or_else(missing)?;
        Ok(Self {
            child,
            asked,
            answers: BufReader::new(answers),
        })
    }

    /// Asks for an object; its length comes first.
    fn ask(&mut self, object: &str) -> Result<u64, PackError> {
        writeln!(self.asked, "{object}").map_err(PackError::Git)?;
        let mut head = String::new();
        self.answers.read_line(&mut head).map_err(PackError::Git)?;
        let length = head.trim_end().rsplit(' ').next();
        let length = length.and_then(|length| length.parse().ok());
        length.ok_or(PackError::GitAnswer)
    }

    fn end_answer(&mut self) -> Result<(), PackError> {
        self.answers.read_exact(&mut [0]).map_err(PackError::Git)
    }

    /// A short object: the target of a link.
    fn read(&mut self, object: &str) -> Result<Vec<u8>, PackError> {
        let bytes = self.ask(object)?;
        let mut content = Vec::new();
        let mut part = (&mut self.answers).take(bytes);
        part.read_to_end(&mut content).map_err(PackError::Git)?;
        self.end_answer()?;
        Ok(content)
    }

    pub(super) fn put(
        &mut self,
        object: &str,
        bytes: u64,
        archive: &mut Squeezer<'_>,
    ) -> Result<Put, PackError> {
        if self.ask(object)? != bytes {
            return Err(PackError::GitAnswer);
        }
        let mut left = bytes;
        while left > 0 {
            let room = archive.room();
            let most = usize::try_from(left).map_or(room.len(), |left| left.min(room.len()));
            let count = self.answers.read(&mut room[..most]);
            let count = count.map_err(PackError::Git)?;
            if count == 0 {
                return Err(PackError::GitAnswer);
            }
            left -= count as u64;
            if !archive.advance(count) {
                return Ok(Put::Stopped);
            }
        }
        self.end_answer()?;
        Ok(Put::Whole(None))
    }
}

impl Drop for CommitReader {
    /// It only reads, so nothing is lost.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
