//! Unpacks a tar file, compressed or not. A malformed file is refused, not repaired.

use super::zstd;
use crate::{
    error::Error,
    tree::{Member, Node, content::Content},
};
use std::{
    cell::Cell,
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek},
    path::Path,
    sync::Arc,
};

/// Largest unpacked tar, in bytes: a limit on decompression bombs.
pub(crate) const MAX_DATA: u64 = 16 << 30;
/// Most members: a header of 512 bytes compresses to a few.
const MAX_MEMBERS: usize = 1 << 20;
/// Most bytes of a member's name, target and extended attributes, which are read into memory.
const MAX_NAMES: u64 = 1 << 20;
/// Most memory for decompressing xz, in bytes: `xz -9` needs 65 MiB.
const MAX_XZ: u64 = 256 << 20;

/// Reads the tar file `name` from `packed`, whose compression is given by `suffix`. File contents are in an
/// unlinked temporary file in `spool_dir`.
///
/// Modes are reduced to executable or not; owners and times are ignored; a hard link becomes a copy.
///
/// # Errors
/// `refused` with the rule, for anything but files, directories and links with relative names without `..`;
/// [`Error::File`].
pub(crate) fn read(
    name: &str,
    suffix: &str,
    packed: impl Read,
    spool_dir: &Path,
    refused: impl Fn(String) -> Error,
) -> Result<Vec<Member>, Error> {
    let spool = spool(name, suffix, (packed, MAX_DATA), spool_dir, &refused)?;
    members(&spool).map_err(refused)
}

/// Decompresses the tar stream of the file `name` into an unlinked file in `spool_dir`, of fewer than `most` bytes.
///
/// # Errors
/// `refused` with the rule; [`Error::File`].
pub(super) fn spool(
    name: &str,
    suffix: &str,
    (packed, most): (impl Read, u64),
    spool_dir: &Path,
    refused: impl Fn(String) -> Error,
) -> Result<Arc<File>, Error> {
    let mut data = decompress(name, suffix, packed).map_err(&refused)?.take(most);
    let mut spool =
        tempfile::tempfile_in(spool_dir).map_err(Error::file("write below", spool_dir))?;
    let size = io::copy(&mut data, &mut spool).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => Error::file("write below", spool_dir)(error),
        _ => refused(format!("`{name}` cannot be unpacked: {error}")),
    })?;
    if size == most {
        return Err(refused(format!("`{name}` is larger than {most} bytes")));
    }
    spool.rewind().map_err(Error::file("read", spool_dir))?;
    Ok(Arc::new(spool))
}

/// Decompresses `from`, the file `name`, whose compression is given by `suffix`.
///
/// # Errors
/// An unknown suffix, or a malformed header.
pub(crate) fn decompress<'r>(
    name: &str,
    suffix: &str,
    from: impl Read + 'r,
) -> Result<Box<dyn Read + 'r>, String> {
    Ok(match suffix.trim_end_matches('/') {
        "" => Box::new(from),
        ".xz" => {
            let stream = liblzma::stream::Stream::new_stream_decoder(MAX_XZ, 0);
            let stream = stream.map_err(|error| error.to_string())?;
            Box::new(liblzma::read::XzDecoder::new_stream(from, stream))
        }
        ".gz" => Box::new(flate2::read::MultiGzDecoder::new(from)),
        ".zst" => Box::new(zstd::Frames::new(from)),
        _ => return Err(format!("`{name}` has an unknown compression")),
    })
}

