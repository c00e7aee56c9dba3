//! Layers of an image → the tree that they make, as overlayfs would show it.
//!
//! Modes are reduced to executable or not; owners, times and attributes are left out. What no runtime may have is
//! refused, unless the manifest says that it is dropped.

use super::tar;
use crate::{
    error::Error,
    fs::paths,
    source::Dropped,
    tree::{Node, Tree, link_path, relative},
};
use ::tar::EntryType;
use joblet_format::image::{Change, change};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    path::Path,
};

/// What every job gets its own of: nothing of a runtime is there.
const OWN: [&str; 4] = ["dev", "proc", "sys", "work"];
/// Names that a message has of each kind.
const NAMED: usize = 3;

/// What of an image is not in a runtime: how often, and the first names.
pub(crate) type Found = BTreeMap<Dropped, (usize, Vec<String>)>;

/// The tree of `layers`, the lowest first: a label for messages and a file each. What has to be unpacked is in
/// nameless files in `spool_dir`.
///
/// # Errors
/// [`Error::Archive`] for a layer that breaks a rule; [`Error::File`].
pub(crate) fn tree(layers: &[(String, &Path)], spool_dir: &Path) -> Result<(Tree, Found), Error> {
    let (mut tree, mut found) = (Tree::default(), Found::new());
    for (label, path) in layers {
        let refused = |rule: String| Error::Archive { archive: label.clone(), rule };
        let mut packed = BufReader::with_capacity(1 << 20, paths::open(path)?);
        let suffix = match packed.fill_buf().map_err(Error::file("read", *path))? {
            [0x1f, 0x8b, ..] => ".gz",
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => ".zst",
            _ => "",
        };
        let spool = tar::spool(label, suffix, packed, spool_dir, refused)?;
        let mut layer = Layer { tree: &mut tree, found: &mut found, own: BTreeSet::new() };
        tar::entries(&spool, &mut |entry| layer.entry(entry)).map_err(refused)?;
    }
    for place in OWN {
        tree.remove_all(place);
    }
    let links: Vec<_> = tree
        .iter()
        .filter_map(|(path, node)| match node {
            Node::Link(target) => Some((path.to_owned(), target.clone())),
            _ => None,
        })
        .collect();
    for (path, target) in links {
        let target = relative(&path, &link_path(&path, &target));
        let refused = |rule| Error::Archive { archive: "the image".to_owned(), rule };
        tree.replace(&path, Node::Link(target)).map_err(refused)?;
    }
    Ok((tree, found))
}

/// Refuses what was `found` and is not to be `dropped`; what is said of the rest.
///
/// # Errors
/// [`Error::Archive`] with the first names of the first kind, and the key that drops them.
pub(crate) fn judge(found: &Found, dropped: &BTreeSet<Dropped>) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    for (kind, (count, names)) in found {
        let (key, what) = (kind.key(), kind.what());
        let names = names.join(", ");
        if !dropped.contains(kind) {
            let rule = format!(
                "{count} {what}, such as {names}: no runtime has any; leave them out with `drop: [{key}]` \
                 below `image`"
            );
            return Err(Error::Archive { archive: "the image".to_owned(), rule });
        }
        notes.push(format!("image: left out: {count} {what}, such as {names}"));
    }
    Ok(notes)
}

/// One layer over those below it.
struct Layer<'t> {
    tree: &'t mut Tree,
    found: &'t mut Found,
    /// The paths that it has brought, and the directories that lead to them.
    own: BTreeSet<String>,
}

