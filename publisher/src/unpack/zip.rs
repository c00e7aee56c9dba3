//! Reads a zip file. Contents of members are read on demand. A malformed file is refused, not repaired.
//!
//! Members are listed by the central directory. Its end record must be at the end of the file, the directory
//! directly before it, and each entry must match the member's local header; members must not overlap or
//! share a name. So all parsers read the file in the same way. Formats: APPNOTE.TXT 6.3, sections 4.3.7 to
//! 4.3.16.

use crate::{
    tree::{Node, content::Content},
    unpack::tar::{MAX_DATA, normalized_name},
};
use std::{collections::BTreeSet, fs::File, io, os::unix::fs::FileExt, sync::Arc};

const END: usize = 22;
const END_64: usize = 56;
const LOCATOR_64: usize = 20;
const ENTRY: usize = 46;
const LOCAL: usize = 30;
/// Largest central directory, in bytes: half a million members.
const MAX_DIRECTORY: u64 = 64 << 20;
/// Longest target of a link, in bytes.
const MAX_TARGET: u64 = 4096;

/// One member.
#[derive(Debug)]
pub(crate) struct ZipEntry {
    /// Normalized, relative, UTF-8. Empty for the root itself.
    pub(crate) path: String,
    /// Its type and content; the target of a link is unchanged.
    pub(crate) node: Node,
}

/// The members of `file`, in the order of its central directory.
///
/// # Errors
/// The rule it breaks.
pub(crate) fn entries(file: &Arc<File>) -> Result<Vec<ZipEntry>, String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let (offset, directory) = directory(file, size)?;
    let (mut rest, mut entries) = (directory.as_slice(), Vec::new());
    let (mut names, mut stretches, mut total) = (BTreeSet::new(), Vec::new(), 0_u64);
    while !rest.is_empty() {
        let (header, behind) = Header::parse(rest)?;
        rest = behind;
        total = total.saturating_add(header.length);
        if total > MAX_DATA {
            return Err(format!("has more than {MAX_DATA} bytes in its members"));
        }
        let stretch = header.data_offset(file, offset)?;
        stretches.push((header.local, stretch + header.packed));
        let entry = header.entry(file, stretch)?;
        if !names.insert(entry.path.clone()) {
            return Err(format!("has two members `{}`", entry.path));
        }
        entries.push(entry);
    }
    stretches.sort_unstable();
    if stretches.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err("has members that overlap".into());
    }
    Ok(entries)
}

/// Offset and bytes of the central directory.
fn directory(file: &File, size: u64) -> Result<(u64, Vec<u8>), String> {
    // The end record, followed by a comment of at most 65,535 bytes.
    let tail = bytes(file, size.saturating_sub(END as u64 + 0xffff), size)?;
    let is_end = |at: &usize| {
        let end = &tail[*at..];
        end.starts_with(b"PK\x05\x06") && u64::from(u16_at(end, 20)) == (end.len() - END) as u64
    };
    let at = (0..(tail.len() + 1).saturating_sub(END)).rev().find(is_end);
    let at = at.ok_or("is not a zip file: its end is missing")?;
    let end = &tail[at..];
    let mut behind = size - (tail.len() - at) as u64;
    let mut place = (u64::from(u32_at(end, 12)), u64::from(u32_at(end, 16)));
    let mut disks = (u32::from(u16_at(end, 4)), u32::from(u16_at(end, 6)));
    if at >= LOCATOR_64 && tail[at - LOCATOR_64..].starts_with(b"PK\x06\x07") {
        let begin = u64_at(&tail[at - LOCATOR_64..], 8);
        let record = bytes(file, begin, begin.saturating_add(END_64 as u64))?;
        if !record.starts_with(b"PK\x06\x06")
            || begin
                .checked_add(u64_at(&record, 4))
                .is_none_or(|end| end.checked_add(32) != Some(behind))
        {
            return Err("has a malformed zip64 record".into());
        }
        place = (u64_at(&record, 40), u64_at(&record, 48));
        disks = (u32_at(&record, 16), u32_at(&record, 20));
        behind = begin;
    }
    let (length, offset) = place;
    if disks != (0, 0) || offset.checked_add(length) != Some(behind) || length > MAX_DIRECTORY {
        return Err("has a malformed central directory".into());
    }
    Ok((offset, bytes(file, offset, behind)?))
}