/// The members of the tar file `spool`, in its order, without the root itself.
fn members(spool: &Arc<File>) -> Result<Vec<Member>, String> {
    let mut members: Vec<Member> = Vec::new();
    let mut files: BTreeMap<String, Node> = BTreeMap::new();
    entries(spool, &mut |entry| {
        let name = utf8(entry.name)?;
        let path = normalized_name(&name)?;
        let target = || match entry.link {
            Some(target) if !target.is_empty() => utf8(target),
            _ => Err(format!("the link `{name}` has no target")),
        };
        let node = match entry.kind {
            tar::EntryType::Directory => Node::Dir,
            tar::EntryType::Symlink => Node::Link(target()?),
            tar::EntryType::Link => {
                let first = normalized_name(&target()?)?;
                let copy = files.get(&first);
                copy.ok_or_else(|| {
                    format!("`{name}` is a hard link to `{first}`, which is not an earlier file")
                })?
                .clone()
            }
            tar::EntryType::Regular => {
                Node::File { executable: entry.mode & 0o100 != 0, content: entry.content }
            }
            other => {
                let kind = char::from(other.as_byte());
                return Err(format!(
                    "`{name}` is not a file, directory or link, but type `{kind}`"
                ));
            }
        };
        if path.is_empty() {
            if !matches!(node, Node::Dir) {
                return Err(format!("`{name}` is not a valid name"));
            }
            return Ok(());
        }
        if matches!(node, Node::File { .. }) {
            files.insert(path.clone(), node.clone());
        }
        members.push(Member { path, node });
        Ok(())
    })?;
    Ok(members)
}

/// A member as a tar file has it.
struct Entry<'e> {
    /// Its name.
    name: &'e [u8],
    /// Its type.
    kind: tar::EntryType,
    /// The target of a link.
    link: Option<&'e [u8]>,
    /// Permission bits.
    mode: u32,
    /// The bytes of a file.
    content: Content,
}

/// Calls `each` with every member of the tar file `spool`, in its order.
///
/// # Errors
/// The rule that the file breaks, or what `each` says.
fn entries(
    spool: &Arc<File>,
    each: &mut dyn FnMut(Entry<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let left = Cell::new(0);
    let mut archive = tar::Archive::new(LimitedRead { file: spool, left: &left });
    let broken = |error: io::Error| format!("is not a tar archive: {error}");
    let length = spool.metadata().map_err(broken)?.len();
    let mut entries = archive.entries_with_seek().map_err(broken)?;
    for number in 0.. {
        left.set(MAX_NAMES);
        let Some(entry) = entries.next() else { break };
        let entry = entry.map_err(broken)?;
        if number == MAX_MEMBERS {
            return Err(format!("has more than {MAX_MEMBERS} members"));
        }
        let kind = entry.header().entry_type();
        if kind == tar::EntryType::XGlobalHeader {
            continue; // a comment on the whole archive, as git writes it
        }
        let (name, link) = (entry.path_bytes(), entry.link_name_bytes());
        if entry.raw_file_position().saturating_add(entry.size()) > length {
            return Err(format!("ends within `{}`", String::from_utf8_lossy(&name)));
        }
        each(Entry {
            name: &name,
            kind,
            link: link.as_deref(),
            // Some archives leave it out for links.
            mode: if kind.is_file() { entry.header().mode().map_err(broken)? } else { 0 },
            content: Content::stretch(spool.clone(), entry.raw_file_position(), entry.size()),
        })?;
    }
    Ok(())
}

/// A file that limits the bytes read for each header. Contents of members are skipped by seeking; only
/// headers and long names are read.
struct LimitedRead<'f> {
    file: &'f File,
    left: &'f Cell<u64>,
}

impl Read for LimitedRead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let left = self.left.get().checked_sub(read as u64).ok_or_else(|| {
            let reason = format!("a name or attribute has more than {MAX_NAMES} bytes");
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })?;
        self.left.set(left);
        Ok(read)
    }
}

impl Seek for LimitedRead<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

pub(crate) fn utf8(bytes: &[u8]) -> Result<String, String> {
    let text = String::from_utf8(bytes.to_vec());
    let text =
        text.map_err(|_| format!("the name `{}` is not UTF-8", String::from_utf8_lossy(bytes)))?;
    if text.chars().any(char::is_control) {
        return Err(format!("the name {text:?} contains a control character"));
    }
    Ok(text)
}

/// Normalizes a name: `./usr//bin/` → `usr/bin`; the root becomes the empty string.
pub(crate) fn normalized_name(name: &str) -> Result<String, String> {
    if name.starts_with('/') {
        return Err(format!("the name `{name}` is absolute"));
    }
    if name.split('/').any(|part| part == "..") {
        return Err(format!("the name `{name}` contains `..`"));
    }
    let parts = name.split('/').filter(|part| !part.is_empty() && *part != ".");
    Ok(parts.collect::<Vec<_>>().join("/"))
}
