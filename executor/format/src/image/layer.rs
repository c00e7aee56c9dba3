//! Application of a layer to the layers below it, with the result of overlayfs.
//!
//! Entries of a layer replace those of lower layers at the same path; directories are merged. A whiteout removes
//! entries of lower layers, never of its own, whatever their order. The tree is on disk or in memory, as the
//! caller implements [`Tree`].

use crate::entries::Kind;
use std::collections::BTreeSet;

/// Prefix of whiteouts' names. Part of the format.
const WHITEOUT: &[u8] = b".wh.";
/// Name of an opaque whiteout, which hides the entries of lower layers in its directory. Part of the format.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The type of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    /// It does not exist, or a parent is not a directory.
    Nothing,
    /// A directory.
    Directory,
    /// A file or a link.
    Other,
}

/// The tree of the lower layers, and of the current one so far.
///
/// Paths are relative and normalized, the root is empty; symlinks are not followed.
pub trait Tree {
    /// The error type.
    type Error;

    /// The type of `path`.
    ///
    /// # Errors
    /// Of reading the tree.
    fn there(&mut self, path: &[u8]) -> Result<There, Self::Error>;

    /// Removes `path`, with everything below it; it need not exist.
    ///
    /// # Errors
    /// Of changing the tree.
    fn remove(&mut self, path: &[u8]) -> Result<(), Self::Error>;

    /// The names in `directory`; none if it is not a directory.
    ///
    /// # Errors
    /// Of reading the tree.
    fn names(&mut self, directory: &[u8]) -> Result<Vec<Vec<u8>>, Self::Error>;

    /// The error for the current entry, which violates this rule.
    fn refuse(&self, rule: &str) -> Self::Error;
}

/// A layer that is being applied.
#[derive(Debug)]
pub struct Layer {
    first: bool,
    /// The paths of its entries so far, and their parents.
    own: BTreeSet<Vec<u8>>,
}

impl Layer {
    /// Begins a layer. The `first` one has no layer below it.
    pub fn new(first: bool) -> Self {
        Self { first, own: BTreeSet::new() }
    }

    /// Prepares `tree` for the entry at `path`, or applies it if it is a whiteout. Returns whether to add it.
    ///
    /// If the path still exists then, it is of this layer: only a directory may occur twice.
    ///
    /// # Errors
    /// A rule that its name violates; those of `tree`.
    pub fn admit<T: Tree>(
        &mut self,
        tree: &mut T,
        path: &[u8],
        kind: &Kind,
    ) -> Result<bool, T::Error> {
        let change = change(path).map_err(|rule| tree.refuse(rule))?;
        if change != Change::Add && !matches!(kind, Kind::File(_)) {
            return Err(tree.refuse("a whiteout that is not a file"));
        }
        // Some images contain device nodes; every job has its own /dev.
        if matches!(kind, Kind::Device | Kind::Fifo) && path.starts_with(b"dev/") {
            return Ok(false);
        }
        if self.first {
            return Ok(change == Change::Add);
        }
        match change {
            Change::Add if *kind == Kind::Directory => self.clear(tree, path)?,
            Change::Add => {
                self.clear(tree, split(path).0)?;
                if self.own.insert(path.to_owned()) {
                    tree.remove(path)?;
                }
            }
            Change::Remove(parent, name) => {
                if self.enters(tree, parent)? {
                    self.hide(tree, &join(parent, name))?;
                }
            }
            // The specification hides all; a mount of overlayfs hides nothing at its root.
            Change::Empty([]) => return Err(tree.refuse("a whiteout of everything")),
            Change::Empty(directory) => {
                if self.enters(tree, directory)? {
                    self.hide_below(tree, directory)?;
                }
            }
        }
        Ok(change == Change::Add)
    }

