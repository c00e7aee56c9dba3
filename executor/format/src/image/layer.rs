//! One layer over those below it, as a mount of overlayfs would show them.
//!
//! What a layer brings replaces what is at its path; directories are joined. A whiteout takes away what lower
//! layers have, never what its own layer brings, wherever it stands in it. Whether the tree is on a disk or in
//! memory is the caller's: [`Tree`].

use crate::entries::Kind;
use std::collections::BTreeSet;

/// First bytes of the names that take something away. Part of the format.
const WHITEOUT: &[u8] = b".wh.";
/// The name that hides what lower layers have in its directory. Part of the format.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    /// Nothing, or a parent is not a directory.
    Nothing,
    /// A directory.
    Directory,
    /// A file or a link.
    Other,
}

/// What lower layers have made, and the current one so far.
///
/// Paths are relative and normal, the root is empty; no link is followed.
pub trait Tree {
    /// Why something could not be done.
    type Error;

    /// What is at `path`.
    ///
    /// # Errors
    /// Of reading the tree.
    fn there(&mut self, path: &[u8]) -> Result<There, Self::Error>;

    /// Takes away what is at `path`, with all that is in it; nothing may be there.
    ///
    /// # Errors
    /// Of changing the tree.
    fn remove(&mut self, path: &[u8]) -> Result<(), Self::Error>;

    /// Names of what is in `directory`; none if it is not one.
    ///
    /// # Errors
    /// Of reading the tree.
    fn names(&mut self, directory: &[u8]) -> Result<Vec<Vec<u8>>, Self::Error>;

    /// The refusal of the current entry for this rule.
    fn refuse(&self, rule: &str) -> Self::Error;
}

/// A layer that is being applied.
#[derive(Debug)]
pub struct Layer {
    first: bool,
    /// The paths that it has brought, and the directories that lead to them.
    own: BTreeSet<Vec<u8>>,
}

impl Layer {
    /// Begins a layer. The `first` one has nothing below it.
    pub fn new(first: bool) -> Self {
        Self { first, own: BTreeSet::new() }
    }

    /// Makes room in `tree` for the entry at `path`, or does what its name says; whether it is to be added then.
    ///
    /// What is still at its path is of this layer: a directory may be there twice, nothing else.
    ///
    /// # Errors
    /// A rule that its name breaks; those of `tree`.
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
        // Every job has a /dev of its own: nodes there are nothing to it, and some images bring them.
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

    /// Takes files and links of lower layers away where this layer has directories: at `path` and above.
    fn clear<T: Tree>(&mut self, tree: &mut T, path: &[u8]) -> Result<(), T::Error> {
        for directory in ancestors(path) {
            // An own one that is a link or a file is refused when something is put into it.
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

    /// Whether there is something to be taken away in `directory`: not in what the layer has put a file or a link in
    /// the place of. A link of a lower layer some engines would follow, and others put a directory in its place.
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

    /// Takes away what lower layers have at `path`.
    fn hide<T: Tree>(&self, tree: &mut T, path: &[u8]) -> Result<(), T::Error> {
        if self.own.contains(path) { self.hide_below(tree, path) } else { tree.remove(path) }
    }

    /// Takes away what lower layers have in the directory `path`.
    fn hide_below<T: Tree>(&self, tree: &mut T, path: &[u8]) -> Result<(), T::Error> {
        let names = tree.names(path)?;
        names.iter().try_for_each(|name| self.hide(tree, &join(path, name)))
    }
}

/// What an entry of a layer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change<'p> {
    /// It adds what it is, or replaces what lower layers have at its path.
    Add,
    /// It takes away what lower layers have at the path of this directory and name.
    Remove(&'p [u8], &'p [u8]),
    /// It takes away what lower layers have in this directory.
    Empty(&'p [u8]),
}

/// What the entry at `path` does: relative, normal, without a slash at its end.
///
/// # Errors
/// The rule that the name breaks.
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

/// The directory of `path`, and its name there.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let at = path.iter().rposition(|&byte| byte == b'/');
    at.map_or((&[], path), |at| (&path[..at], &path[at + 1..]))
}

/// The directories that lead to `path`, the uppermost first, and itself; nothing for the root.
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
    fn names_that_take_away() {
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
