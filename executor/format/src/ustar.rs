//! The tar headers of archives, byte for byte.
//!
//! Plain ustar: directories (0755, `isolated/tmp` 1777), regular files (0755 or 0644) and symbolic
//! links (0777); uid and gid 0, no owner names, one constant time; pax records `path` and
//! `linkpath` only where a name does not fit. Nothing else varies: an entry determines its header, so a
//! reader with an index compares headers instead of parsing them.

/// Block size of tar, in bytes. Part of the format.
pub const BLOCK: usize = 512;
/// Modification time of every entry, in seconds since 1970: 1980-01-01. Part of the format: so equal
/// files of two versions are equal in their metadata, too.
pub const MTIME: u64 = 315_532_800;
/// Largest file that a ustar header can describe: eleven octal digits, in bytes.
pub const MAX_FILE: u64 = (1 << 33) - 1;
/// Zeros after the last entry, in bytes. Part of the format.
pub const END: usize = 2 * BLOCK;

/// Directories of a layer that every user may write in. Part of the format.
const SHARED: [&str; 3] = ["tmp", "var/tmp", "work"];

/// Size of the header fields for a name and for a link's target, in bytes.
const NAME: usize = 100;

/// Name of a pax header itself, which readers ignore. Part of the format.
const PAX_NAME: &str = "././@PaxHeader";

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind<'a> {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Mode 0755 instead of 0644.
        executable: bool,
        /// Its length, in bytes; at most [`MAX_FILE`].
        size: u64,
    },
    /// A symbolic link and its target.
    Symlink(&'a str),
}

/// The header blocks of the entry at `path` below the archive's `directory`.
///
/// `path` is empty for that directory itself; neither begins or ends with a slash. The layer of an image has
/// no such directory: `directory` is empty, and `path` is what lies at the root.
pub fn headers(directory: &str, path: &str, kind: EntryKind<'_>) -> Vec<u8> {
    let mut name = directory.to_owned();
    if !name.is_empty() && !path.is_empty() {
        name.push('/');
    }
    name.push_str(path);
    let shared = if directory.is_empty() { SHARED.contains(&path) } else { path == "isolated/tmp" };
    let (mode, flag, target, size) = match kind {
        EntryKind::Directory if shared => (0o1777, b'5', "", 0),
        EntryKind::Directory => (0o755, b'5', "", 0),
        EntryKind::File { executable, size } => {
            (if executable { 0o755 } else { 0o644 }, b'0', "", size)
        }
        EntryKind::Symlink(target) => (0o777, b'2', target, 0),
    };
    if kind == EntryKind::Directory {
        name.push('/');
    }
    let fitting = split(&name);
    let mut records = Vec::new();
    if fitting.is_none() {
        records.extend(pax_record("path", &name));
    }
    if target.len() > NAME {
        records.extend(pax_record("linkpath", target));
    }
    let mut blocks = Vec::with_capacity(BLOCK);
    if !records.is_empty() {
        blocks.extend(header(("", PAX_NAME), 0o644, b'x', "", records.len() as u64));
        blocks.extend(&records);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    }
    let name = fitting.unwrap_or_else(|| ("", last_bytes(&name)));
    let target = if target.len() > NAME { last_bytes(target) } else { target };
    blocks.extend(header(name, mode, flag, target, size));
    blocks
}

/// The length of [`headers`], in bytes.
pub fn headers_length(directory: &str, path: &str, kind: EntryKind<'_>) -> usize {
    let target = if let EntryKind::Symlink(target) = kind { target } else { "" };
    // With a slash between the two, and one at the end of a directory.
    if directory.len() + path.len() + 2 <= NAME && target.len() <= NAME {
        return BLOCK;
    }
    headers(directory, path, kind).len()
}

/// The padding after a body of `size` bytes, in bytes.
pub fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

/// The header field beside a pax record, for readers without pax support: the end of the name.
fn last_bytes(text: &str) -> &str {
    let mut at = text.len().saturating_sub(NAME);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    text[at..].trim_start_matches('/')
}

/// Splits a name at a slash into prefix (at most 155 bytes) and name (at most [`NAME`]), if possible.
fn split(name: &str) -> Option<(&str, &str)> {
    if name.len() <= NAME {
        return Some(("", name));
    }
    // The earliest slash with a short enough rest; a trailing slash does not split.
    let slashes = name.trim_end_matches('/').match_indices('/').map(|(at, _)| at);
    let at = slashes.filter(|at| *at > 0).find(|at| name.len() - at - 1 <= NAME)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_where_they_fit() {
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
    fn pax_records_include_their_own_length() {
        for (value, length) in [(1, 9), (2, 11), (90, 99), (91, 101), (989, 999), (990, 1001)] {
            let record = pax_record("path", &"v".repeat(value));
            assert_eq!(record.len(), length, "{value}");
            assert!(record.starts_with(format!("{length} path=v").as_bytes()));
        }
    }

    #[test]
    fn headers_are_whole_blocks_with_pax_only_if_needed() {
        let file = EntryKind::File { executable: true, size: 7 };
        assert_eq!(headers("d-1.0.0", "usr/bin/x", file).len(), BLOCK);
        assert_eq!(headers("d-1.0.0", &"long/".repeat(60), file).len(), 3 * BLOCK);
        let far = "x".repeat(101);
        assert_eq!(headers("d-1.0.0", "l", EntryKind::Symlink(&far)).len(), 3 * BLOCK);
        // Near the longest name without a pax header, for every kind.
        for kind in [file, EntryKind::Directory, EntryKind::Symlink("l"), EntryKind::Symlink(&far)]
        {
            for length in 85..105 {
                let path = format!("a/{}", "x".repeat(length));
                let whole = headers("d-1.0.0", &path, kind).len();
                assert_eq!(headers_length("d-1.0.0", &path, kind), whole, "{length} {kind:?}");
            }
        }
        let layer = headers("", "work", EntryKind::Directory);
        assert_eq!((&layer[..6], &layer[100..107]), (&b"work/\0"[..], &b"0001777"[..]));
        assert_eq!((padding(0), padding(1), padding(512), padding(513)), (0, 511, 0, 511));
    }
}
