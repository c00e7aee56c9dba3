//! The index of an archive: `NAME-VERSION-ARCH.tar.gz.index`.
//!
//! It lists every member of the archive and every entry of its tar stream, so that a reader can verify
//! a member before it is inflated, determine its content before it is fetched, and detect files, and
//! pieces of large files, that are already installed.
//!
//! The file is one gzip stream. Inside, numbers are LEB128, texts are a length and UTF-8, and
//! hashes are the 32 bytes of SHA-256:
//!
//! ```text
//! "joblet-index 1\n"
//! directory                                    the archive's one directory: NAME-VERSION
//! count of members, then for each:             contiguous from the file's first byte
//!     length, unpacked, sha256                 compressed and uncompressed length; hash of its compressed bytes
//! count of entries, then for each:             in the order of the tar stream
//!     kind                                     0 directory, 1 file, 2 executable file, 3 symbolic link
//!     shared, rest                             the path below the directory: length of the common prefix
//!                                              with the previous path, and the rest
//!     target                                   of a symbolic link
//!     count of pieces, then for each: size, sha256     of a file: its content in pieces, in bytes
//! ```
//!
//! Its gzip header may say in which order members are best fetched ([`reads`]); apart from that, an archive
//! determines its index, and a valid index determines the tar stream: headers are those of
//! [`crate::ustar`]. Paths are in depth-first order (a directory is followed by its content, names in byte
//! order), each below a directory that precedes it.

mod parse;
pub mod reads;

use crate::ustar::{self, BLOCK, END, EntryKind};

/// First bytes of an index. A reader refuses any other version. Part of the format.
const MAGIC: &[u8] = b"joblet-index 1\n";

/// Largest index that a reader accepts, in bytes, compressed or not.
pub const MAX_INDEX_BYTES: u64 = 8 << 20;

/// A valid index: a value of this type satisfies every rule of the format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    directory: String,
    members: Vec<Member>,
    entries: Vec<Entry>,
}

/// One member of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Length in the file, in bytes.
    pub length: u32,
    /// Uncompressed length, in bytes.
    pub unpacked: u32,
    /// SHA-256 of its bytes in the file.
    pub sha256: [u8; 32],
}

/// One entry of the tar stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path below the archive's directory; empty for that directory itself.
    pub path: String,
    /// Its kind.
    pub body: Body,
}

/// The kind of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Whether it may be executed.
        executable: bool,
        /// Its content, in order.
        pieces: Vec<Piece>,
    },
    /// A symbolic link and its target.
    Symlink(String),
}

/// A range of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Piece {
    /// Its length, in bytes; not 0.
    pub size: u64,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
}

/// The position of an entry in the tar stream, in bytes from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Start of its headers.
    pub start: u64,
    /// Start of its body.
    pub body: u64,
    /// Start of the next entry.
    pub end: u64,
}

impl Entry {
    /// Length of the body, in bytes.
    pub fn size(&self) -> u64 {
        match &self.body {
            Body::File { pieces, .. } => pieces.iter().map(|piece| piece.size).sum(),
            _ => 0,
        }
    }

    /// The header blocks before its body.
    pub fn headers(&self, directory: &str) -> Vec<u8> {
        ustar::headers(directory, &self.path, self.kind())
    }

    fn kind(&self) -> EntryKind<'_> {
        match &self.body {
            Body::Directory => EntryKind::Directory,
            Body::File { executable, .. } => {
                EntryKind::File { executable: *executable, size: self.size() }
            }
            Body::Symlink(target) => EntryKind::Symlink(target),
        }
    }
}

impl Index {
    /// Builds an index, and checks the rules that a reader applies.
    ///
    /// # Errors
    /// The rule that is broken, with the entry.
    pub fn new(
        directory: String,
        members: Vec<Member>,
        entries: Vec<Entry>,
    ) -> Result<Self, String> {
        let index = Self { directory, members, entries };
        index.check()?;
        Ok(index)
    }

    /// The archive's one directory.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// The members, in the order of the file.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The entries, in the order of the tar stream.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Length of the archive, in bytes.
    pub fn archive_size(&self) -> u64 {
        self.members.iter().map(|member| u64::from(member.length)).sum()
    }

    /// Sum of the lengths of the regular files, in bytes.
    pub fn unpacked_size(&self) -> u64 {
        self.entries.iter().map(Entry::size).sum()
    }

    /// The place of each entry in the tar stream, in order.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        let mut next = 0;
        self.entries.iter().map(move |entry| {
            let start = next;
            let headers = ustar::headers_length(&self.directory, &entry.path, entry.kind());
            let body = start + headers as u64;
            let size = entry.size();
            next = body + size + ustar::padding(size);
            Place { start, body, end: next }
        })
    }

    /// The uncompressed bytes of the index.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        put_text(&mut bytes, &self.directory);
        put_number(&mut bytes, self.members.len() as u64);
        for member in &self.members {
            put_number(&mut bytes, member.length.into());
            put_number(&mut bytes, member.unpacked.into());
            bytes.extend(member.sha256);
        }
        put_number(&mut bytes, self.entries.len() as u64);
        let mut before = "";
        for entry in &self.entries {
            let kind = match &entry.body {
                Body::Directory => 0,
                Body::File { executable, .. } => 1 + u64::from(*executable),
                Body::Symlink(_) => 3,
            };
            put_number(&mut bytes, kind);
            let shared = before.bytes().zip(entry.path.bytes()).take_while(|(a, b)| a == b).count();
            put_number(&mut bytes, shared as u64);
            put_bytes(&mut bytes, &entry.path.as_bytes()[shared..]);
            match &entry.body {
                Body::Directory => {}
                Body::Symlink(target) => put_text(&mut bytes, target),
                Body::File { pieces, .. } => {
                    put_number(&mut bytes, pieces.len() as u64);
                    for piece in pieces {
                        put_number(&mut bytes, piece.size);
                        bytes.extend(piece.sha256);
                    }
                }
            }
            before = &entry.path;
        }
        bytes
    }
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(0x80 | number.to_le_bytes()[0]);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn put_bytes(bytes: &mut Vec<u8>, text: &[u8]) {
    put_number(bytes, text.len() as u64);
    bytes.extend(text);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_bytes(bytes, text.as_bytes());
}

/// Length of a tar stream whose last entry ends at `end`, in bytes.
fn stream_length(end: u64) -> u64 {
    debug_assert_eq!(end % BLOCK as u64, 0, "entries are whole blocks");
    end + END as u64
}

#[cfg(test)]
mod tests;
