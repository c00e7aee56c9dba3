//! A tree → an uncompressed tar stream, the same bytes for the same tree.
//!
//! Plain ustar: directories (0755, `tmp` 1777), regular files (0755 or 0644) and symbolic links
//! (0777), each directory followed by all that is in it, in byte order of names; uid and gid 0, no owner names, one constant time; pax
//! records `path` and `linkpath` only where a name does not fit; two zero blocks at the end.

use crate::{
    error::Error,
    tree::{Content, Node, Tree},
};
use std::io::{self, Write};

/// Time of every entry, in seconds since 1970: 1980-01-01. Part of the format: equal files of two
/// versions are equal in everything.
const MTIME: u64 = 315_532_800;
/// Length of a header and unit of everything else, in bytes. Part of the format.
const BLOCK: usize = 512;
/// Name of a pax header itself: readers use it for nothing. Part of the format.
const PAX_NAME: &str = "././@PaxHeader";
/// Largest file that a ustar header can name: 11 octal digits, in bytes.
const MAX_FILE: u64 = (1 << 33) - 1;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Number of entries, pax headers not counted.
    pub entries: u64,
    /// Sum of the lengths of the regular files, in bytes.
    pub unpacked_size: u64,
}

/// Writes `directory/`, the tree as `directory/isolated/`, and `directory/runtime.yml`.
///
/// # Errors
/// Of reading the tree and of writing; `InvalidInput` for a file that is too large.
pub fn write(
    to: &mut dyn Write,
    directory: &str,
    tree: &Tree,
    runtime_yml: &str,
) -> io::Result<Written> {
    let mut written = Written { entries: 0, unpacked_size: 0 };
    let mut entry = |path: &str, node: &Node| {
        written.entries += 1;
        if let Node::File { content, .. } = node {
            written.unpacked_size += content.len();
        }
        write_entry(to, path, node)
    };
    entry(directory, &Node::Dir)?;
    entry(&format!("{directory}/isolated"), &Node::Dir)?;
    for (path, node) in in_walking_order(tree) {
        entry(&format!("{directory}/isolated/{path}"), node)?;
    }
    let content = Content::from(runtime_yml.as_bytes().to_vec());
    entry(&format!("{directory}/runtime.yml"), &Node::File { executable: false, content })?;
    to.write_all(&[0; 2 * BLOCK])?;
    Ok(written)
}

/// Each directory is followed by all that is in it, which the byte order of paths does not give:
/// `a.b` stands between `a` and `a/c` there. Readers set a directory's time when they leave it, and
/// keep it open until then.
fn in_walking_order(tree: &Tree) -> Vec<(&str, &Node)> {
    let mut entries: Vec<_> = tree.iter().collect();
    entries.sort_by(|(a, _), (b, _)| a.split('/').cmp(b.split('/')));
    entries
}

