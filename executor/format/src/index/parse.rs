//! Bytes → [`Index`], and the rules of the format.

use super::{Body, Entry, Index, MAGIC, MAX_INDEX_BYTES, Member, Piece, stream_length};
use crate::member::{MAX_MEMBER, MEMBER_HEADER, MEMBER_TRAILER};
use crate::split_directory;
use crate::ustar::MAX_FILE;

/// Longest path below the archive's directory and longest link target, in bytes.
const MAX_PATH: usize = 3900;
/// Longest component of a path, in bytes, as on Linux.
const MAX_COMPONENT: usize = 255;
/// Most components of a path.
const MAX_DEPTH: usize = 127;
/// Most memory for members, entries and pieces, in bytes: prefix compression lets a short index expand to
/// long paths. Fifty thousand files with usual names take half of it.
const MAX_MEMORY: usize = 16 << 20;
/// A deflate stream is at most this much longer than its input: five bytes for each stored block of at
/// least 5,000 bytes, and some for the last one.
const MAX_EXPANSION: usize = MAX_MEMBER / 1000 + 64;

impl Index {
    /// Parses the uncompressed bytes of an index.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > MAX_INDEX_BYTES {
            return Err(format!("it is longer than {MAX_INDEX_BYTES} bytes"));
        }
        let bytes = bytes.strip_prefix(MAGIC).ok_or("it is not an index of a supported version")?;
        let mut from = Reader { bytes, budget: MAX_MEMORY };
        let index = Self {
            directory: from.string()?.to_owned(),
            members: from.members()?,
            entries: from.entries()?,
        };
        if !from.bytes.is_empty() {
            return Err("bytes after its end".to_owned());
        }
        index.check()?;
        Ok(index)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if split_directory(&self.directory).is_none() {
            return Err(format!("its directory {:?} is not NAME-VERSION", self.directory));
        }
        let members = self.members.len() * size_of::<Member>();
        let memory = self.entries.iter().fold(members, |sum, entry| sum + memory(entry));
        if memory > MAX_MEMORY {
            return Err(TOO_LARGE.to_owned());
        }
        check_entries(&self.entries)?;
        self.check_members()
    }

    /// Checks that the members unpack to exactly the tar stream, and that none begins inside a header.
    fn check_members(&self) -> Result<(), String> {
        let mut places = self.places().peekable();
        let (mut at, mut end) = (0_u64, 0);
        for (number, member) in self.members.iter().enumerate() {
            let refuse = |rule: &str| Err(format!("member {number}: {rule}"));
            let (length, unpacked) = (member.length as usize, member.unpacked as usize);
            if unpacked == 0 || unpacked > MAX_MEMBER {
                return refuse("it unpacks to nothing or to more than a mebibyte");
            }
            let smallest = MEMBER_HEADER + MEMBER_TRAILER;
            if length <= smallest || length > unpacked + smallest + MAX_EXPANSION {
                return refuse("its length is impossible for its uncompressed length");
            }
            while let Some(place) = places.next_if(|place| place.start < at) {
                end = place.end;
                if (place.start..place.body).contains(&at) {
                    return refuse("it begins inside a header");
                }
            }
            at += u64::from(member.unpacked);
        }
        let end = places.last().map_or(end, |place| place.end);
        if at != stream_length(end) {
            return Err(format!(
                "its members unpack to {at} bytes, which is not the length of its entries"
            ));
        }
        Ok(())
    }
}

/// Checks that the entries are a tree in depth-first order.
fn check_entries(entries: &[Entry]) -> Result<(), String> {
    let Some((first, rest)) = entries.split_first() else {
        return Err("it has no entries".to_owned());
    };
    if !first.path.is_empty() || first.body != Body::Directory {
        return Err("its first entry is not the archive's directory".to_owned());
    }
    // The directories that contain the previous entry.
    let mut open = vec![""];
    let mut before = first;
    for entry in rest {
        let refuse = |rule: &str| Err(format!("entry {:?}: {rule}", entry.path));
        if let Err(rule) = check_path(&entry.path) {
            return refuse(rule);
        }
        if before.path.split('/').ge(entry.path.split('/')) && !before.path.is_empty() {
            return refuse("it is listed twice or out of order");
        }
        let parent = entry.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        while open.last().is_some_and(|directory| *directory != parent) {
            open.pop();
        }
        if open.is_empty() {
            return refuse("its directory is not listed before it");
        }
        check_body(entry).or_else(refuse)?;
        if entry.body == Body::Directory {
            open.push(&entry.path);
        }
        before = entry;
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > MAX_PATH {
        return Err("a path that is too long");
    }
    if path.contains('\0') {
        return Err("a path with a NUL byte");
    }
    let mut depth = 0;
    for part in path.split('/') {
        depth += 1;
        if matches!(part, "" | "." | "..") || part.len() > MAX_COMPONENT || depth > MAX_DEPTH {
            return Err("a path with `.`, `..`, or an empty, overlong or too deep component");
        }
    }
    Ok(())
}

fn check_body(entry: &Entry) -> Result<(), &'static str> {
    match &entry.body {
        Body::Symlink(target) if target.is_empty() || target.len() > MAX_PATH => {
            Err("a link whose target is empty or too long")
        }
        Body::Symlink(target) if target.contains('\0') => Err("a link target with a NUL byte"),
        Body::Directory | Body::Symlink(_) => Ok(()),
        Body::File { pieces, .. } => {
            let mut size = 0_u64;
            for piece in pieces {
                size = size.saturating_add(piece.size);
                if piece.size == 0 || size > MAX_FILE {
                    return Err("a file with an empty piece or of more than 8 GiB");
                }
            }
            Ok(())
        }
    }
}

