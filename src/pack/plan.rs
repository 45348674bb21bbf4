//! The first pass: what an archive will unpack to, as a tree of names. Nothing that it lets through leads out of
//! the tree, stands in the way of something else, or goes beyond a limit.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::rc::Rc;

use super::error::{ArchiveFault, EntryFault, EntryName, UnpackError};
use super::limits::UnpackLimits;
use super::names::{levels_up, parts};
use super::tar::{Entry, Kind, TarReader};

/// Targets of links are kept until the end, so their sum is limited.
const LINK_BYTES: usize = 16 * 1024 * 1024;

/// The place of a node in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId(usize);

const ROOT: NodeId = NodeId(0);

pub(super) struct Node {
    pub(super) parent: NodeId,
    pub(super) name: Rc<[u8]>,
    depth: usize,
    what: What,
}

enum What {
    Folder {
        children: HashMap<Rc<[u8]>, NodeId>,
        /// It has an entry of its own, and not only others below it.
        is_entry: bool,
    },
    File,
    Link,
}

/// A symbolic link, and its target as it will stand there.
pub(super) struct Symlink {
    pub(super) node: NodeId,
    pub(super) target: Vec<u8>,
    levels_up: usize,
}

/// Another name for a file.
pub(super) struct HardLink {
    pub(super) node: NodeId,
    pub(super) file: NodeId,
}

pub(super) struct Plan {
    limits: UnpackLimits,
    nodes: Vec<Node>,
    /// What becomes the tree: the root of the archive, or the one folder there.
    top: NodeId,
    bytes: u64,
    link_bytes: usize,
    symlinks: Vec<Symlink>,
    hard_links: Vec<HardLink>,
}

impl Plan {
    pub(super) fn read(mut tar: TarReader<'_>, limits: UnpackLimits) -> Result<Self, UnpackError> {
        let root = Node {
            parent: ROOT,
            name: Rc::default(),
            depth: 0,
            what: What::folder(true),
        };
        let mut plan = Self {
            limits,
            nodes: vec![root],
            top: ROOT,
            bytes: 0,
            link_bytes: 0,
            symlinks: Vec::new(),
            hard_links: Vec::new(),
        };
        while let Some(entry) = tar.next()? {
            plan.add(&entry)?;
        }
        plan.finish()?;
        Ok(plan)
    }

