//! What a power cut may leave of a folder: its files and names as system calls made them, and which of
//! these changes a sync has covered.
//!
//! Everything that no sync covers may be lost or kept, each change for itself: bytes of a file come to
//! the medium in any order or not at all, and so do the names in a folder. File systems are kinder
//! than that, each in its own way; what survives this survives on all of them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::strace::Call;
use waystation_testing::dice::Dice;

type Inode = usize;
/// The folder that everything happens in. It was there before.
const ROOT: Inode = 0;
/// What is said of a path that is not there.
const NONE: &str = "there is no";

/// Where a name leads, over time. The first value is on the medium; later ones may be.
type History = Vec<(usize, Option<Inode>)>;

#[derive(Debug)]
enum Node {
    File {
        synced: Vec<u8>,
        /// What was written since.
        writes: Vec<Write>,
    },
    Folder(BTreeMap<OsString, History>),
}

#[derive(Debug)]
struct Write {
    when: usize,
    /// Where in the file.
    at: usize,
    bytes: Vec<u8>,
}

/// What a program has done to the folder.
#[derive(Debug)]
pub(crate) struct Medium {
    root: PathBuf,
    nodes: Vec<Node>,
    /// The line of the trace up to which calls have been noted.
    now: usize,
}

/// Which of the changes that no sync covers a power cut keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    NoneIsKept,
    /// As after `kill -9`.
    AllAreKept,
    /// Each for itself, in so many of a hundred cases.
    Chance(usize),
}

impl Fate {
    fn keeps(self, dice: &mut Dice) -> bool {
        match self {
            Self::NoneIsKept => false,
            Self::AllAreKept => true,
            Self::Chance(percent) => dice.chance(percent),
        }
    }
}

