//! Interpreters in `#!` lines of programs.

use crate::tree::{Tree, content::Content};
use std::io;

/// Directories of programs that users call by name.
pub(super) const PROGRAMS: [&str; 5] =
    ["usr/bin", "usr/local/bin", "usr/local/sbin", "usr/sbin", "usr/games"];
/// Maximum length of a `#!` line in Linux, in bytes.
const MAX_LINE: u64 = 256;

/// Whether `path` is a program that users call by name.
pub(super) fn is_program(path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(dir, _)| PROGRAMS.contains(&dir))
}

/// The interpreter of the script at `path`, if users call the script by name and `tree` lacks the interpreter. For
/// `/usr/bin/env NAME` it is the program NAME.
///
/// # Errors
/// Errors of reading it.
pub(super) fn missing(
    tree: &Tree,
    path: &str,
    executable: bool,
    content: &Content,
) -> io::Result<Option<String>> {
    if !executable || !is_program(path) {
        return Ok(None);
    }
    let head = content.head(MAX_LINE)?;
    let Some(line) =
        head.strip_prefix(b"#!").and_then(|rest| rest.split(|byte| *byte == b'\n').next())
    else {
        return Ok(None);
    };
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let interpreter = words.next().unwrap_or_default();
    if tree.file(interpreter).is_none() {
        return Ok(Some(interpreter.to_owned()));
    }
    if interpreter.rsplit('/').next() != Some("env") {
        return Ok(None);
    }
    let name = words.find(|word| !word.starts_with('-') && !word.contains('='));
    let there =
        |name: &str| PROGRAMS.iter().any(|dir| tree.file(&format!("{dir}/{name}")).is_some());
    Ok(name.filter(|name| !there(name)).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Node;

    #[test]
    fn missing_interpreters_of_scripts() {
        let mut tree = Tree::default();
        for path in ["usr/bin/env", "usr/bin/sh", "usr/bin/python3"] {
            let content = b"x".to_vec().into();
            tree.insert(path, Node::File { executable: true, content }).unwrap();
        }
        tree.insert("bin", Node::Link("usr/bin".into())).unwrap();
        for (path, text, want) in [
            ("usr/bin/a", "#!/bin/sh -e\n", None),
            ("usr/bin/a", "#! /usr/bin/perl -w\n", Some("/usr/bin/perl")),
            ("usr/bin/a", "#!/usr/bin/env python3\n", None),
            ("usr/bin/a", "#!/usr/bin/env -S ruby -w\n", Some("ruby")),
            ("usr/share/a", "#!/usr/bin/perl\n", None),
            ("usr/bin/a", "text", None),
        ] {
            let content = text.as_bytes().to_vec().into();
            let found = missing(&tree, path, true, &content).unwrap();
            assert_eq!(found.as_deref(), want, "{text}");
        }
    }
}
