//! Compares a published archive with a rebuilt one, entry by entry.

use crate::record::contents;
use joblet_format::index::{Body, Entry, Index};
use std::{collections::BTreeMap, fmt};

/// An entry that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Path below the runtime's root, or `runtime.yml`.
    pub path: String,
    /// The difference between published and rebuilt entry.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// The differences between two indexes, in byte order of the paths.
pub fn indexes(published: &Index, rebuilt: &Index) -> Vec<Difference> {
    let entries = |index: &'_ Index| -> BTreeMap<String, Entry> {
        index.entries().iter().map(|entry| (shown(&entry.path), entry.clone())).collect()
    };
    each(&entries(published), &entries(rebuilt), |old, new| describe(&old.body, &new.body))
}

/// The differences between two lists made by [`contents::list`].
pub fn lists(published: &str, rebuilt: &str) -> Vec<Difference> {
    let lines = |text: &str| -> BTreeMap<String, (String, u64, Option<String>)> {
        let lines = contents::parse(text).unwrap_or_default().into_iter();
        let entry = |line: contents::Line| {
            let target = line.target.map(str::to_owned);
            (line.path.to_owned(), (line.kind.to_owned(), line.size, target))
        };
        lines.map(entry).collect()
    };
    each(&lines(published), &lines(rebuilt), |old, new| match (old, new) {
        (old, new) if old == new => None,
        ((was, ..), (is, ..)) if was != is => Some(format!("published as {was}, rebuilt as {is}")),
        ((_, _, Some(old)), (_, _, Some(new))) => {
            Some(format!("published as a link to `{old}`, rebuilt to `{new}`"))
        }
        ((_, old, _), (_, new, _)) => {
            Some(format!("published with {old} bytes, rebuilt with {new}"))
        }
    })
}

/// Compares two maps key by key; `describe` describes the difference between two values, if any.
pub(crate) fn each<V>(
    published: &BTreeMap<String, V>,
    rebuilt: &BTreeMap<String, V>,
    describe: impl Fn(&V, &V) -> Option<String>,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut add = |path: &String, what: Option<String>| {
        differences.extend(what.map(|what| Difference { path: path.clone(), what }));
    };
    for (path, old) in published {
        match rebuilt.get(path) {
            Some(new) => add(path, describe(old, new)),
            None => add(path, Some("published, not rebuilt".to_owned())),
        }
    }
    for path in rebuilt.keys().filter(|path| !published.contains_key(*path)) {
        add(path, Some("rebuilt, not published".to_owned()));
    }
    differences.sort_by(|a, b| a.path.cmp(&b.path));
    differences
}

fn shown(path: &str) -> String {
    path.strip_prefix("isolated/").unwrap_or(path).to_owned()
}

fn describe(old: &Body, new: &Body) -> Option<String> {
    let what = match (old, new) {
        (Body::Directory, Body::Directory) => return None,
        (Body::Symlink(old), Body::Symlink(new)) => {
            (old != new).then(|| format!("published as a link to `{old}`, rebuilt to `{new}`"))
        }
        (Body::File { .. }, Body::File { .. }) => files(old, new),
        (old, new) => Some(format!("published as a {}, rebuilt as a {}", kind(old), kind(new))),
    };
    what.filter(|what| !what.is_empty())
}

fn files(old: &Body, new: &Body) -> Option<String> {
    let (Body::File { executable: was, pieces: old }, Body::File { executable: is, pieces: new }) =
        (old, new)
    else {
        return None;
    };
    if old != new {
        let size = |pieces: &[joblet_format::index::Piece]| -> u64 {
            pieces.iter().map(|piece| piece.size).sum()
        };
        let (old, new) = (size(old), size(new));
        return Some(if old == new {
            format!("published with different content of the same length: {old} bytes")
        } else {
            format!("published with {old} bytes, rebuilt with {new}")
        });
    }
    let word = |executable: bool| if executable { "executable" } else { "not executable" };
    (was != is).then(|| format!("published {}, rebuilt {}", word(*was), word(*is)))
}

fn kind(body: &Body) -> &'static str {
    match body {
        Body::Directory => "directory",
        Body::File { .. } => "file",
        Body::Symlink(_) => "link",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use joblet_format::index::{Member, Piece};

    fn file(executable: bool, size: u64, byte: u8) -> Body {
        Body::File { executable, pieces: vec![Piece { size, sha256: [byte; 32] }] }
    }

    fn index(entries: Vec<(&str, Body)>) -> Index {
        let root = [("", Body::Directory), ("isolated", Body::Directory)];
        let entries: Vec<_> = root
            .into_iter()
            .chain(entries)
            .map(|(path, body)| Entry { path: path.into(), body })
            .collect();
        let length: u64 =
            entries.iter().map(|entry| 512 + entry.size().div_ceil(512) * 512).sum::<u64>() + 1024;
        let unpacked = u32::try_from(length).unwrap();
        let member = Member { length: unpacked, unpacked, sha256: [0; 32] };
        Index::new("d-1.0.0".into(), vec![member], entries).unwrap()
    }

    #[test]
    fn differences_are_named() {
        let link = |target: &str| Body::Symlink(target.into());
        let old = index(vec![
            ("isolated/a", file(true, 5, 1)),
            ("isolated/b", file(true, 5, 1)),
            ("isolated/c", file(true, 5, 1)),
            ("isolated/d", file(true, 5, 1)),
            ("isolated/e", link("x")),
            ("isolated/f", link("x")),
            ("isolated/g", Body::Directory),
            ("runtime.yml", file(false, 5, 1)),
        ]);
        let new = index(vec![
            ("isolated/a", file(true, 5, 1)),
            ("isolated/b", file(true, 5, 2)),
            ("isolated/c", file(false, 5, 1)),
            ("isolated/d", file(true, 6, 2)),
            ("isolated/e", link("y")),
            ("isolated/g", link("x")),
            ("isolated/h", Body::Directory),
            ("runtime.yml", file(false, 5, 2)),
        ]);
        let lines: Vec<_> = indexes(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "b: published with different content of the same length: 5 bytes",
                "c: published executable, rebuilt not executable",
                "d: published with 5 bytes, rebuilt with 6",
                "e: published as a link to `x`, rebuilt to `y`",
                "f: published, not rebuilt",
                "g: published as a directory, rebuilt as a link",
                "h: rebuilt, not published",
                "runtime.yml: published with different content of the same length: 5 bytes",
            ]
        );
        assert_eq!(indexes(&old, &old), []);
    }
}
