//! The tree of an image's layers, as overlayfs would show it.
//!
//! Modes are reduced to executable or not; owners, times and attributes are omitted. Entries that runtimes cannot contain
//! are refused, unless the manifest's `drop` omits them.

use super::tar;
use crate::{
    error::Error,
    fs::paths,
    source::Dropped,
    tree::{Node, Tree, content::Content, link_path, relative},
};
use joblet_format::entries::{
    Budget, Entries, EntryError, Kind, MAX_ENTRIES, Section, TarEntry, member_path, shown,
};
use joblet_format::image::{self, Layer, There};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader},
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::Arc,
};

/// Directories that every job has of its own.
const OWN: [&str; 4] = ["dev", "proc", "sys", "work"];
/// Maximum number of names of each kind in a message.
const NAMED: usize = 3;

/// Entries of an image that runtimes cannot contain.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Number and first names of each kind.
    pub(crate) kinds: BTreeMap<Dropped, (usize, Vec<String>)>,
    /// Whether its `/work` is not empty.
    work: bool,
}

/// The tree of `layers`, the lowest first: a label for messages and a file each. Unpacked content is in unlinked
/// files in `spool_dir`.
///
/// # Errors
/// [`Error::Archive`] for a layer that violates a rule; [`Error::File`].
pub(crate) fn tree(layers: &[(String, &Path)], spool_dir: &Path) -> Result<(Tree, Found), Error> {
    let (mut tree, mut found, mut first) = (Tree::default(), Found::default(), true);
    let mut packed_size = 0;
    for (_, path) in layers {
        packed_size += paths::open(path)?.metadata().map_err(Error::file("read", *path))?.len();
    }
    let mut budget = Budget::for_size(packed_size, MAX_ENTRIES);
    let most = budget.bytes;
    for (label, path) in layers {
        let refused = |rule: String| Error::Archive { archive: label.clone(), rule };
        let mut packed = BufReader::with_capacity(1 << 20, paths::open(path)?);
        let suffix = match packed.fill_buf().map_err(Error::file("read", *path))? {
            [0x1f, 0x8b, ..] => ".gz",
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => ".zst",
            _ => "",
        };
        let spool = tar::spool(label, suffix, (packed, most), spool_dir, refused)?;
        let target = (&mut tree, &mut found, &mut budget);
        apply(target, &spool, first).map_err(refused)?;
        first = false;
    }
    found.work = tree.below("work").next().is_some();
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

/// Refuses `found` entries that are not `dropped`; returns notes on the others.
///
/// # Errors
/// [`Error::Archive`] with the first names of the first kind, and the key that drops them.
pub(crate) fn judge(found: &Found, dropped: &BTreeSet<Dropped>) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    for (kind, (count, names)) in &found.kinds {
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
    if found.work {
        notes.push("image: left out: the content of its /work: every job has its own".to_owned());
    }
    Ok(notes)
}

/// Applies the layer `spool` to the layers below; the `first` one has none below.
fn apply(
    (tree, found, budget): (&mut Tree, &mut Found, &mut Budget),
    spool: &Arc<File>,
    first: bool,
) -> Result<(), String> {
    let reason = |error| match error {
        EntryError::Refused(rule) => rule,
        EntryError::Read(error) => error.to_string(),
    };
    let mut layer = Layer::new(first);
    let source = spool.try_clone().and_then(Section::whole);
    let mut source = source.map_err(|error| error.to_string())?;
    let mut entries = Entries::new(&mut source);
    while let Some(entry) = entries.next_entry().map_err(reason)? {
        let content = |size| Content::stretch(spool.clone(), entries.position(), size);
        let content = if let Kind::File(size) = entry.kind { content(size) } else { content(0) };
        let mut adding = Adding { tree, found, entry: &entry };
        let path = member_path(&entry.name, entry.kind == Kind::Directory);
        let path = path.map_err(|rule| adding.fail(rule))?;
        budget.spend(&entry.kind).map_err(|rule| adding.fail(rule))?;
        let path = path.as_os_str().as_bytes();
        let Ok(text) = tar::utf8(path) else {
            adding.leave(Dropped::Names);
            continue;
        };
        if layer.admit(&mut adding, path, &entry.kind)? {
            adding.add(&text, content)?;
        }
    }
    Ok(())
}

/// The tree, and the entry that changes it.
struct Adding<'t> {
    tree: &'t mut Tree,
    found: &'t mut Found,
    entry: &'t TarEntry,
}

impl Adding<'_> {
    fn fail(&self, rule: &str) -> String {
        format!("{}: {rule}", shown(&self.entry.name))
    }

    /// Omits an entry of this kind.
    fn leave(&mut self, kind: Dropped) {
        let (count, names) = self.found.kinds.entry(kind).or_default();
        *count += 1;
        if names.len() < NAMED {
            names.push(format!("`{}`", String::from_utf8_lossy(&self.entry.name)));
        }
    }

    /// Adds the entry at `path`, which lower layers do not have any more.
    fn add(&mut self, path: &str, content: Content) -> Result<(), String> {
        let node = match &self.entry.kind {
            Kind::Directory => Node::Dir,
            Kind::Symlink(target) => match tar::utf8(target) {
                Ok(target) if target.is_empty() => return Err(self.fail("a link without a target")),
                Ok(target) => Node::Link(target),
                Err(_) => {
                    self.leave(Dropped::Names);
                    return Ok(());
                }
            },
            Kind::HardLink(target) => {
                let rule = |rule: &str| self.fail(&format!("hard link target: {rule}"));
                let first = member_path(target, false).map_err(rule)?;
                match first.to_str().and_then(|first| self.tree.get(first)) {
                    Some(node @ Node::File { .. }) => node.clone(),
                    _ => return Err(self.fail("a hard link to no earlier regular file")),
                }
            }
            Kind::File(_) => {
                if self.entry.mode & 0o6000 != 0 {
                    self.leave(Dropped::SetId);
                }
                Node::File { executable: self.entry.mode & 0o100 != 0, content }
            }
            Kind::Device | Kind::Fifo => {
                self.leave(Dropped::Devices);
                return Ok(());
            }
        };
        if path.is_empty() {
            return Ok(()); // the root itself
        }
        match (self.tree.get(path), &node) {
            (None, _) | (Some(Node::Dir), Node::Dir) => {}
            (Some(_), Node::Dir) => return Err(self.fail("a parent that is a link or a file")),
            (Some(_), _) => return Err(self.fail("the same path twice")),
        }
        self.tree.insert(path, node).map_err(|_| self.fail("a parent that is a link or a file"))
    }
}

impl image::Tree for Adding<'_> {
    type Error = String;

    fn there(&mut self, path: &[u8]) -> Result<There, String> {
        let node = std::str::from_utf8(path).ok().and_then(|path| self.tree.get(path));
        Ok(match node {
            None => There::Nothing,
            Some(Node::Dir) => There::Directory,
            Some(_) => There::Other,
        })
    }

    fn remove(&mut self, path: &[u8]) -> Result<(), String> {
        if let Ok(path) = std::str::from_utf8(path) {
            self.tree.remove_all(path);
        }
        Ok(())
    }

    fn names(&mut self, directory: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let Ok(directory) = std::str::from_utf8(directory) else { return Ok(Vec::new()) };
        Ok(self.tree.names(directory).map(|name| name.as_bytes().to_owned()).collect())
    }

    fn refuse(&self, rule: &str) -> String {
        self.fail(rule)
    }
}

#[cfg(test)]
mod tests;