    /// How many files, links and folders there are, the lifted one included.
    pub(super) fn entries(&self) -> usize {
        self.nodes.len() - 1
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_lifted(&self) -> bool {
        self.top != ROOT
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The folders to make, each after the one that it is in.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Node> {
        let below_top = self.nodes.iter().skip(self.top.0 + 1);
        below_top.filter(|node| matches!(node.what, What::Folder { .. }))
    }

    pub(super) fn symlinks(&self) -> &[Symlink] {
        &self.symlinks
    }

    pub(super) fn hard_links(&self) -> &[HardLink] {
        &self.hard_links
    }

    /// The node of an entry, when it is read again.
    pub(super) fn find(&self, entry: &Entry) -> Result<NodeId, UnpackError> {
        let parts = parts(&entry.name, self.limits).map_err(|fault| entry.refuse(fault))?;
        let found = parts.iter().try_fold(ROOT, |at, part| self.child(at, part));
        Ok(found.ok_or(ArchiveFault::Changed)?)
    }

    /// Where a folder is below the top; empty for the top itself.
    pub(super) fn path(&self, folder: NodeId) -> PathBuf {
        let mut names = Vec::new();
        let mut at = folder;
        while at != self.top && at != ROOT {
            names.push(OsStr::from_bytes(&self.node(at).name));
            at = self.node(at).parent;
        }
        names.iter().rev().collect()
    }

    fn add(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        let refused = |fault| entry.refuse(fault);
        let parts = parts(&entry.name, self.limits).map_err(refused)?;
        let Some((name, folders)) = parts.split_last() else {
            return match entry.kind {
                Kind::Folder => Ok(()),
                Kind::File { .. } | Kind::Symlink(_) | Kind::HardLink(_) => {
                    Err(refused(EntryFault::NoName))
                }
            };
        };
        // What ends like a folder and is none is made by some programs, and not by others.
        if entry.kind != Kind::Folder && !entry.name.ends_with(name) {
            return Err(refused(EntryFault::NoName));
        }
        let mut folder = ROOT;
        for part in folders {
            folder = self.enter(folder, part, entry)?;
        }
        match &entry.kind {
            Kind::Folder => self.add_folder(folder, name, entry).map(drop),
            Kind::File { bytes, .. } => {
                self.count_bytes(*bytes)?;
                self.add_node(folder, name, What::File, entry).map(drop)
            }
            Kind::Symlink(target) => {
                let levels_up = levels_up(target).map_err(refused)?;
                self.count_link_bytes(target.len())?;
                let node = self.add_node(folder, name, What::Link, entry)?;
                let target = target.clone();
                self.symlinks.push(Symlink {
                    node,
                    target,
                    levels_up,
                });
                Ok(())
            }
            Kind::HardLink(target) => {
                let fault = || refused(EntryFault::LinkToNoFile(EntryName::of(target)));
                let file = self.find_file(target).ok_or_else(fault)?;
                let node = self.add_node(folder, name, What::File, entry)?;
                self.hard_links.push(HardLink { node, file });
                Ok(())
            }
        }
    }

    /// The folder of that name, which need not have been named before.
    fn enter(&mut self, at: NodeId, name: &[u8], entry: &Entry) -> Result<NodeId, UnpackError> {
        match self.child(at, name) {
            Some(child) if self.is_folder(child) => Ok(child),
            Some(child) => {
                let file = self.path(child);
                let file = EntryName::of(file.as_os_str().as_bytes());
                Err(entry.refuse(EntryFault::BelowNoFolder(file)))
            }
            None => self.add_node(at, name, What::folder(false), entry),
        }
    }

    fn add_folder(
        &mut self,
        at: NodeId,
        name: &[u8],
        entry: &Entry,
    ) -> Result<NodeId, UnpackError> {
        let Some(child) = self.child(at, name) else {
            return self.add_node(at, name, What::folder(true), entry);
        };
        match &mut self.nodes[child.0].what {
            What::Folder { is_entry, .. } if !*is_entry => {
                *is_entry = true;
                Ok(child)
            }
            What::Folder { .. } | What::File | What::Link => Err(entry.refuse(EntryFault::Twice)),
        }
    }

    fn add_node(
        &mut self,
        parent: NodeId,
        name: &[u8],
        what: What,
        entry: &Entry,
    ) -> Result<NodeId, UnpackError> {
        let limit = self.limits.entries;
        if self.entries() == limit {
            return Err(ArchiveFault::TooManyEntries { limit }.into());
        }
        let id = NodeId(self.nodes.len());
        let name: Rc<[u8]> = name.into();
        let depth = self.node(parent).depth + 1;
        if let Some(other) = self.child(parent, &name) {
            let is_only_named =
                matches!(self.node(other).what, What::Folder { is_entry, .. } if !is_entry);
            return Err(entry.refuse(if is_only_named {
                EntryFault::NoFolder
            } else {
                EntryFault::Twice
            }));
        }
        if let What::Folder { children, .. } = &mut self.nodes[parent.0].what {
            children.insert(Rc::clone(&name), id);
        }
        self.nodes.push(Node {
            parent,
            name,
            depth,
            what,
        });
        Ok(id)
    }

    fn count_bytes(&mut self, bytes: u64) -> Result<(), ArchiveFault> {
        self.bytes = self.bytes.saturating_add(bytes);
        let limit_bytes = self.limits.unpacked_bytes;
        if self.bytes > limit_bytes {
            return Err(ArchiveFault::TooLarge { limit_bytes });
        }
        Ok(())
    }

    fn count_link_bytes(&mut self, bytes: usize) -> Result<(), ArchiveFault> {
        self.link_bytes += bytes;
        if self.link_bytes > LINK_BYTES {
            let limit_bytes = LINK_BYTES;
            return Err(ArchiveFault::TooManyLinkBytes { limit_bytes });
        }
        Ok(())
    }

    fn find_file(&self, name: &[u8]) -> Option<NodeId> {
        let parts = parts(name, self.limits).ok()?;
        let found = parts
            .iter()
            .try_fold(ROOT, |at, part| self.child(at, part))?;
        matches!(self.node(found).what, What::File).then_some(found)
    }

    fn child(&self, folder: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.node(folder).what {
            What::Folder { children, .. } => children.get(name).copied(),
            What::File | What::Link => None,
        }
    }

    fn is_folder(&self, id: NodeId) -> bool {
        matches!(self.node(id).what, What::Folder { .. })
    }

    /// Only now it is known what the top is, and so how far up is out.
    fn finish(&mut self) -> Result<(), UnpackError> {
        if self.entries() == 0 {
            return Err(ArchiveFault::Empty.into());
        }
        if let What::Folder { children, .. } = &self.node(ROOT).what
            && let [only] = children.values().collect::<Vec<_>>()[..]
            && self.is_folder(*only)
        {
            self.top = *only;
        }
        let top_depth = self.node(self.top).depth;
        for link in &self.symlinks {
            let node = self.node(link.node);
            if link.levels_up > node.depth - 1 - top_depth {
                let name = self.path(link.node);
                let fault = EntryFault::LeadsOut(EntryName::of(&link.target));
                return Err(fault.of(name.as_os_str().as_bytes()));
            }
        }
        Ok(())
    }
}

impl What {
    fn folder(is_entry: bool) -> Self {
        Self::Folder {
            children: HashMap::new(),
            is_entry,
        }
    }
}
