//! What a power cut may leave of a folder: its files and names as system calls made them, and which of
//! these changes a sync has covered.
//!
//! Everything that no sync covers may be lost or kept, each change for itself: bytes of a file come to
//! the medium in any order or not at all, and so do the names in a folder. File systems are kinder
//! than that, each in its own way; what survives this survives on all of them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::strace::Call;
use waystation_testing::dice::Dice;

type Inode = usize;
/// The folder that everything happens in. It was there before.
const ROOT: Inode = 0;
/// What is said of a path that is not there.
const NONE: &str = "there is no";

/// Where a name leads, over time. The first value is on the medium; later ones may be.
type History = Vec<(usize, Option<Inode>)>;

#[derive(Clone, Debug)]
enum Node {
    File {
        synced: Vec<u8>,
        /// What was changed since, and when.
        changes: Vec<(usize, Change)>,
    },
    Folder(BTreeMap<Vec<u8>, History>),
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::Length(length) => content.resize(*length, 0),
        }
    }
}

/// An open file.
#[derive(Clone, Debug)]
struct Open {
    inode: Inode,
    offset: usize,
    appends: bool,
    /// Each write is synced by itself.
    syncs: bool,
}

/// What a program has done to the folder.
#[derive(Clone, Debug)]
pub(crate) struct Medium {
    root: PathBuf,
    nodes: Vec<Node>,
    open: HashMap<i64, Open>,
    /// Everything since some instant, as it counts for syncs.
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

/// What is left.
pub(crate) enum Left {
    File(Vec<u8>),
    Folder(BTreeMap<Vec<u8>, Left>),
}

impl Medium {
    /// A folder that is there, and empty.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            nodes: vec![Node::Folder(BTreeMap::new())],
            open: HashMap::new(),
            now: 0,
        }
    }

    /// Takes note of a call, when it has been left (`close`: when it is entered, since its number may
    /// be given out again before it is left). Calls that failed have changed nothing. A sync
    /// covers what was done before it was entered.
    pub(crate) fn note(&mut self, call: &Call) {
        if !call.has_succeeded() {
            return;
        }
        self.now = call.left;
        let result = call.result.unwrap();
        match call.name.as_str() {
            "open" => self.open_file(self.path(None, &call.bytes(0)), call, 1, result),
            "openat" | "openat2" => {
                let path = self.path(call.descriptor(0), &call.bytes(1));
                self.open_file(path, call, 2, result);
            }
            "close" => drop(self.open.remove(&call.number(0))),
            "dup" | "dup2" | "dup3" => self.duplicate(call.number(0), result),
            "fcntl" if call.arguments[1].starts_with("F_DUPFD") => {
                self.duplicate(call.number(0), result);
            }
            "lseek" => {
                let offset = usize::try_from(result).unwrap();
                self.with_open(call.number(0), |open| open.offset = offset);
            }
            "write" | "writev" => self.write(call, None),
            "pwrite64" | "pwritev" => self.write(call, Some(3)),
            "pwritev2" => {
                assert_eq!(call.arguments.last().unwrap(), "0", "{call:?}");
                self.write(call, Some(3));
            }
            "ftruncate" => self.set_length(call.number(0), call.number(1)),
            "fallocate" => self.allocate(call),
            "fsync" | "fdatasync" => {
                if let Some(open) = self.open.get(&call.number(0)) {
                    self.sync(open.inode, call.entered);
                }
            }
            "syncfs" | "sync" => {
                for inode in 0..self.nodes.len() {
                    self.sync(inode, call.entered);
                }
            }
            "mkdir" => self.make(self.path(None, &call.bytes(0)), Node::Folder(BTreeMap::new())),
            "mkdirat" => {
                let path = self.path(call.descriptor(0), &call.bytes(1));
                self.make(path, Node::Folder(BTreeMap::new()));
            }
            "link" => self.link(&call.bytes(0), self.path(None, &call.bytes(1))),
            "linkat" => self.link_at(call),
            "rename" => {
                let from = self.path(None, &call.bytes(0));
                self.rename(from, self.path(None, &call.bytes(1)), false);
            }
            "renameat" | "renameat2" => {
                let from = self.path(call.descriptor(0), &call.bytes(1));
                let to = self.path(call.descriptor(2), &call.bytes(3));
                self.rename(from, to, call.has_flag(4, "RENAME_EXCHANGE"));
            }
            "unlink" | "rmdir" => self.set(self.path(None, &call.bytes(0)), None),
            "unlinkat" => self.set(self.path(call.descriptor(0), &call.bytes(1)), None),
            "mmap" => {
                let is_shared = call.has_flag(3, "MAP_SHARED") && call.has_flag(2, "PROT_WRITE");
                let is_ours = call.descriptor(4).is_some_and(|fd| self.open.contains_key(&fd));
                assert!(!(is_shared && is_ours), "written to by memory: {call:?}");
            }
            "sendfile" | "splice" | "copy_file_range" => {
                let to = if call.name == "sendfile" { 0 } else { 2 };
                let is_ours = self.open.contains_key(&call.number(to));
                assert!(!is_ours, "bytes that are not in the trace: {call:?}");
            }
            // Another program, with no files of the first.
            "execve" => self.open.clear(),
            "accept" | "accept4" | "socket" | "connect" => drop(self.open.remove(&result)),
            // No promise: it starts writing, and does not wait for the medium.
            "sync_file_range"
            // Of sockets, pipes, locks and flags of descriptors.
            | "fcntl" | "socketpair" | "pipe2" | "shutdown" | "sendto" | "sendmsg" | "sendmmsg" | "flock" => {}
            name => panic!("a system call that nobody thought of: {name} {call:?}"),
        }
    }

    /// The place of a name: its folder and itself. None for one outside.
    fn path(&self, folder: Option<i64>, path: &[u8]) -> Option<(Inode, Vec<u8>)> {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let (mut inode, relative) = match folder.and_then(|folder| self.open.get(&folder)) {
            Some(open) if path.is_relative() => (open.inode, path),
            _ => (ROOT, path.strip_prefix(&self.root).ok()?),
        };
        let mut names = relative.components().map(|component| {
            let is_plain = matches!(component, Component::Normal(_));
            assert!(is_plain, "{component:?} in {}", path.display());
            component.as_os_str().as_bytes().to_vec()
        });
        let mut name = names.next().unwrap_or_default();
        for next in names {
            let below = self.inode(inode, &name);
            inode = below.unwrap_or_else(|| panic!("unknown: {}", path.display()));
            name = next;
        }
        Some((inode, name))
    }

    /// Where a name leads just now.
    fn inode(&self, folder: Inode, name: &[u8]) -> Option<Inode> {
        if name.is_empty() {
            return Some(folder);
        }
        match &self.nodes[folder] {
            Node::Folder(names) => names.get(name)?.last()?.1,
            Node::File { .. } => None,
        }
    }

    fn open_file(
        &mut self,
        place: Option<(Inode, Vec<u8>)>,
        call: &Call,
        flags: usize,
        descriptor: i64,
    ) {
        self.open.remove(&descriptor);
        let Some((folder, name)) = place else { return };
        let inode = if call.has_flag(flags, "O_TMPFILE") {
            self.nodes.push(empty_file());
            self.nodes.len() - 1
        } else if let Some(inode) = self.inode(folder, &name) {
            if call.has_flag(flags, "O_TRUNC") {
                self.change(inode, Change::Length(0));
            }
            inode
        } else if !call.has_flag(flags, "O_CREAT") {
            // A reader was quicker than the end of the call that makes the name is in the trace. It
            // changes nothing, and a sync by it that is not counted makes the cut no kinder.
            return;
        } else {
            self.make(Some((folder, name.clone())), empty_file());
            self.inode(folder, &name).unwrap()
        };
        let syncs = ["O_SYNC", "O_DSYNC"].map(|flag| call.has_flag(flags, flag));
        let open = Open {
            inode,
            offset: 0,
            appends: call.has_flag(flags, "O_APPEND"),
            syncs: syncs.contains(&true),
        };
        self.open.insert(descriptor, open);
    }

    /// Offsets of duplicates are not kept together: a program that writes by both would be told wrong.
    fn duplicate(&mut self, from: i64, to: i64) {
        match self.open.get(&from).cloned() {
            Some(open) => self.open.insert(to, open),
            None => self.open.remove(&to),
        };
    }

    fn with_open(&mut self, descriptor: i64, change: impl FnOnce(&mut Open)) {
        if let Some(open) = self.open.get_mut(&descriptor) {
            change(open);
        }
    }

    fn write(&mut self, call: &Call, offset: Option<usize>) {
        let descriptor = call.number(0);
        let Some(open) = self.open.get(&descriptor).cloned() else {
            return;
        };
        let written = usize::try_from(call.result.unwrap()).unwrap();
        let mut bytes = call.bytes(1);
        bytes.truncate(written);
        assert_eq!(bytes.len(), written, "{}: not all data was told", call.name);
        let offset = match offset {
            Some(argument) => usize::try_from(call.number(argument)).unwrap(),
            None if open.appends => self.content(open.inode).len(),
            None => {
                self.with_open(descriptor, |open| open.offset += written);
                open.offset
            }
        };
        self.change(open.inode, Change::Write { offset, bytes });
        if open.syncs {
            self.sync(open.inode, usize::MAX);
        }
    }

    fn set_length(&mut self, descriptor: i64, length: i64) {
        if let Some(open) = self.open.get(&descriptor) {
            self.change(open.inode, Change::Length(usize::try_from(length).unwrap()));
        }
    }

    /// `fallocate(fd, mode, offset, length)`.
    fn allocate(&mut self, call: &Call) {
        let Some(open) = self.open.get(&call.number(0)) else {
            return;
        };
        match call.arguments[1].as_str() {
            "FALLOC_FL_KEEP_SIZE" => {}
            "0" => {
                let end = usize::try_from(call.number(2) + call.number(3)).unwrap();
                let length = self.content(open.inode).len().max(end);
                self.change(open.inode, Change::Length(length));
            }
            mode => panic!("fallocate with {mode}"),
        }
    }

    fn change(&mut self, inode: Inode, change: Change) {
        let now = self.now;
        match &mut self.nodes[inode] {
            Node::File { changes, .. } => changes.push((now, change)),
            Node::Folder(_) => panic!("bytes for a folder"),
        }
    }

    fn make(&mut self, place: Option<(Inode, Vec<u8>)>, node: Node) {
        if place.is_some() {
            self.nodes.push(node);
            self.set(place, Some(self.nodes.len() - 1));
        }
    }

    fn set(&mut self, place: Option<(Inode, Vec<u8>)>, inode: Option<Inode>) {
        let now = self.now;
        let Some((folder, name)) = place else { return };
        match &mut self.nodes[folder] {
            Node::Folder(names) => {
                let history = names.entry(name).or_insert_with(|| vec![(0, None)]);
                history.push((now, inode));
            }
            Node::File { .. } => panic!("a name in a file"),
        }
    }

    fn link(&mut self, from: &[u8], to: Option<(Inode, Vec<u8>)>) {
        let from = self.path(None, from);
        let inode = from.and_then(|(folder, name)| self.inode(folder, &name));
        self.set(to, inode);
    }

    /// A file may be given a name by its descriptor as well.
    fn link_at(&mut self, call: &Call) {
        let to = self.path(call.descriptor(2), &call.bytes(3));
        let from = call.bytes(1);
        let by_number = from.strip_prefix(b"/proc/self/fd/");
        let by_number = by_number.map(|digits| String::from_utf8_lossy(digits).parse().unwrap());
        let by_empty = from.is_empty().then(|| call.number(0));
        if let Some(descriptor) = by_number.or(by_empty) {
            let inode = self.open.get(&descriptor).map(|open| open.inode);
            return self.set(to, inode);
        }
        let from = self.path(call.descriptor(0), &from);
        let inode = from.and_then(|(folder, name)| self.inode(folder, &name));
        self.set(to, inode);
    }

    fn rename(
        &mut self,
        from: Option<(Inode, Vec<u8>)>,
        to: Option<(Inode, Vec<u8>)>,
        exchanges: bool,
    ) {
        let inode_at = |place: &Option<(Inode, Vec<u8>)>| {
            let (folder, name) = place.as_ref()?;
            self.inode(*folder, name)
        };
        let (moved, replaced) = (inode_at(&from), inode_at(&to));
        self.set(to, moved);
        self.set(from, replaced.filter(|_| exchanges));
    }

    /// What was done before `entered` is on the medium from now on.
    fn sync(&mut self, inode: Inode, entered: usize) {
        match &mut self.nodes[inode] {
            Node::File { synced, changes } => {
                changes.retain(|(when, change)| {
                    if *when < entered {
                        change.apply(synced);
                    }
                    *when >= entered
                });
            }
            Node::Folder(names) => {
                for history in names.values_mut() {
                    let done = history.iter().rposition(|(when, _)| *when < entered);
                    history.drain(..done.unwrap_or(0));
                }
            }
        }
    }

    fn content(&self, inode: Inode) -> Vec<u8> {
        let Node::File { synced, changes } = &self.nodes[inode] else {
            panic!("a folder has no content");
        };
        let mut content = synced.clone();
        for (_, change) in changes {
            change.apply(&mut content);
        }
        content
    }

    /// Would a power cut leave this path as it is, and all that is below it? If so, the file's
    /// content. The error says what would not be left.
    pub(crate) fn durable_content(&self, path: &Path) -> Result<Vec<u8>, String> {
        let mut inode = ROOT;
        for name in path.strip_prefix(&self.root).unwrap() {
            let Node::Folder(names) = &self.nodes[inode] else {
                return Err(format!("a file is in the way to {}", path.display()));
            };
            let history = names.get(name.as_bytes()).map(Vec::as_slice);
            inode = match history {
                Some([(_, Some(inode))]) => *inode,
                Some([(_, None)]) | None => return Err(format!("{NONE} {}", path.display())),
                Some(_) => return Err(format!("the name {} is not synced", name.display())),
            };
        }
        match &self.nodes[inode] {
            Node::File { synced, changes } if changes.is_empty() => Ok(synced.clone()),
            Node::File { changes, .. } => Err(format!("{} changes not synced", changes.len())),
            Node::Folder(names) => {
                for name in names.keys() {
                    let below = path.join(std::ffi::OsStr::from_bytes(name));
                    if names[name]
                        .as_slice()
                        .iter()
                        .any(|(_, inode)| inode.is_some())
                    {
                        self.durable_content(&below)?;
                    } else if names[name].len() > 1 {
                        return Err(format!("the end of {} is not synced", below.display()));
                    }
                }
                Ok(Vec::new())
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
    pub(crate) fn has_unsynced_bytes(&self, call: &Call, folder: usize, path: usize) -> bool {
        let place = self.path(call.descriptor(folder), &call.bytes(path));
        let inode = place.and_then(|(folder, name)| self.inode(folder, &name));
        matches!(inode.map(|inode| &self.nodes[inode]), Some(Node::File { changes, .. }) if !changes.is_empty())
    }

    /// Cuts the power.
    pub(crate) fn cut(&self, fate: Fate, dice: &mut Dice) -> Left {
        self.left_of(ROOT, fate, dice, &mut HashMap::new())
    }

    /// A file with two names has one content.
    fn left_of(
        &self,
        inode: Inode,
        fate: Fate,
        dice: &mut Dice,
        files: &mut HashMap<Inode, Vec<u8>>,
    ) -> Left {
        match &self.nodes[inode] {
            Node::File { synced, changes } => {
                let content = files
                    .entry(inode)
                    .or_insert_with(|| left_of_file(synced, changes, fate, dice));
                Left::File(content.clone())
            }
            Node::Folder(names) => {
                let mut left = BTreeMap::new();
                for (name, history) in names {
                    if let Some(inode) = pick(history, fate, dice) {
                        left.insert(name.clone(), self.left_of(inode, fate, dice, files));
                    }
                }
                Left::Folder(left)
            }
        }
    }
}

const fn empty_file() -> Node {
    Node::File {
        synced: Vec::new(),
        changes: Vec::new(),
    }
}

fn pick(history: &History, fate: Fate, dice: &mut Dice) -> Option<Inode> {
    let chosen = match fate {
        Fate::NoneIsKept => 0,
        Fate::AllAreKept => history.len() - 1,
        Fate::Chance(percent) if dice.chance(percent) => history.len() - 1,
        Fate::Chance(_) => dice.below(history.len()),
    };
    history[chosen].1
}

fn left_of_file(
    synced: &[u8],
    changes: &[(usize, Change)],
    fate: Fate,
    dice: &mut Dice,
) -> Vec<u8> {
    let mut content = synced.to_vec();
    for (_, change) in changes {
        let is_kept = match fate {
            Fate::NoneIsKept => false,
            Fate::AllAreKept => true,
            Fate::Chance(percent) => dice.chance(percent),
        };
        match change {
            change if is_kept => change.apply(&mut content),
            // Some of it, or the length alone: the rest is zeroes.
            Change::Write { offset, bytes } if matches!(fate, Fate::Chance(_)) => {
                let kept = dice.below(bytes.len() + 1);
                let torn = Change::Write {
                    offset: *offset,
                    bytes: bytes[..kept].to_vec(),
                };
                match dice.below(3) {
                    0 => torn.apply(&mut content),
                    1 => {
                        content.resize(content.len().max(offset + bytes.len()), 0);
                    }
                    _ => {}
                }
            }
            Change::Write { .. } | Change::Length(_) => {}
        }
    }
    content
}

impl Left {
    /// Makes it a folder of this machine.
    pub(crate) fn write_to(&self, path: &Path) {
        match self {
            Self::File(content) => {
                fs::write(path, content).unwrap();
                let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                fs::set_permissions(path, private).unwrap();
            }
            Self::Folder(names) => {
                if !path.exists() {
                    fs::create_dir(path).unwrap();
                }
                for (name, left) in names {
                    left.write_to(&path.join(std::ffi::OsStr::from_bytes(name)));
                }
            }
        }
    }
}