impl Layer<'_> {
    fn entry(&mut self, entry: tar::Entry<'_>) -> Result<(), String> {
        let shown = String::from_utf8_lossy(entry.name).into_owned();
        let Ok(name) = tar::utf8(entry.name) else {
            self.leave(Dropped::Names, &shown);
            return Ok(());
        };
        let path = tar::normalized_name(&name)?;
        let fail = |rule: &str| format!("`{name}`: {rule}");
        let change = change(path.as_bytes()).map_err(fail)?;
        if change != Change::Add && entry.kind != EntryType::Regular {
            return Err(fail("a whiteout that is not a file"));
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match change {
            Change::Add => {}
            Change::Remove(parent, hidden) => {
                let (parent, hidden) = (text(parent), text(hidden));
                self.clear(&parent)?;
                let path = if parent.is_empty() { hidden } else { format!("{parent}/{hidden}") };
                self.hide(&path);
                return Ok(());
            }
            Change::Empty(directory) => {
                let directory = text(directory);
                self.clear(&directory)?;
                let below: Vec<_> = if directory.is_empty() {
                    self.tree.iter().map(|(path, _)| path.to_owned()).collect()
                } else {
                    self.tree.below(&directory).map(|(path, _)| path.to_owned()).collect()
                };
                for path in below.iter().filter(|path| !self.own.contains(*path)) {
                    self.tree.remove(path);
                }
                return Ok(());
            }
        }
        if path.is_empty() {
            return if entry.kind == EntryType::Directory {
                Ok(())
            } else {
                Err(fail("is not a name"))
            };
        }
        let target = || match entry.link {
            Some(target) if !target.is_empty() => Ok(target),
            _ => Err(fail("a link without a target")),
        };
        let node = match entry.kind {
            EntryType::Directory => Node::Dir,
            EntryType::Symlink => {
                let Ok(target) = tar::utf8(target()?) else {
                    self.leave(Dropped::Names, &shown);
                    return Ok(());
                };
                Node::Link(target)
            }
            EntryType::Link => {
                let first = tar::normalized_name(&tar::utf8(target()?)?)?;
                match self.tree.get(&first) {
                    Some(node @ Node::File { .. }) => node.clone(),
                    _ => return Err(fail(&format!("a hard link to `{first}`, no file before it"))),
                }
            }
            EntryType::Regular => {
                if entry.mode & 0o6000 != 0 {
                    self.leave(Dropped::SetId, &name);
                }
                Node::File { executable: entry.mode & 0o100 != 0, content: entry.content }
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.leave(Dropped::Devices, &name);
                return Ok(());
            }
            other => {
                return Err(fail(&format!("is of type `{}`", char::from(other.as_byte()))));
            }
        };
        self.add(&path, node)
    }

    /// Leaves out what is of this kind.
    fn leave(&mut self, kind: Dropped, name: &str) {
        let (count, names) = self.found.entry(kind).or_default();
        *count += 1;
        if names.len() < NAMED {
            names.push(format!("`{name}`"));
        }
    }

    /// Makes the directory `path` and those above it this layer's, in place of files and links of lower ones.
    fn clear(&mut self, path: &str) -> Result<(), String> {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for directory in ends.map(|end| &path[..end]).filter(|it| !it.is_empty()) {
            let there = self.tree.get(directory);
            match there {
                Some(Node::Dir) | None => {}
                Some(_) if self.own.contains(directory) => {
                    return Err(format!("`{path}` is below the link or file `{directory}`"));
                }
                Some(_) => self.tree.remove(directory),
            }
            self.own.insert(directory.to_owned());
        }
        Ok(())
    }

    fn add(&mut self, path: &str, node: Node) -> Result<(), String> {
        if matches!(node, Node::Dir) {
            self.clear(path)?;
        } else {
            self.clear(path.rsplit_once('/').map_or("", |(parent, _)| parent))?;
            if !self.own.insert(path.to_owned()) {
                return Err(format!("`{path}` is there twice"));
            }
            self.tree.remove_all(path);
        }
        self.tree.insert(path, node)
    }

    /// Takes away what lower layers have at `path` and below.
    fn hide(&mut self, path: &str) {
        let below: Vec<_> = self.tree.below(path).map(|(path, _)| path.to_owned()).collect();
        for path in below.iter().map(String::as_str).chain([path]) {
            if !self.own.contains(path) {
                self.tree.remove(path);
            }
        }
    }
}