/// An entry of the central directory.
struct Header<'d> {
    name: &'d [u8],
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    length: u64,
    /// Offset of its local header.
    local: u64,
    /// Unix file mode; 0 if the archive was made on another system.
    mode: u32,
}

impl<'d> Header<'d> {
    /// Parses the first entry of `bytes`, and returns the rest.
    fn parse(bytes: &'d [u8]) -> Result<(Self, &'d [u8]), String> {
        let broken = "has a malformed central directory";
        if bytes.len() < ENTRY || !bytes.starts_with(b"PK\x01\x02") {
            return Err(broken.into());
        }
        let (name, extra) = (usize::from(u16_at(bytes, 28)), usize::from(u16_at(bytes, 30)));
        let whole = ENTRY + name + extra + usize::from(u16_at(bytes, 32));
        let (header, behind) = bytes.split_at_checked(whole).ok_or(broken)?;
        let mode = if header[5] == 3 { u32_at(header, 38) >> 16 } else { 0 };
        let mut wide =
            [24, 20, 42].map(|at| (u32_at(header, at) == u32::MAX, u64::from(u32_at(header, at))));
        // Values that do not fit into 32 bits are in an extra field, in this order.
        let mut large = field_64(&header[ENTRY + name..ENTRY + name + extra]).unwrap_or_default();
        for (is_wide, value) in &mut wide {
            if *is_wide && large.len() >= 8 {
                *value = u64_at(large, 0);
                large = &large[8..];
            }
        }
        let [(_, length), (_, packed), (_, local)] = wide;
        let (flags, method, crc) = (u16_at(header, 8), u16_at(header, 10), u32_at(header, 16));
        let name = &header[ENTRY..ENTRY + name];
        Ok((Self { name, flags, method, crc, packed, length, local, mode }, behind))
    }

    /// Offset of its data, which must end before `limit`.
    fn data_offset(&self, file: &File, limit: u64) -> Result<u64, String> {
        let name = String::from_utf8_lossy(self.name);
        let begin = self.local.saturating_add((LOCAL + self.name.len()) as u64);
        let local = bytes(file, self.local, begin)?;
        let same = local.starts_with(b"PK\x03\x04") && local[LOCAL..] == *self.name;
        if !same || u16_at(&local, 8) != self.method {
            return Err(format!("has two headers of `{name}` that differ"));
        }
        let stretch = begin + u64::from(u16_at(&local, 28));
        if stretch.checked_add(self.packed).is_none_or(|end| end > limit) {
            return Err(format!("ends within `{name}`"));
        }
        Ok(stretch)
    }

    fn entry(&self, file: &Arc<File>, stretch: u64) -> Result<ZipEntry, String> {
        let name = std::str::from_utf8(self.name)
            .map_err(|_| format!("has a name that is not UTF-8: {:?}", self.name.escape_ascii()))?;
        if name.contains('\\') || name.chars().any(char::is_control) {
            return Err(format!("the name {name:?} contains a backslash or a control character"));
        }
        if self.flags & 1 != 0 {
            return Err(format!("`{name}` is encrypted"));
        }
        let path = normalized_name(name)?;
        let content = match self.method {
            0 if self.packed == self.length => Content::stretch(file.clone(), stretch, self.length),
            8 => Content::deflated(file.clone(), stretch, self.packed, self.length, self.crc),
            0 => return Err(format!("`{name}` is stored with two lengths")),
            other => return Err(format!("`{name}` is compressed by method {other}")),
        };
        let node = match self.mode & 0o17_0000 {
            0o12_0000 if self.length <= MAX_TARGET => {
                let target =
                    content.whole(MAX_TARGET).map_err(|error| format!("`{name}` {error}"))?;
                let target = String::from_utf8(target).ok().filter(|target| !target.is_empty());
                Node::Link(target.ok_or_else(|| format!("the link `{name}` has no target"))?)
            }
            0 | 0o04_0000 | 0o10_0000 if name.ends_with('/') => Node::Dir,
            0 | 0o10_0000 if !path.is_empty() => {
                Node::File { executable: self.mode & 0o100 != 0, content }
            }
            _ => return Err(format!("`{name}` is not a file, directory or link")),
        };
        Ok(ZipEntry { path, node })
    }
}