/// The approximate memory of an entry, in bytes.
fn memory(entry: &Entry) -> usize {
    let more = match &entry.body {
        Body::Directory => 0,
        Body::File { pieces, .. } => pieces.len() * size_of::<Piece>(),
        Body::Symlink(target) => target.len(),
    };
    size_of::<Entry>() + entry.path.len() + more
}

const TOO_LARGE: &str = "it needs more memory than is allowed";

/// The remaining bytes and memory.
struct Reader<'a> {
    bytes: &'a [u8],
    budget: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or("it is cut off")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, String> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << shift;
            if shifted >> shift != bits || (byte == 0 && shift > 0) {
                break;
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number that is too large or not in its shortest form".to_owned())
    }

    fn length(&mut self) -> Result<usize, String> {
        usize::try_from(self.number()?).map_err(|_| "it is cut off".to_owned())
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| "a text that is not UTF-8".to_owned())
    }

    fn sha256(&mut self) -> Result<[u8; 32], String> {
        Ok(self.take(32)?.try_into().expect("32 bytes were taken"))
    }

    fn members(&mut self) -> Result<Vec<Member>, String> {
        let count = self.count(34)?;
        (0..count).map(|_| self.member()).collect()
    }

    fn member(&mut self) -> Result<Member, String> {
        let mut number =
            || u32::try_from(self.number()?).map_err(|_| "a member that is too large".to_owned());
        let (length, unpacked) = (number()?, number()?);
        Ok(Member { length, unpacked, sha256: self.sha256()? })
    }

    fn entries(&mut self) -> Result<Vec<Entry>, String> {
        let count = self.count(3)?;
        let mut entries: Vec<Entry> = Vec::new();
        for _ in 0..count {
            let before = entries.last().map_or("", |entry| entry.path.as_str());
            let entry = self.entry(before)?;
            self.budget = self.budget.checked_sub(memory(&entry)).ok_or(TOO_LARGE)?;
            entries.push(entry);
        }
        Ok(entries)
    }

    fn entry(&mut self, before: &str) -> Result<Entry, String> {
        let kind = self.number()?;
        let shared = self.length()?;
        let length = self.length()?;
        let rest = self.take(length)?;
        // The common prefix may end inside a character: only the whole path must be UTF-8.
        let (same, other) = before
            .as_bytes()
            .split_at_checked(shared)
            .ok_or("a path shares more than the previous path has")?;
        if !other.is_empty() && other.first() == rest.first() {
            return Err("a path whose shared prefix is longer than stated".to_owned());
        }
        let mut path = Vec::with_capacity(shared + length);
        path.extend(same);
        path.extend(rest);
        let path = String::from_utf8(path).map_err(|_| "a path that is not UTF-8")?;
        let body = match kind {
            0 => Body::Directory,
            1 | 2 => {
                let count = self.count(33)?;
                // Capacity for one piece: most files have one.
                let mut pieces = Vec::with_capacity(count);
                for _ in 0..count {
                    pieces.push(Piece { size: self.number()?, sha256: self.sha256()? });
                }
                Body::File { executable: kind == 2, pieces }
            }
            3 => Body::Symlink(self.string()?.to_owned()),
            _ => return Err("an entry of an unknown kind".to_owned()),
        };
        Ok(Entry { path, body })
    }

    /// Reads a count of items of at least `size` bytes each; refused if the remaining bytes are too few.
    fn count(&mut self, size: usize) -> Result<usize, String> {
        let count = self.length()?;
        if count > self.bytes.len() / size {
            return Err("it is cut off".to_owned());
        }
        Ok(count)
    }
}