impl Medium {
    /// A folder that is there, and empty.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            nodes: vec![Node::Folder(BTreeMap::new())],
            now: 0,
        }
    }

    /// Takes note of a call, when it has been left. Calls that failed have changed nothing. A sync
    /// covers what was done before it was entered.
    pub(crate) fn note(&mut self, call: &Call) {
        let is_ours = call.paths().any(|path| path.starts_with(&self.root));
        if !is_ours || !call.has_succeeded() {
            return;
        }
        self.now = call.left;
        let named = call.named_paths();
        match call.name.as_str() {
            "open" | "openat" | "openat2" => self.open(&named[0], call),
            "write" => self.write(call, None),
            "pwrite64" => self.write(call, Some(call.number(3))),
            "lseek" => self.check_seek(call),
            "fsync" | "fdatasync" => {
                let synced = call.path_of(0).and_then(|path| self.find(&path));
                self.sync(synced.expect("it is there"), call.entered);
            }
            "syncfs" => (0..self.nodes.len()).for_each(|inode| self.sync(inode, call.entered)),
            "mkdir" | "mkdirat" => self.make(&named[0], Node::Folder(BTreeMap::new())),
            "link" | "linkat" => self.set(&named[1], self.find(&named[0])),
            "rename" | "renameat" | "renameat2" => {
                assert!(!call.has_flag(4, "RENAME_EXCHANGE"), "{call:?}");
                self.set(&named[1], self.find(&named[0]));
                self.set(&named[0], None);
            }
            "unlink" | "unlinkat" | "rmdir" => self.set(&named[0], None),
            "sendfile" if !call.path_of(0).is_some_and(|to| to.starts_with(&self.root)) => {}
            // They look, lock, or let go.
            "close" | "fcntl" | "flock" => {}
            name => panic!("a system call that nobody thought of: {name} {call:?}"),
        }
    }

    /// Where a path leads just now.
    fn find(&self, path: &Path) -> Option<Inode> {
        let mut names = path.strip_prefix(&self.root).ok()?.iter();
        names.try_fold(ROOT, |folder, name| match &self.nodes[folder] {
            Node::Folder(names) => names.get(name)?.last()?.1,
            Node::File { .. } => None,
        })
    }

    fn open(&mut self, path: &Path, call: &Call) {
        let flags = 1 + usize::from(call.name != "open");
        let has_flag = |flag| call.has_flag(flags, flag);
        assert!(!has_flag("O_TMPFILE"), "it has no name: {call:?}");
        let found = self.find(path).map(|inode| &self.nodes[inode]);
        let is_written_over = has_flag("O_TRUNC") || has_flag("O_WRONLY") && !has_flag("O_APPEND");
        match found {
            None if has_flag("O_CREAT") => self.make(path, Node::new_file()),
            // An upload in parts goes on at its end: see the seek.
            Some(Node::File { .. }) if is_of_attempt(path) => {}
            Some(Node::File { synced, writes }) if is_written_over => {
                let is_empty = synced.is_empty() && writes.is_empty();
                assert!(is_empty, "written over: {call:?}");
            }
            _ => {}
        }
    }

    /// What goes on with a file does so at its end.
    fn check_seek(&self, call: &Call) {
        let path = call.path_of(0).filter(|path| is_of_attempt(path));
        let file = path.and_then(|path| self.find(&path));
        if let Some(Node::File { synced, writes }) = file.map(|inode| &self.nodes[inode])
            && call.has_flag(2, "SEEK_SET")
        {
            assert_eq!(call.number(1), length_of(synced, writes), "{call:?}");
        }
    }

    /// Files are written from their beginning to their end, unless it is said where.
    fn write(&mut self, call: &Call, at: Option<usize>) {
        let mut bytes = call.bytes(1);
        bytes.truncate(usize::try_from(call.result.unwrap()).unwrap());
        let file = call.path_of(0).and_then(|path| self.find(&path));
        match file.map(|inode| &mut self.nodes[inode]) {
            Some(Node::File { synced, writes }) => {
                let at = at.unwrap_or_else(|| length_of(synced, writes));
                let when = self.now;
                writes.push(Write { when, at, bytes });
            }
            other => panic!("no file: {other:?} {call:?}"),
        }
    }

    fn make(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        self.set(path, Some(self.nodes.len() - 1));
    }

    fn set(&mut self, path: &Path, inode: Option<Inode>) {
        let folder = self.find(path.parent().unwrap());
        match folder.map(|folder| &mut self.nodes[folder]) {
            Some(Node::Folder(names)) => {
                let name = path.file_name().unwrap().to_owned();
                let history = names.entry(name).or_insert_with(|| vec![(0, None)]);
                history.push((self.now, inode));
            }
            other => panic!("no folder: {other:?} of {}", path.display()),
        }
    }

    /// What was done before `entered` is on the medium from now on.
    fn sync(&mut self, inode: Inode, entered: usize) {
        match &mut self.nodes[inode] {
            Node::File { synced, writes } => {
                let done = writes.partition_point(|write| write.when < entered);
                for Write { at, bytes, .. } in writes.drain(..done) {
                    let end = at + bytes.len();
                    synced.resize(synced.len().max(end), 0);
                    synced[at..end].copy_from_slice(&bytes);
                }
            }
            Node::Folder(names) => {
                for history in names.values_mut() {
                    let done = history.iter().rposition(|(when, _)| *when < entered);
                    history.drain(..done.unwrap_or(0));
                }
            }
        }
    }

    /// Would a power cut leave this path as it is, and all that is below it? If so, the file's
    /// content. The error says what would not be left.
    pub(crate) fn durable_content(&self, path: &Path) -> Result<&[u8], String> {
        let mut inode = ROOT;
        for name in path.strip_prefix(&self.root).unwrap() {
            let Node::Folder(names) = &self.nodes[inode] else {
                return Err(format!("a file is in the way to {}", path.display()));
            };
            inode = match names.get(name).map(Vec::as_slice) {
                Some([(_, Some(inode))]) => *inode,
                Some([(_, None)]) | None => return Err(format!("{NONE} {}", path.display())),
                Some(_) => return Err(format!("the name {} is not synced", name.display())),
            };
        }
        match &self.nodes[inode] {
            Node::File { synced, writes } if writes.is_empty() => Ok(synced),
            Node::File { writes, .. } => Err(format!("{} writes not synced", writes.len())),
            Node::Folder(names) => {
                for (name, history) in names {
                    let below = path.join(name);
                    if history.iter().any(|(_, inode)| inode.is_some()) {
                        self.durable_content(&below)?;
                    } else if history.len() > 1 {
                        return Err(format!("the end of {} is not synced", below.display()));
                    }
                }
                Ok(&[])
            }
        }
    }

    /// Would a power cut leave nothing at this path? The error says what may be there.
    pub(crate) fn durably_gone(&self, path: &Path) -> Result<(), String> {
        match self.durable_content(path) {
            Err(why) if why.starts_with(NONE) => Ok(()),
            Err(why) => Err(why),
            Ok(_) => Err(format!("{} is still there", path.display())),
        }
    }

    /// Has any byte of the file at that path not been synced?
    pub(crate) fn has_unsynced_bytes(&self, path: &Path) -> bool {
        let file = self.find(path).map(|inode| &self.nodes[inode]);
        matches!(file, Some(Node::File { writes, .. }) if !writes.is_empty())
    }

    /// Cuts the power, and puts what is left into a folder of this machine.
    pub(crate) fn cut(&self, fate: Fate, dice: &mut Dice, to: &Path) {
        self.leave(ROOT, to, fate, dice, &mut HashMap::new());
    }

    fn leave(
        &self,
        inode: Inode,
        to: &Path,
        fate: Fate,
        dice: &mut Dice,
        left: &mut HashMap<Inode, PathBuf>,
    ) {
        match &self.nodes[inode] {
            // A file with two names is one file.
            Node::File { .. } if left.contains_key(&inode) => {
                fs::hard_link(&left[&inode], to).unwrap();
            }
            Node::File { synced, writes } => {
                fs::write(to, left_of_file(synced, writes, fate, dice)).unwrap();
                fs::set_permissions(to, Permissions::from_mode(0o600)).unwrap();
                left.insert(inode, to.to_owned());
            }
            Node::Folder(names) => {
                fs::create_dir_all(to).unwrap();
                for (name, history) in names {
                    let last = history.len() - 1;
                    let chosen = match fate {
                        _ if fate.keeps(dice) => last,
                        Fate::Chance(_) => dice.below(history.len()),
                        Fate::NoneIsKept | Fate::AllAreKept => 0,
                    };
                    if let Some(inode) = history[chosen].1 {
                        self.leave(inode, &to.join(name), fate, dice, left);
                    }
                }
            }
        }
    }
}

