//! A root filesystem in memory: paths and kinds of its nodes, with the bytes of files in memory or in unlinked files.
//!
//! So no symlink of a package can redirect a write, umask and user have no effect, and a failed build leaves no
//! files. Only for the programs of it that a build runs ([`working_tree`], [`joblet_exec`]) it is written below a directory
//! of its own; they run as jobs.
//!
//! In: the members of packages, and a manifest. Out: one [`Tree`], assembled, repaired and checked.

mod accounts;
pub mod assemble;
mod cacerts;
pub mod content;
pub mod elf_gate;
pub mod finish;
pub mod fixups;
pub mod joblet_exec;
pub mod ld_cache;
mod pattern;
pub mod pyc;
pub mod runtime_yml;
pub mod scripts;
pub mod working_tree;

use crate::tree::content::Content;
use std::{collections::BTreeMap, sync::Arc};

/// Maximum number of symlinks followed to resolve a path, as in Linux.
const MAX_LINKS: u32 = 40;

/// A file, directory or symlink.
#[derive(Debug, Clone)]
pub enum Node {
    /// A directory.
    Dir,
    /// A regular file, and whether it can be executed.
    File {
        /// Mode 0755 if so, else 0644.
        executable: bool,
        /// Its bytes.
        content: Content,
    },
    /// A symbolic link: the text of its target.
    Link(String),
}

/// One member of a package: its path without a leading slash or `./`.
#[derive(Debug)]
pub struct Member {
    /// Its path: relative, normalized, UTF-8.
    pub path: String,
    /// The node; symlinks have the target of the package.
    pub node: Node,
}

/// A root filesystem: nodes by paths without a leading slash, in byte order, so that directories precede their
/// entries.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
    /// The input of each file or symlink, by path.
    origins: BTreeMap<String, Arc<str>>,
}

impl Tree {
    /// The node at `path`, without following a symlink.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Everything, in byte order of the paths.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// All nodes below the directory `dir`, with full paths.
    pub fn below(&self, dir: &str) -> impl Iterator<Item = (&str, &Node)> {
        let prefix = format!("{dir}/");
        let range = self.nodes.range(prefix.clone()..).map(|(path, node)| (path.as_str(), node));
        range.take_while(move |(path, _)| path.starts_with(&prefix))
    }

    /// Names of what is in the directory `dir`; the root is the empty text.
    pub fn names(&self, dir: &str) -> impl Iterator<Item = &str> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let range = self.nodes.range(prefix.clone()..).map(|(path, _)| path.as_str());
        let inside = range.map_while(move |path| path.strip_prefix(&prefix));
        inside.filter(|name| !name.contains('/'))
    }

    /// Adds a node, and the directories above it.
    ///
    /// # Errors
    /// The violated rule: a parent is a symlink or a file, or the path has another node. Equal
    /// symlinks and directories may be inserted twice.
    pub fn insert(&mut self, path: &str, node: Node) -> Result<(), String> {
        self.make_parents(path)?;
        match (self.nodes.get(path), &node) {
            (None, _) => {}
            (Some(Node::Dir), Node::Dir) => return Ok(()),
            (Some(Node::Link(old)), Node::Link(new)) if old == new => return Ok(()),
            (Some(Node::Link(_)), Node::Dir) if self.is_dir(path) => return Ok(()),
            (Some(old), new) => {
                return Err(format!("`{path}` is a {} and a {}", kind(old), kind(new)));
            }
        }
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    /// Adds a file or symlink, or replaces the existing one.
    ///
    /// # Errors
    /// As [`Tree::insert`]; a directory is not replaced.
    pub fn replace(&mut self, path: &str, node: Node) -> Result<(), String> {
        let leaf = |node: &Node| !matches!(node, Node::Dir);
        if leaf(&node) && self.nodes.get(path).is_some_and(leaf) {
            self.remove(path);
        }
        self.insert(path, node)
    }

    /// Adds a node if the path has none.
    ///
    /// # Errors
    /// As [`Tree::insert`].
    pub(crate) fn insert_if_absent(&mut self, path: &str, node: Node) -> Result<(), String> {
        if self.nodes.contains_key(path) { Ok(()) } else { self.insert(path, node) }
    }

    /// Removes one node.
    pub fn remove(&mut self, path: &str) {
        self.nodes.remove(path);
        self.origins.remove(path);
    }

    /// Removes a node and all nodes below it.
    pub(crate) fn remove_all(&mut self, path: &str) {
        let below: Vec<_> = self.below(path).map(|(path, _)| path.to_owned()).collect();
        for path in below.iter().map(String::as_str).chain([path]) {
            self.remove(path);
        }
    }

    /// Sets the input that the file or symlink at `path` is from.
    pub(crate) fn set_origin(&mut self, path: String, origin: Arc<str>) {
        self.origins.insert(path, origin);
    }

    /// The input that the file or symlink at `path` is from; `None` if the build made it.
    pub fn origin(&self, path: &str) -> Option<&str> {
        self.origins.get(path).map(AsRef::as_ref)
    }

    fn make_parents(&mut self, path: &str) -> Result<(), String> {
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            match self.nodes.get(parent) {
                Some(Node::Dir) => {}
                Some(other) => {
                    return Err(format!("`{path}` is below the {} `{parent}`", kind(other)));
                }
                None => {
                    self.nodes.insert(parent.to_owned(), Node::Dir);
                }
            }
        }
        Ok(())
    }

    /// Resolves the symlinks in `path`. `None` if it does not exist.
    ///
    /// `..` stops at the root, as in a chroot. The root itself is the empty string.
    pub fn resolve(&self, path: &str) -> Option<String> {
        let mut todo: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let (mut here, mut links) = (String::new(), 0);
        while let Some(part) = todo.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    here.truncate(here.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = if here.is_empty() { part } else { format!("{here}/{part}") };
            match self.nodes.get(&next)? {
                Node::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    if target.starts_with('/') {
                        here.clear();
                    }
                    todo.extend(target.split('/').rev().map(str::to_owned));
                }
                // A path below a file does not exist: no key is below one.
                Node::Dir | Node::File { .. } => here = next,
            }
        }
        Some(here)
    }

    /// The file that `path` resolves to.
    pub fn file(&self, path: &str) -> Option<(bool, &Content)> {
        match self.nodes.get(&self.resolve(path)?)? {
            Node::File { executable, content } => Some((*executable, content)),
            Node::Dir | Node::Link(_) => None,
        }
    }

    /// Whether `path` resolves to a directory.
    pub fn is_dir(&self, path: &str) -> bool {
        self.resolve(path)
            .is_some_and(|path| path.is_empty() || matches!(self.nodes.get(&path), Some(Node::Dir)))
    }
}

