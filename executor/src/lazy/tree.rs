//! The entries of an index as nodes of a file system, with names and attributes. No I/O.

use super::protocol::{Attributes, ROOT};
use crate::runtime::Source;
use joblet_format::index::{Body, Entry, Index};
use joblet_format::ustar::MTIME;
use rustix::io::Errno;

/// Modes of directories, symlinks and files, as set by an installation.
const DIRECTORY: u32 = 0o040_755;
const SYMLINK: u32 = 0o120_777;
const FILE: u32 = 0o100_644;
const EXECUTABLE: u32 = 0o100_755;
/// Maximum number of symlinks followed to resolve a path, as in Linux.
const MAX_LINKS: u32 = 40;

/// A tree. The node ID of an entry is its index plus [`ROOT`].
#[derive(Debug)]
pub(super) struct Tree<'a> {
    index: &'a Index,
    /// Parent of each entry; the root is its own parent.
    parents: Vec<usize>,
    /// The entries of all directories, concatenated, and the offset of each directory's entries.
    children: Vec<usize>,
    starts: Vec<usize>,
    owner: (u32, u32),
}

impl<'a> Tree<'a> {
    /// The tree of `index`, whose files belong to `owner`.
    pub(super) fn new(index: &'a Index, owner: (u32, u32)) -> Self {
        let entries = index.entries();
        let (mut parents, mut open): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
        for (number, entry) in entries.iter().enumerate() {
            let above = entry.path.rsplit_once('/').map_or("", |(above, _)| above);
            // The innermost open directory with this path: a directory precedes its entries.
            while open.last().is_some_and(|last| *last > 0 && entries[*last].path != above) {
                open.pop();
            }
            parents.push(open.last().copied().unwrap_or_default());
            if entry.body == Body::Directory {
                open.push(number);
            }
        }
        let mut starts = vec![0; entries.len() + 1];
        for parent in &parents[1..] {
            starts[parent + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let (mut children, mut next) = (vec![0; entries.len() - 1], starts.clone());
        for (number, parent) in parents.iter().enumerate().skip(1) {
            children[next[*parent]] = number;
            next[*parent] += 1;
        }
        Self { index, parents, children, starts, owner }
    }

    /// The index of a node's entry.
    pub(super) fn entry_of(&self, node: u64) -> Result<usize, Errno> {
        let number = node.checked_sub(ROOT).and_then(|number| usize::try_from(number).ok());
        number.filter(|number| *number < self.parents.len()).ok_or(Errno::STALE)
    }

    /// Number of nodes.
    pub(super) fn count(&self) -> u64 {
        self.parents.len() as u64
    }

    /// Total size of its files, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.index.unpacked_size()
    }

    /// Whether an entry is a regular file.
    pub(super) fn is_file(&self, number: usize) -> bool {
        matches!(self.entry(number).body, Body::File { .. })
    }

    /// The entry with this index.
    pub(super) fn entry(&self, number: usize) -> &'a Entry {
        &self.index.entries()[number]
    }

