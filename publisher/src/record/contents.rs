//! A tree → the plain list of what is inside, and back.
//!
//! One entry a line, four or five texts with a tab between them, in byte order of the paths:
//!
//! ```text
//! KIND  SIZE  COMPONENT  PATH [TARGET]
//! dir   0     -          usr/bin
//! exec  1396  bash       usr/bin/bash
//! file  12    -          etc/passwd
//! link  0     dash       usr/bin/sh      dash
//! ```
//!
//! SIZE is in bytes. COMPONENT is the package that brought the entry; `-` stands for what a build
//! makes, and for directories. Backslashes in names, and characters that control, reorder or have no
//! picture, are escaped as in Rust.

use crate::{
    error::shown,
    record::components::Component,
    tree::{Node, Tree},
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

/// Stands where an entry has no component. Part of the format.
const NONE: &str = "-";

/// The list of `tree`.
pub fn list(tree: &Tree, components: &[Component]) -> String {
    let names: HashMap<_, _> =
        components.iter().map(|it| (it.file.as_str(), it.name.as_str())).collect();
    let mut text = String::new();
    for (path, node) in tree.iter() {
        let owner = tree.owner(path).map_or(NONE, |file| names.get(file).copied().unwrap_or(file));
        let path = escaped(path);
        // Writing to a String never fails.
        _ = match node {
            Node::Dir => writeln!(text, "dir\t0\t{NONE}\t{path}"),
            Node::File { executable, content } => {
                let kind = if *executable { "exec" } else { "file" };
                writeln!(text, "{kind}\t{}\t{owner}\t{path}", content.len())
            }
            Node::Link(target) => writeln!(text, "link\t0\t{owner}\t{path}\t{}", escaped(target)),
        };
    }
    text
}

fn escaped(text: &str) -> String {
    let special = |c: char| shown::is_hidden(c) || c == '\\';
    let escape = |c: char| if special(c) { c.escape_default().to_string() } else { c.into() };
    text.chars().map(escape).collect()
}

/// One line of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'l> {
    /// `dir`, `file`, `exec` or `link`.
    pub kind: &'l str,
    /// In bytes; 0 for what is not a file.
    pub size: u64,
    /// The package that brought it; none for what a build makes, and for directories.
    pub component: Option<&'l str>,
    /// Below the root, escaped.
    pub path: &'l str,
    /// Of a link, escaped.
    pub target: Option<&'l str>,
}

/// The lines of a list that [`list`] made; none for a line that it cannot have made.
pub fn parse(text: &str) -> Option<Vec<Line<'_>>> {
    text.lines().map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Line<'_>> {
    let mut words = line.split('\t');
    let (kind, size) = (words.next()?, words.next()?.parse().ok()?);
    let component = Some(words.next()?).filter(|name| *name != NONE);
    Some(Line { kind, size, component, path: words.next()?, target: words.next() })
}

/// Bytes of the files that each component brought; those that a build made under no name.
pub fn sizes<'l>(lines: &[Line<'l>]) -> BTreeMap<Option<&'l str>, u64> {
    let mut sizes = BTreeMap::new();
    for line in lines {
        *sizes.entry(line.component).or_default() += line.size;
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lock::Kind, record::licence::Licence};
    use joblet_format::Checksum;

    #[test]
    fn a_list_says_what_is_inside_and_who_brought_it() {
        let mut tree = Tree::default();
        let content = || b"hello".to_vec().into();
        tree.insert("usr/bin/demo", Node::File { executable: true, content: content() }).unwrap();
        tree.own("usr/bin/demo".into(), "demo_1_amd64.deb".into());
        tree.insert("usr/bin/d\n", Node::Link("demo".into())).unwrap();
        tree.own("usr/bin/d\n".into(), "other.deb".into());
        tree.insert("etc/a\\b", Node::File { executable: false, content: content() }).unwrap();
        let demo = Component {
            kind: Kind::Deb,
            name: "demo".into(),
            version: "1".into(),
            file: "demo_1_amd64.deb".into(),
            sha256: Checksum::from_digest([1; 32]),
            licence: Licence::default(),
            homepage: None,
            source: None,
        };
        let text = list(&tree, &[demo]);
        let want = "dir\t0\t-\tetc\nfile\t5\t-\tetc/a\\\\b\ndir\t0\t-\tusr\n\
                    dir\t0\t-\tusr/bin\nlink\t0\tother.deb\tusr/bin/d\\n\tdemo\n\
                    exec\t5\tdemo\tusr/bin/demo\n";
        assert_eq!(text, want);
        let lines = parse(&text).unwrap();
        assert_eq!((lines[4].target, lines[5].component), (Some("demo"), Some("demo")));
        let sizes = sizes(&lines);
        assert_eq!((sizes[&None], sizes[&Some("demo")], sizes[&Some("other.deb")]), (5, 5, 0));
        assert_eq!(parse("dir\t0\t-\n"), None);
    }
}