    /// Removes files and links of lower layers that are directories in this layer: at `path` and above.
    fn clear<T: Tree>(&mut self, tree: &mut T, path: &[u8]) -> Result<(), T::Error> {
        for directory in ancestors(path) {
            // If this layer has a link or a file there, adding an entry below it is refused.
            if self.own.contains(directory) {
                continue;
            }
            if tree.there(directory)? == There::Other {
                tree.remove(directory)?;
            }
            self.own.insert(directory.to_owned());
        }
        Ok(())
    }

    /// Whether entries in `directory` can be removed: not if this layer has replaced it by a file or a link. A symlink of
    /// a lower layer is followed by some container engines and replaced by a directory by others.
    fn enters<T: Tree>(&self, tree: &mut T, directory: &[u8]) -> Result<bool, T::Error> {
        for above in ancestors(directory) {
            if tree.there(above)? == There::Other {
                if self.own.contains(above) {
                    return Ok(false);
                }
                return Err(tree.refuse("a parent that is a link or a file"));
            }
        }
        Ok(true)
    }

    /// Removes `path` of lower layers.
    fn hide<T: Tree>(&self, tree: &mut T, path: &[u8]) -> Result<(), T::Error> {
        if self.own.contains(path) { self.hide_below(tree, path) } else { tree.remove(path) }
    }

    /// Removes the entries of lower layers in the directory `path`.
    fn hide_below<T: Tree>(&self, tree: &mut T, path: &[u8]) -> Result<(), T::Error> {
        let names = tree.names(path)?;
        names.iter().try_for_each(|name| self.hide(tree, &join(path, name)))
    }
}

/// The effect of an entry of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change<'p> {
    /// It is added, or replaces the entry of lower layers at its path.
    Add,
    /// It removes this name in this directory of lower layers.
    Remove(&'p [u8], &'p [u8]),
    /// It removes all entries of lower layers in this directory.
    Empty(&'p [u8]),
}

/// The effect of the entry at `path`, which is relative, normalized, and without a trailing slash.
///
/// # Errors
/// The violated rule.
fn change(path: &[u8]) -> Result<Change<'_>, &'static str> {
    let (parent, name) = split(path);
    if parent.split(|&byte| byte == b'/').any(|part| part.starts_with(WHITEOUT)) {
        return Err("a name below a whiteout");
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Change::Add),
        Some(_) if name == OPAQUE => Ok(Change::Empty(parent)),
        Some(b"" | b"." | b"..") => Err("a whiteout of nothing"),
        Some(hidden) if hidden.starts_with(WHITEOUT) => Err("a name that only AUFS knows"),
        Some(hidden) => Ok(Change::Remove(parent, hidden)),
    }
}

/// Splits `path` into directory and name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let at = path.iter().rposition(|&byte| byte == b'/');
    at.map_or((&[], path), |at| (&path[..at], &path[at + 1..]))
}

/// The parents of `path`, the uppermost first, and `path`; empty for the root.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = (0..path.len()).filter(|&at| path[at] == b'/').chain([path.len()]);
    ends.filter(|&end| end > 0).map(|end| &path[..end])
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
    [directory, slash, name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts() {
        for (path, want) in [
            ("usr/bin/x", Ok(Change::Add)),
            ("a/b.wh.c", Ok(Change::Add)),
            (".wh.x", Ok(Change::Remove(b"", b"x"))),
            ("a/b/.wh.x", Ok(Change::Remove(b"a/b", b"x"))),
            ("a/.wh..hidden", Ok(Change::Remove(b"a", b".hidden"))),
            ("a/.wh..wh..opq", Ok(Change::Empty(b"a"))),
            (".wh..wh..opq", Ok(Change::Empty(b""))),
            ("a/.wh.", Err("a whiteout of nothing")),
            ("a/.wh..", Err("a whiteout of nothing")),
            ("a/.wh...", Err("a whiteout of nothing")),
            ("a/.wh..wh.plnk", Err("a name that only AUFS knows")),
            ("a/.wh.b/c", Err("a name below a whiteout")),
        ] {
            assert_eq!(change(path.as_bytes()), want, "{path}");
        }
    }
}