/// Finds the zip64 extra field.
fn field_64(mut extra: &[u8]) -> Option<&[u8]> {
    while extra.len() >= 4 {
        let (id, length) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let (field, behind) = extra[4..].split_at_checked(length)?;
        if id == 1 {
            return Some(field);
        }
        extra = behind;
    }
    None
}

/// Bytes `from..to` of the file.
fn bytes(file: &File, from: u64, to: u64) -> Result<Vec<u8>, String> {
    let length = to.checked_sub(from).filter(|length| *length <= MAX_DIRECTORY);
    let length = length.and_then(|length| usize::try_from(length).ok()).ok_or("is cut off")?;
    let mut bytes = vec![0; length];
    match file.read_exact_at(&mut bytes, from) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err("is cut off".into()),
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(()) => Ok(bytes),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write;

    /// A zip of these members: name, type and permissions, content. Long ones are deflated.
    pub(crate) fn zip(members: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (name, mode, content) in members {
            let mut packed = content.to_vec();
            if content.len() > 20 {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(content).unwrap();
                packed = encoder.finish().unwrap();
            }
            let mut crc = flate2::Crc::new();
            crc.update(content);
            let method = if content.len() > 20 { 8_u16 } else { 0 };
            let mut header = [[0, 0, method, 0, 0].map(u16::to_le_bytes).concat()].concat();
            for value in [crc.sum() as usize, packed.len(), content.len()] {
                header.extend(u32::try_from(value).unwrap().to_le_bytes());
            }
            header.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
            header.extend([0, 0]);
            directory.extend([b"PK\x01\x02\x00\x03", header.as_slice(), &[0; 6]].concat());
            directory.extend((mode << 16).to_le_bytes());
            directory.extend(u32::try_from(out.len()).unwrap().to_le_bytes());
            directory.extend(name.as_bytes());
            out.extend([b"PK\x03\x04", header.as_slice(), name.as_bytes(), &packed].concat());
        }
        let count = u16::try_from(members.len()).unwrap().to_le_bytes();
        let place = [directory.len(), out.len()].map(|it| u32::try_from(it).unwrap().to_le_bytes());
        out.extend(directory);
        out.extend(
            [b"PK\x05\x06\0\0\0\0", count.as_slice(), &count, &place.concat(), &[0; 2]].concat(),
        );
        out
    }

    fn read(bytes: &[u8]) -> Result<Vec<ZipEntry>, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        entries(&Arc::new(file))
    }

    /// Path and type of every member.
    fn listed(bytes: &[u8]) -> Vec<(String, String)> {
        let kind = |node: Node| match node {
            Node::Dir => "directory".to_owned(),
            Node::Link(target) => format!("-> {target}"),
            Node::File { executable, content } => {
                let text = String::from_utf8(content.read().unwrap()).unwrap();
                format!("{executable} {text}")
            }
        };
        let entries = read(bytes).unwrap().into_iter();
        entries.map(|ZipEntry { path, node }| (path, kind(node))).collect()
    }

    const LONG: &str = "a long text, a long text, a long text";

    #[test]
    fn members_of_every_kind() {
        let bytes = zip(&[
            ("d/", 0o04_0755, b""),
            ("d/x", 0o10_0755, b"short"),
            ("d/y", 0o10_0644, LONG.as_bytes()),
            ("z", 0, b""),
            ("link", 0o12_0777, b"d/x"),
        ]);
        let long = format!("false {LONG}");
        let want = [
            ("d", "directory"),
            ("d/x", "true short"),
            ("d/y", &long),
            ("z", "false "),
            ("link", "-> d/x"),
        ];
        let want = want.map(|(path, kind)| (path.to_owned(), kind.to_owned()));
        assert_eq!(listed(&bytes), want);
        let mut commented = bytes.clone();
        let end = commented.len() - 2;
        commented[end..].copy_from_slice(&3_u16.to_le_bytes());
        commented.extend(b"hey");
        assert_eq!(listed(&commented), want);
    }

    /// The same archive with the fields of the 64-bit format, as for files over 4 GiB.
    #[test]
    fn zip64_is_read() {
        let small = zip(&[("a", 0o10_0644, b"hello")]);
        let end = small.len() - END;
        let (offset, length) = (u32_at(&small[end..], 16), u32_at(&small[end..], 12));
        let mut header = small[offset as usize..end].to_vec();
        for at in [20, 24, 42] {
            header[at..at + 4].fill(0xff);
        }
        header[30] = 28;
        let mut field = vec![1, 0, 24, 0];
        field.extend([5_u64, 5, 0].map(u64::to_le_bytes).concat());
        header.extend(field);
        let begin = u64::from(offset) + u64::from(length) + 28;
        let mut record = b"PK\x06\x06".to_vec();
        record.extend(44_u64.to_le_bytes());
        record.extend([0; 12]);
        record.extend(
            [1, 1, u64::from(length) + 28, u64::from(offset)].map(u64::to_le_bytes).concat(),
        );
        record.extend(b"PK\x06\x07\0\0\0\0");
        record.extend(begin.to_le_bytes());
        record.extend([1, 0, 0, 0]);
        let mut last = small[end..].to_vec();
        last[8..20].fill(0xff);
        let bytes = [&small[..offset as usize], &header, &record, &last].concat();
        assert_eq!(listed(&bytes), [("a".to_owned(), "false hello".to_owned())]);
    }

    #[test]
    fn hostile_archives_are_refused() {
        for (name, mode, rule) in [
            ("/etc/passwd", 0, "the name `/etc/passwd` is absolute"),
            ("a/../../x", 0, "the name `a/../../x` contains `..`"),
            ("a\\b", 0, "contains a backslash or a control character"),
            ("a\nb", 0, "contains a backslash or a control character"),
            ("./", 0o10_0644, ""),
            (".", 0o10_0644, "`.` is not a file, directory or link"),
            ("fifo", 0o01_0644, "`fifo` is not a file, directory or link"),
            ("dev", 0o02_0644, "`dev` is not a file, directory or link"),
            ("link", 0o12_0777, "the link `link` has no target"),
        ] {
            match read(&zip(&[(name, mode, b"")])) {
                Err(error) => assert!(!rule.is_empty() && error.contains(rule), "{name}: {error}"),
                Ok(_) => assert_eq!(rule, "", "{name}"),
            }
        }
        let good = zip(&[("a", 0, b"hello"), ("b", 0, b"world")]);
        let end = good.len() - END;
        let first = u32_at(&good[end..], 16) as usize;
        let second = first + ENTRY + 1;
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        // Deflated, and reaching into the next member.
        let mut overlapping = changed(8, 8);
        overlapping[first + 10] = 8;
        overlapping[first + 20] = 30;
        // Members that declare a length of 4 GiB each.
        let names = ["a", "b", "c", "d", "e"].map(|name| (name, 0, LONG.as_bytes()));
        let mut large = zip(&names);
        let behind = large.len() - END;
        let mut at = u32_at(&large[behind..], 16) as usize;
        while at < behind {
            large[at + 24..at + 28].copy_from_slice(&(u32::MAX - 1).to_le_bytes());
            at += ENTRY + 1;
        }
        for (bytes, rule) in [
            (large, "has more than 17179869184 bytes in its members"),
            (b"garbage".to_vec(), "is not a zip file"),
            (Vec::new(), "is not a zip file"),
            (good[..good.len() - 1].to_vec(), "is not a zip file"),
            ([b"x", good.as_slice()].concat(), "has a malformed central directory"),
            ([good.as_slice(), b"x"].concat(), "is not a zip file"),
            (changed(end + 12, 1), "has a malformed central directory"),
            (changed(first, b'x'), "has a malformed central directory"),
            (changed(first + 28, 200), "has a malformed central directory"),
            (changed(0, b'x'), "has two headers of `a` that differ"),
            (changed(30, b'x'), "has two headers of `a` that differ"),
            (changed(first + 8, 1), "`a` is encrypted"),
            (changed(first + 20, 200), "ends within `a`"),
            (overlapping, "has members that overlap"),
            (changed(first + 24, 6), "`a` is stored with two lengths"),
            (changed(second + ENTRY, b'a'), "has two headers of `a` that differ"),
            (zip(&[("a", 0, b"1"), ("./a", 0, b"2")]), "has two members `a`"),
        ] {
            match read(&bytes) {
                Err(error) => assert!(error.contains(rule), "{rule}: {error}"),
                Ok(_) => panic!("{rule}"),
            }
        }
    }
}
