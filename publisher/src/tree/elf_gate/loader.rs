//! The loader's search for libraries, ld.so(8).

use super::{
    interpreters,
    object::{self, Needs},
};
use crate::{
    error::Error,
    tree::{Node, Tree, ld_cache},
};
use joblet_format::Arch;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of libraries that are followed.
const MAX_LIBRARIES: usize = 2000;

/// The loader of a tree.
pub(super) struct Loader<'t> {
    tree: &'t Tree,
    arch: Arch,
    /// Its default and configured directories.
    dirs: Vec<String>,
    /// File name → the path of a file of that name, in any directory.
    names: BTreeMap<&'t str, &'t str>,
}

impl<'t> Loader<'t> {
    /// Reads the configuration of the loader.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn new(tree: &'t Tree, arch: Arch) -> Result<Self, Error> {
        let leads = |path: &str, node: &Node| match node {
            Node::File { .. } => true,
            Node::Link(_) => tree.file(path).is_some(),
            Node::Dir => false,
        };
        let nodes = tree.iter().filter(|(path, node)| leads(path, node));
        let names =
            nodes.map(|(path, _)| (path.rsplit('/').next().unwrap_or(path), path)).collect();
        Ok(Self { tree, arch, dirs: ld_cache::directories(tree, arch)?, names })
    }

    /// The path of a file of that name in any directory.
    pub(super) fn place(&self, library: &str) -> Option<&'t str> {
        self.names.get(library).copied()
    }

    /// Whether the object at `path` is an optional part of a Debian package: neither a program that users call by name
    /// nor in a directory of the loader. Required libraries are dependencies of the package.
    pub(super) fn is_plugin(&self, path: &str) -> bool {
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        let looked = self.dirs.iter().any(|it| self.tree.resolve(it).as_deref() == Some(dir));
        let debian = self.tree.origin(path).is_some_and(crate::tree::assemble::is_deb);
        debian && !looked && !interpreters::is_program(path)
    }

    /// Whether the object at `path` is a library of a Debian package.
    pub(super) fn is_library(&self, path: &str) -> bool {
        let debian = self.tree.origin(path).is_some_and(crate::tree::assemble::is_deb);
        debian && is_shared_object(path)
    }

    /// The libraries needed by the object at `path` that the loader would not find.
    ///
    /// For a program that users call, the libraries of its libraries are included. Any other object is loaded by a program
    /// that may have loaded its libraries before, by their paths (as Python's wheels do), or has set a search path: there a
    /// file of that name in any directory is enough.
    pub(super) fn missing(&self, path: &str, needs: &Needs) -> Vec<String> {
        if !interpreters::is_program(path) || needs.interpreter.is_none() {
            let absent = |library: &&String| {
                !self.names.contains_key(library.as_str())
                    && self.find(path, needs, &[], library).is_none()
            };
            return needs.libraries.iter().filter(absent).cloned().collect();
        }
        let (mut missing, mut seen) = (Vec::new(), BTreeSet::new());
        // Each with the RPATHs inherited from the objects that load it.
        let mut todo = vec![(path.to_owned(), None, Vec::new())];
        while let Some((path, read, inherited)) = todo.pop() {
            let needs: &Needs = read.as_ref().unwrap_or(needs);
            for library in &needs.libraries {
                if seen.len() > MAX_LIBRARIES || !seen.insert(library.clone()) {
                    continue;
                }
                let Some(place) = self.find(&path, needs, &inherited, library) else {
                    missing.push(library.clone());
                    continue;
                };
                let mut passed_on = inherited.clone();
                if needs.runpaths.is_empty() {
                    passed_on.extend(absolute(&path, &needs.rpaths));
                }
                let content = self.tree.file(&place).map(|(_, content)| content);
                if let Some(Ok(Some(Ok(needs)))) = content.map(|it| object::read(it, self.arch)) {
                    todo.push((place, Some(needs), passed_on));
                }
            }
        }
        missing
    }

    /// The path at which the loader finds `library` for the object at `path`.
    fn find(
        &self,
        path: &str,
        needs: &Needs,
        inherited: &[String],
        library: &str,
    ) -> Option<String> {
        if library.contains('/') {
            return self.tree.file(library).and_then(|_| self.tree.resolve(library));
        }
        let own = if needs.runpaths.is_empty() { &needs.rpaths } else { &needs.runpaths };
        let inherited = if needs.runpaths.is_empty() { inherited } else { &[] };
        let dirs = absolute(path, own).into_iter().chain(inherited.iter().cloned());
        let mut places =
            dirs.chain(self.dirs.iter().cloned()).map(|dir| format!("{dir}/{library}"));
        let found = places.find(|place| self.tree.file(place).is_some())?;
        self.tree.resolve(&found)
    }
}

/// Directories of `lists`, with `$ORIGIN` and `$LIB` expanded for the object at `path`.
fn absolute(path: &str, lists: &[String]) -> Vec<String> {
    let origin = path.rsplit_once('/').map_or("", |(dir, _)| dir);
    let dirs = lists.iter().flat_map(|list| list.split(':'));
    let filled = dirs.map(|dir| {
        let origin = format!("/{origin}");
        dir.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin).replace("$LIB", "lib")
    });
    filled.filter(|dir| dir.starts_with('/')).collect()
}

/// Whether the file name is that of a shared object: `libz.so`, `libz.so.1.2`, but not `a.so.txt`.
pub(super) fn is_shared_object(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split_once(".so").is_some_and(|(_, rest)| {
        rest.is_empty()
            || rest.starts_with('.') && rest.bytes().all(|b| b == b'.' || b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_objects_by_name() {
        for (path, want) in [
            ("usr/lib/libz.so", true),
            ("usr/lib/libz.so.1.2.13", true),
            ("usr/lib/x.cpython-311-x86_64-linux-gnu.so", true),
            ("usr/share/a.so.txt", false),
            ("usr/share/a.sort", false),
        ] {
            assert_eq!(is_shared_object(path), want, "{path}");
        }
    }
}