impl Node {
    fn new_file() -> Self {
        Self::File {
            synced: Vec::new(),
            writes: Vec::new(),
        }
    }
}

fn is_of_attempt(path: &Path) -> bool {
    path.components().any(|name| name.as_os_str() == "attempts")
}

fn length_of(synced: &[u8], writes: &[Write]) -> usize {
    let ends = writes.iter().map(|write| write.at + write.bytes.len());
    ends.fold(synced.len(), usize::max)
}

fn left_of_file(synced: &[u8], writes: &[Write], fate: Fate, dice: &mut Dice) -> Vec<u8> {
    let mut content = synced.to_vec();
    for Write { at, bytes, .. } in writes {
        let at = *at;
        let end = at + bytes.len();
        // How far the file reaches, and up to where these bytes are there: all else is zeroes.
        let (length, kept) = match fate {
            _ if fate.keeps(dice) => (end, end),
            Fate::Chance(_) => match dice.below(3) {
                0 => [at + dice.below(bytes.len() + 1); 2].into(),
                1 => (end, at),
                _ => (0, at),
            },
            Fate::NoneIsKept | Fate::AllAreKept => (0, at),
        };
        content.resize(content.len().max(length), 0);
        if kept > at {
            content[at..kept].copy_from_slice(&bytes[..kept - at]);
        }
    }
    content
}
