//! The entries of the archive's tar stream, in order, from a tree.

use crate::{
    error::Error,
    tree::{Node, Tree, content::Content},
};
use joblet_format::{
    index::{Body, Entry, Piece},
    ustar::{self, EntryKind, MAX_FILE},
};

/// The tar stream of an archive.
pub(super) struct Stream {
    /// The archive's one directory.
    pub(super) directory: String,
    /// Its entries: the directory itself first.
    pub(super) items: Vec<Item>,
}

/// One entry.
pub(super) struct Item {
    /// Path below the directory.
    pub(super) path: String,
    node: Node,
}

impl Stream {
    /// `directory/`, the tree as `directory/isolated/`, and `directory/runtime.yml`.
    ///
    /// # Errors
    /// [`Error::Check`] for a file that is too large for the format. Names that differ in case or in
    /// composition are two files on Linux.
    pub(super) fn new(directory: &str, tree: &Tree, runtime_yml: &str) -> Result<Self, Error> {
        let content = Content::from(runtime_yml.as_bytes().to_vec());
        let mut items = vec![
            Item { path: String::new(), node: Node::Dir },
            Item { path: "isolated".into(), node: Node::Dir },
        ];
        let below = tree.iter().map(|(path, node)| (format!("isolated/{path}"), node.clone()));
        items.extend(below.map(|(path, node)| Item { path, node }));
        // Depth-first order, which differs from the byte order of paths: there, `a.b` is between `a` and
        // `a/c`. Readers keep a directory open, and set its time when they leave it.
        items[2..].sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
        let runtime_yml = Node::File { executable: false, content };
        items.push(Item { path: "runtime.yml".into(), node: runtime_yml });
        let refuse = |reason| Error::Check { runtime: directory.to_owned(), reason };
        if let Some(item) = items.iter().find(|item| item.size() > MAX_FILE) {
            return Err(refuse(format!("`{}` is larger than {MAX_FILE} bytes", item.path)));
        }
        Ok(Self { directory: directory.to_owned(), items })
    }

    /// Sum of the lengths of the regular files, in bytes.
    pub(super) fn unpacked_size(&self) -> u64 {
        self.items.iter().map(Item::size).sum()
    }

    /// The header blocks of `item`.
    pub(super) fn headers(&self, item: &Item) -> Vec<u8> {
        ustar::headers(&self.directory, &item.path, item.kind())
    }

    /// Their length, in bytes.
    pub(super) fn headers_length(&self, item: &Item) -> u64 {
        ustar::headers_length(&self.directory, &item.path, item.kind()) as u64
    }
}

impl Item {
    /// Its content, if it is a file.
    pub(super) fn content(&self) -> Option<&Content> {
        match &self.node {
            Node::File { content, .. } => Some(content),
            Node::Dir | Node::Link(_) => None,
        }
    }

    /// Length of its body, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.content().map_or(0, Content::len)
    }

    /// Length of its body with padding, in bytes.
    pub(super) fn padded_size(&self) -> u64 {
        self.size() + ustar::padding(self.size())
    }

    /// Its entry in the index.
    pub(super) fn into_entry(self, pieces: Vec<Piece>) -> Entry {
        let body = match self.node {
            Node::Dir => Body::Directory,
            Node::File { executable, .. } => Body::File { executable, pieces },
            Node::Link(target) => Body::Symlink(target),
        };
        Entry { path: self.path, body }
    }

    fn kind(&self) -> EntryKind<'_> {
        match &self.node {
            Node::Dir => EntryKind::Directory,
            Node::File { executable, content } => {
                EntryKind::File { executable: *executable, size: content.len() }
            }
            Node::Link(target) => EntryKind::Symlink(target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_in_walking_order() {
        let mut tree = Tree::default();
        for path in ["a/c", "a.b", "a/b.c", "a/b/d"] {
            let content = path.as_bytes().to_vec().into();
            tree.insert(path, Node::File { executable: false, content }).unwrap();
        }
        let stream = Stream::new("d-1.0.0", &tree, "name: d\n").unwrap();
        let paths: Vec<_> = stream.items.iter().map(|item| item.path.as_str()).collect();
        let want = ["", "isolated", "isolated/a", "isolated/a/b", "isolated/a/b/d"];
        assert_eq!(paths[..5], want);
        assert_eq!(paths[5..], ["isolated/a/b.c", "isolated/a/c", "isolated/a.b", "runtime.yml"]);
        assert_eq!(stream.unpacked_size(), 3 + 3 + 5 + 5 + 8);
    }

    #[test]
    fn a_file_too_large_for_a_header_is_refused() {
        let spool = std::sync::Arc::new(tempfile::tempfile().unwrap());
        let content = Content::stretch(spool, 0, MAX_FILE + 1);
        let mut tree = Tree::default();
        tree.insert("big", Node::File { executable: false, content }).unwrap();
        let error = Stream::new("d-1.0.0", &tree, "").err().unwrap();
        assert_eq!(error.class().word(), "CHECK");
        let message = "d-1.0.0: `isolated/big` is larger than 8589934591 bytes";
        assert_eq!(error.to_string(), message);
    }
}