fn write_entry(to: &mut dyn Write, path: &str, node: &Node) -> io::Result<()> {
    let (name, mode, kind, target, size) = match node {
        Node::Dir => (format!("{path}/"), directory_mode(path), b'5', "", 0),
        Node::File { executable, content } => {
            let mode = if *executable { 0o755 } else { 0o644 };
            (path.to_owned(), mode, b'0', "", content.len())
        }
        Node::Link(target) => (path.to_owned(), 0o777, b'2', target.as_str(), 0),
    };
    if size > MAX_FILE {
        let reason = format!("`{path}` is larger than {MAX_FILE} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let fitting = split(&name);
    let mut records = Vec::new();
    if fitting.is_none() {
        records.extend(pax_record("path", &name));
    }
    if target.len() > 100 {
        records.extend(pax_record("linkpath", target));
    }
    if !records.is_empty() {
        to.write_all(&header(("", PAX_NAME), 0o644, b'x', "", records.len() as u64))?;
        to.write_all(&records)?;
        pad(to, records.len() as u64)?;
    }
    // Beside a pax record, the header's own fields are for readers that know no pax: the end of the name.
    let cut = |text: &str| {
        let mut at = text.len().saturating_sub(100);
        while !text.is_char_boundary(at) {
            at += 1;
        }
        text[at..].trim_start_matches('/').to_owned()
    };
    let short = cut(&name);
    let target = if target.len() > 100 { cut(target) } else { target.to_owned() };
    to.write_all(&header(fitting.unwrap_or(("", &short)), mode, kind, &target, size))?;
    if let Node::File { content, .. } = node {
        content.write_to(to)?;
        pad(to, size)?;
    }
    Ok(())
}

/// Directories are 0755; the runtime's `/tmp` alone is for everyone.
fn directory_mode(path: &str) -> u32 {
    let mut parts = path.split('/').skip(1);
    let is_tmp =
        (parts.next(), parts.next(), parts.next()) == (Some("isolated"), Some("tmp"), None);
    if is_tmp { 0o1777 } else { 0o755 }
}

/// Zeros up to the next block.
fn pad(to: &mut dyn Write, size: u64) -> io::Result<()> {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    if over == 0 { Ok(()) } else { to.write_all(&[0; BLOCK][over..]) }
}

/// Parts a name into prefix (at most 155 bytes) and name (at most 100) at a slash, if that is possible.
fn split(name: &str) -> Option<(&str, &str)> {
    if name.len() <= 100 {
        return Some(("", name));
    }
    // The earliest slash that leaves few enough bytes; one at the very end parts nothing.
    let slashes = name.trim_end_matches('/').match_indices('/').map(|(at, _)| at);
    let at = slashes.filter(|at| *at > 0).find(|at| name.len() - at - 1 <= 100)?;
    (at <= 155).then(|| (&name[..at], &name[at + 1..]))
}

/// `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
fn pax_record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3; // blank, equals sign, newline
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

/// One header block. Names must fit.
fn header(name: (&str, &str), mode: u32, kind: u8, target: &str, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.1.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, format!("{MTIME:011o}").as_bytes());
    put(148, b"        "); // the checksum is computed with blanks in its place
    put(156, &[kind]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    put(329, b"0000000");
    put(337, b"0000000");
    put(345, name.0.as_bytes());
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Makes an [`Error`] out of what [`write`] says.
pub fn explain(error: io::Error, runtime: &str, target: &std::path::Path) -> Error {
    if error.kind() == io::ErrorKind::InvalidInput {
        return Error::Check { runtime: runtime.to_owned(), reason: error.to_string() };
    }
    Error::file("write", target)(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parted_where_they_fit() {
        let (d99, d155) = ("d".repeat(99), "d".repeat(155));
        for (name, want) in [
            ("a/b".to_owned(), Some((0, 3))),
            (format!("{d99}/"), Some((0, 100))),
            (format!("{d99}/f"), Some((99, 1))),
            (format!("{d155}/{d99}f"), Some((155, 100))),
            (format!("{d155}/{d99}ff"), None),
            (format!("{d155}d/f"), None),
            (format!("{d155}/{d99}/"), Some((155, 100))),
            ("x".repeat(101), None),
            (format!("{}/", "x".repeat(100)), None),
        ] {
            let lengths = split(&name).map(|(prefix, name)| (prefix.len(), name.len()));
            assert_eq!(lengths, want, "{name}");
        }
    }

    #[test]
    fn pax_records_count_themselves() {
        for (value, length) in [(1, 9), (2, 11), (90, 99), (91, 101), (989, 999), (990, 1001)] {
            let record = pax_record("path", &"v".repeat(value));
            assert_eq!(record.len(), length, "{value}");
            assert!(record.starts_with(format!("{length} path=v").as_bytes()));
        }
    }

    #[test]
    fn entries_have_constant_owner_time_and_modes() {
        let mut tree = Tree::default();
        tree.insert("tmp", Node::Dir).unwrap();
        tree.insert("usr/tmp", Node::Dir).unwrap();
        tree.insert("bin", Node::Link("usr/bin".into())).unwrap();
        let content = b"hello".to_vec().into();
        tree.insert("usr/bin/x", Node::File { executable: true, content }).unwrap();
        let mut bytes = Vec::new();
        let written = write(&mut bytes, "d-1.0.0", &tree, "name: d\n").unwrap();
        assert_eq!(written, Written { entries: 9, unpacked_size: 13 });
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!((header.username_bytes(), header.mtime().unwrap()), (Some(&b""[..]), MTIME));
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            seen.push((name, header.mode().unwrap()));
        }
        let want = [
            ("d-1.0.0/", 0o755),
            ("d-1.0.0/isolated/", 0o755),
            ("d-1.0.0/isolated/bin", 0o777),
            ("d-1.0.0/isolated/tmp/", 0o1777),
            ("d-1.0.0/isolated/usr/", 0o755),
            ("d-1.0.0/isolated/usr/bin/", 0o755),
            ("d-1.0.0/isolated/usr/bin/x", 0o755),
            ("d-1.0.0/isolated/usr/tmp/", 0o755),
            ("d-1.0.0/runtime.yml", 0o644),
        ];
        assert_eq!(seen, want.map(|(name, mode)| (name.to_owned(), mode)));
    }

    #[test]
    fn a_file_that_no_header_can_name_is_refused() {
        let spool = std::sync::Arc::new(tempfile::tempfile().unwrap());
        let content = Content::stretch(spool, 0, MAX_FILE + 1);
        let mut tree = Tree::default();
        tree.insert("big", Node::File { executable: false, content }).unwrap();
        let error = write(&mut io::sink(), "d-1.0.0", &tree, "").unwrap_err();
        let error = explain(error, "d-1.0.0", std::path::Path::new("x"));
        assert_eq!(error.class().word(), "CHECK");
        assert!(error.to_string().contains("`d-1.0.0/isolated/big` is larger than"), "{error}");
    }
}