    /// The name of an entry in its directory.
    pub(super) fn name(&self, number: usize) -> &'a str {
        let path = &self.entry(number).path;
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }

    /// The entries of a directory, in the order of names.
    pub(super) fn children(&self, number: usize) -> &[usize] {
        &self.children[self.starts[number]..self.starts[number + 1]]
    }

    /// The parent of an entry.
    pub(super) fn parent(&self, number: usize) -> usize {
        self.parents[number]
    }

    /// Finds a name in a directory.
    pub(super) fn lookup(&self, number: usize, name: &[u8]) -> Option<usize> {
        let all = self.children(number);
        let found = all.binary_search_by(|child| self.name(*child).as_bytes().cmp(name));
        found.ok().map(|at| all[at])
    }

    /// The attributes of an entry.
    pub(super) fn attributes(&self, number: usize) -> Attributes {
        let (mode, size, links) = match &self.entry(number).body {
            Body::Directory => {
                let inside = self.children(number).iter();
                let below = inside.filter(|child| self.entry(**child).body == Body::Directory);
                (DIRECTORY, 4096, 2 + u32::try_from(below.count()).unwrap_or_default())
            }
            Body::Symlink(target) => (SYMLINK, target.len() as u64, 1),
            Body::File { executable: false, .. } => (FILE, self.entry(number).size(), 1),
            Body::File { executable: true, .. } => (EXECUTABLE, self.entry(number).size(), 1),
        };
        let (uid, gid) = self.owner;
        Attributes { node: number as u64 + ROOT, size, mtime: MTIME, mode, links, uid, gid }
    }

    /// Resolves `path` within the tree, like [`crate::runtime::load_open`].
    ///
    /// # Errors
    /// `EXDEV` if a symlink leads out of the tree, `ELOOP`, `ENOTDIR`.
    pub(super) fn source(&self, path: &str, look_inside: bool) -> Result<Source, Errno> {
        let (mut at, mut links) = (0, 0);
        let mut rest: Vec<&str> = path.rsplit('/').collect();
        while let Some(part) = rest.pop() {
            if part.is_empty() || part == "." {
                continue;
            }
            if self.entry(at).body != Body::Directory {
                return Err(Errno::NOTDIR);
            }
            if part == ".." {
                if at == 0 {
                    return Err(Errno::XDEV);
                }
                at = self.parent(at);
                continue;
            }
            let Some(child) = self.lookup(at, part.as_bytes()) else { return Ok(Source::Missing) };
            let Body::Symlink(target) = &self.entry(child).body else {
                at = child;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            if target.starts_with('/') {
                return Err(Errno::XDEV);
            }
            rest.extend(target.rsplit('/'));
        }
        Ok(match self.entry(at).body {
            Body::Directory if look_inside && self.children(at).is_empty() => {
                Source::Empty(DIRECTORY & 0o7777)
            }
            Body::Directory => Source::Directory,
            _ => Source::File,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use joblet_format::index::Member;

    fn index() -> Index {
        let entry = |(path, body): (&str, Body)| Entry { path: path.into(), body };
        let file = || Body::File { executable: false, pieces: Vec::new() };
        let link = |target: &str| Body::Symlink(target.into());
        let entries = [
            ("", Body::Directory),
            ("a", Body::Directory),
            ("a/b", Body::Directory),
            ("a/b/c", file()),
            ("a/d", Body::Directory),
            ("a-b", file()),
            ("l", link("a/b")),
            ("loop", link("loop")),
            ("out", link("/etc")),
            ("up", link("a/../../x")),
        ];
        let entries: Vec<_> = entries.into_iter().map(entry).collect();
        let length: usize = entries.iter().map(|entry| entry.headers("demo-1.0.0").len()).sum();
        let unpacked = u32::try_from(length + 1024).unwrap();
        let member = Member { length: 100, unpacked, sha256: [0; 32] };
        Index::new("demo-1.0.0".into(), vec![member], entries).unwrap()
    }

    /// SEC-F07
    #[test]
    fn every_entry_is_found_in_its_directory() {
        let index = index();
        let tree = Tree::new(&index, (7, 8));
        for number in 1..index.entries().len() {
            let parent = tree.parent(number);
            assert_eq!(tree.lookup(parent, tree.name(number).as_bytes()), Some(number));
        }
        let names =
            |number| tree.children(number).iter().map(|it| tree.name(*it)).collect::<Vec<_>>();
        assert_eq!(names(0), ["a", "a-b", "l", "loop", "out", "up"]);
        assert_eq!(names(1), ["b", "d"]);
        assert_eq!((names(4), tree.lookup(0, b"b")), (vec![], None));
        let top = tree.attributes(0);
        assert_eq!((top.node, top.mode, top.links, top.uid, top.gid), (1, 0o040_755, 3, 7, 8));
        assert_eq!(tree.entry_of(11), Err(Errno::STALE));
        assert_eq!(tree.entry_of(0), Err(Errno::STALE));
    }

    #[test]
    fn sources_are_resolved_as_on_disk() {
        let index = index();
        let tree = Tree::new(&index, (0, 0));
        for (path, want) in [
            ("a", Ok(Source::Directory)),
            ("l", Ok(Source::Directory)),
            ("l/c", Ok(Source::File)),
            ("a/./d/../b/c", Ok(Source::File)),
            ("a/d", Ok(Source::Empty(0o755))),
            ("no", Ok(Source::Missing)),
            ("a-b/x", Err(Errno::NOTDIR)),
            ("loop", Err(Errno::LOOP)),
            ("out", Err(Errno::XDEV)),
            ("up", Err(Errno::XDEV)),
        ] {
            assert_eq!(tree.source(path, true), want, "{path}");
        }
    }
}