/// The type of a node, for messages.
fn kind(node: &Node) -> &'static str {
    match node {
        Node::Dir => "directory",
        Node::File { .. } => "file",
        Node::Link(_) => "link",
    }
}

/// The path that a symlink at `link` with this `target` refers to, without resolving others. `..` stops at the root.
pub(crate) fn link_path(link: &str, target: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    if !target.starts_with('/') {
        parts.extend(link.split('/'));
        parts.pop();
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(), // nothing above the root
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The relative target of a symlink at `link` to `path`.
pub fn relative(link: &str, path: &str) -> String {
    let mut from: Vec<&str> = link.split('/').collect();
    from.pop();
    let to: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    // A symlink to its own directory has the target `.`.
    let mut parts = vec![".."; from.len() - common];
    parts.extend(&to[common..]);
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Node {
        Node::File { executable: false, content: b"x".to_vec().into() }
    }

    fn tree(links: &[(&str, &str)], files: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for (link, target) in links {
            tree.insert(link, Node::Link((*target).into())).unwrap();
        }
        for path in files {
            tree.insert(path, file()).unwrap();
        }
        tree
    }

    #[test]
    fn nothing_is_written_through_or_over() {
        let mut tree = tree(&[("bin", "usr/bin"), ("out", "../..")], &["usr/bin/sh"]);
        for (path, node, rule) in [
            ("bin/sh", file(), "`bin/sh` is below the link `bin`"),
            ("out/etc/x", file(), "`out/etc/x` is below the link `out`"),
            ("usr/bin/sh/x", file(), "`usr/bin/sh/x` is below the file `usr/bin/sh`"),
            ("usr/bin/sh", file(), "`usr/bin/sh` is a file and a file"),
            ("usr/bin", Node::Link("x".into()), "`usr/bin` is a directory and a link"),
            ("bin", Node::Link("x".into()), "`bin` is a link and a link"),
            ("usr/bin/sh", Node::Dir, "`usr/bin/sh` is a file and a directory"),
        ] {
            assert_eq!(tree.insert(path, node).unwrap_err(), rule);
        }
        tree.insert("bin", Node::Dir).unwrap();
        tree.insert("bin", Node::Link("usr/bin".into())).unwrap();
        tree.replace("usr/bin/sh", Node::Link("bash".into())).unwrap();
        assert!(tree.replace("usr/bin", file()).is_err());
        assert!(matches!(tree.get("bin"), Some(Node::Link(_))));
    }

    #[test]
    fn links_are_followed_inside() {
        let links = [
            ("bin", "usr/bin"),
            ("usr/bin/sh", "dash"),
            ("etc/top", "../../../usr/bin/sh"),
            ("abs", "/bin/sh"),
            ("loop", "loop"),
            ("gone", "nowhere"),
            ("usr/up", ".."),
        ];
        let tree = tree(&links, &["usr/bin/dash"]);
        for (path, want) in [
            ("bin/sh", Some("usr/bin/dash")),
            ("etc/top", Some("usr/bin/dash")),
            ("abs", Some("usr/bin/dash")),
            ("usr/up/bin", Some("usr/bin")),
            ("usr/up", Some("")),
            ("loop", None),
            ("gone", None),
            ("bin/dash/x", None),
        ] {
            assert_eq!(tree.resolve(path).as_deref(), want, "{path}");
        }
        assert!(tree.is_dir("usr/up") && !tree.is_dir("abs"));
    }

    #[test]
    fn link_texts() {
        for (link, target, path, text) in [
            ("usr/bin/awk", "gawk", "usr/bin/gawk", "gawk"),
            ("etc/mtab", "/proc/mounts", "proc/mounts", "../proc/mounts"),
            ("usr/lib64/ld.so", "/usr/lib/a/ld.so", "usr/lib/a/ld.so", "../lib/a/ld.so"),
            ("a/b", "../../../../etc/passwd", "etc/passwd", "../etc/passwd"),
            ("a/b", ".", "a", "."),
            ("a/b", "..", "", ".."),
            ("a/b/c", "..", "a", ".."),
        ] {
            assert_eq!(link_path(link, target), path, "{link} -> {target}");
            assert_eq!(relative(link, path), text, "{link} -> {target}");
        }
    }
}
