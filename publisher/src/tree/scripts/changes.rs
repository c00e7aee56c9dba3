//! `ucf`, `cp`, `install`, `mv` and `ln` in maintainer scripts → files and links, where all words are known.
//!
//! Conditions are not evaluated, so only changes that are safe in a new tree are made: existing files are not
//! replaced or moved. Most of these commands clean up after older versions, which a new tree does not have.

use super::{Fault, shell::Call};
use crate::tree::{Node, Tree, assemble::merged_path, link_path, relative};

/// A change of the tree. Paths have no leading slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The file at the first path is copied to the second.
    Copy(String, String),
    /// The file at the first path would be moved.
    Move(String),
    /// A symlink at the first path to the second.
    Link(String, String),
}

/// The change that a call makes, if any.
///
/// # Errors
/// Unknown words, or too many.
pub(super) fn read(call: &Call) -> Result<Option<Change>, Fault> {
    let name = super::name(call);
    let unknown =
        || Fault::new(name, format!("runs `{name}` with words that are known only at run time"));
    let words: Option<Vec<&str>> = call.iter().skip(1).map(Option::as_deref).collect();
    let Some(words) = words else { return Err(unknown()) };
    let operands = operands(name, &words);
    let makes_dirs = words.iter().any(|word| matches!(*word, "-d" | "--directory"));
    let recursive = words.iter().any(|word| matches!(*word, "-a" | "-r" | "-R"));
    let absolute = |path: &str| path.strip_prefix('/').map(str::to_owned);
    if name == "install" && makes_dirs {
        return Ok(None); // the program that writes there makes them
    }
    let change = match (name, operands.as_slice()) {
        // `ucf --purge FILE`; an empty file.
        ("ucf", [_]) | ("install", ["/dev/null", _]) => return Ok(None),
        ("ucf" | "cp" | "install", [from, to]) if !recursive => {
            let file = from.rsplit('/').next().unwrap_or(from);
            let to = if to.ends_with('/') { format!("{to}{file}") } else { (*to).to_owned() };
            absolute(from).zip(absolute(&to)).map(|(from, to)| Change::Copy(from, to))
        }
        ("mv", [from, _]) => absolute(from).map(Change::Move),
        ("ln", [to, link]) if words.iter().any(|word| word.starts_with("-s")) => absolute(link)
            .map(|link| {
                let to = link_path(&link, to);
                Change::Link(link, to)
            }),
        _ => None,
    };
    change.map(Some).ok_or_else(unknown)
}

/// Options of these programs that take a value.
fn has_value(program: &str, option: &str) -> bool {
    match program {
        "ucf" => matches!(option, "-S" | "--sum-file" | "--src-dir" | "--state-dir"),
        "install" => matches!(option, "-g" | "--group" | "-m" | "--mode" | "-o" | "--owner"),
        _ => false,
    }
}

/// The words that are neither options nor their values.
fn operands<'w>(program: &str, words: &[&'w str]) -> Vec<&'w str> {
    let mut words = words.iter();
    let mut operands = Vec::new();
    while let Some(word) = words.next() {
        if has_value(program, word) {
            words.next();
        } else if !word.starts_with('-') {
            operands.push(*word);
        }
    }
    operands
}

impl Change {
    /// Makes the change, unless the path exists or the symlink would dangle.
    ///
    /// # Errors
    /// A file at the path of a directory.
    pub(super) fn apply(&self, tree: &mut Tree) -> Result<(), String> {
        match self {
            Self::Copy(from, to) => {
                let (from, to) = (merged_path(from), merged_path(to));
                let Some((executable, content)) = tree.file(&from) else { return Ok(()) };
                let content = content.clone();
                tree.insert_if_absent(&to, Node::File { executable, content })
            }
            Self::Link(link, to) => {
                let (link, to) = (merged_path(link), merged_path(to));
                if tree.resolve(&to).is_none() {
                    return Ok(());
                }
                tree.insert_if_absent(&link, Node::Link(relative(&link, &to)))
            }
            Self::Move(_) => Ok(()),
        }
    }

    /// The path that `tree` lacks after all changes, if any.
    pub(super) fn fault(&self, tree: &Tree) -> Option<Fault> {
        let there = |path: &str| tree.resolve(&merged_path(path)).is_some();
        match self {
            Self::Move(from) if there(from) => Some(Fault::new("mv", format!("moves `/{from}`"))),
            Self::Copy(..) | Self::Link(..) | Self::Move(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::scripts::shell;

    #[test]
    fn known_commands_are_applied_and_existing_files_kept() {
        let mut tree = Tree::default();
        for path in ["usr/share/a/x.conf", "etc/there", "usr/bin/tool"] {
            let content = path.as_bytes().to_vec().into();
            tree.insert(path, Node::File { executable: false, content }).unwrap();
        }
        let script = "ucf --three-way --sum-file /usr/share/a/x.md5sums /usr/share/a/x.conf /etc/a.conf; install -d /etc/e; \
                      install -m 644 -o root /usr/share/a/x.conf /etc/i.conf; install --mode 644 /dev/null /etc/e/f; cp -p /usr/share/a/x.conf /etc/a.d/\n\
                      cp /usr/share/a/x.conf /etc/there; cp /gone /etc/b; ln -sf tool /bin/t; ln -s /gone /etc/c\n\
                      ucf --purge /etc/d; mv /etc/old /etc/new; mv /etc/there /etc/away";
        let calls = shell::calls(script, &["configure"]);
        let changes: Vec<Change> = calls.iter().filter_map(|call| read(call).unwrap()).collect();
        for change in &changes {
            change.apply(&mut tree).unwrap();
        }
        let text = |path: &str| tree.file(path).map(|it| it.1.read().unwrap());
        for (path, want) in [
            ("etc/a.conf", Some("usr/share/a/x.conf")),
            ("etc/a.d/x.conf", Some("usr/share/a/x.conf")),
            ("etc/i.conf", Some("usr/share/a/x.conf")),
            ("etc/e/f", None),
            ("etc/there", Some("etc/there")),
            ("usr/bin/t", Some("usr/bin/tool")),
            ("etc/b", None),
            ("etc/c", None),
            ("etc/away", None),
        ] {
            assert_eq!(text(path).as_deref(), want.map(str::as_bytes), "{path}");
        }
        let faults: Vec<_> = changes.iter().filter_map(|change| change.fault(&tree)).collect();
        assert_eq!(faults, [Fault::new("mv", "moves `/etc/there`")]);
    }

    #[test]
    fn unknown_commands_are_reported() {
        for script in
            ["cp $(x) /etc/y", "cp -a /a /b", "ln /a /b", "cp a b", "mv /a /b /c", "install a b"]
        {
            let calls = shell::calls(script, &[]);
            assert!(
                read(&calls[0]).unwrap_err().what.contains("known only at run time"),
                "{script}"
            );
        }
    }
}
