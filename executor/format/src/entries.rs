//! Parses a tar stream into entries, strictly: an archive of a runtime, or a layer of an image.
//!
//! Where GNU tar, BSD tar and other implementations are known to read a stream differently (two extension
//! headers for one entry, a size in two places, bytes after the end), it is refused.

mod budget;
mod name;
mod pax;
mod section;

pub use budget::{Budget, MAX_ENTRIES};
pub use name::{member_path, shown};
pub use section::Section;

use std::io::{self, Read};
use tar::{EntryType, Header};

/// Size of a tar block, in bytes. Part of the format.
const BLOCK: usize = 512;
/// Maximum size of an extension header (pax records, a GNU long name), in bytes.
const MAX_EXTENSION: u64 = 1 << 20;
/// The smallest size that does not fit into the eleven octal digits of the header, and so may be in a pax record only.
const OCTAL_LIMIT: u64 = 1 << 33;
/// More than any file system supports, in bytes.
const SIZE_LIMIT: u64 = 1 << 62;

/// One entry of an archive. The body of a file is read next, with [`Entries::read_body`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    /// The name, unchanged.
    pub name: Vec<u8>,
    /// Its type.
    pub kind: Kind,
    /// Permission bits, unchanged.
    pub mode: u32,
    /// Modification time, in seconds since 1970.
    pub mtime: u64,
}

/// The type of an entry. All other types of tar are refused by the parser; devices and FIFOs by most readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file of this length, in bytes.
    File(u64),
    /// A symbolic link with this target.
    Symlink(Vec<u8>),
    /// A hard link to the entry with this name.
    HardLink(Vec<u8>),
    /// A character or block device.
    Device,
    /// A FIFO.
    Fifo,
}

/// The reason why the stream cannot be read further.
#[derive(Debug)]
pub enum EntryError {
    /// The stream violates this rule; with the entry if one is known.
    Refused(String),
    /// The stream cannot be read: damaged or truncated.
    Read(io::Error),
}

impl From<io::Error> for EntryError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// The source of a tar stream. `Read` would add a dozen functions for every type.
pub trait Stream {
    /// Reads some bytes; 0 at the end.
    ///
    /// # Errors
    /// Errors of reading; `InvalidData` if the stream cannot be decompressed.
    fn some(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Skips `count` bytes.
    ///
    /// # Errors
    /// If they cannot be read, or the stream ends.
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let mut buffer = [0; 16 * BLOCK];
        let mut left = count;
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.all(&mut buffer[..wanted])?;
            left -= wanted as u64;
        }
        Ok(())
    }

    /// Fills `buffer`.
    ///
    /// # Errors
    /// As [`Stream::some`]; `UnexpectedEof` at the end.
    fn all(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut at = 0;
        while at < buffer.len() {
            match self.some(&mut buffer[at..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => at += count,
            }
        }
        Ok(())
    }

    /// Offset of the next byte, for streams that know it.
    fn position(&self) -> u64 {
        0
    }
}

impl Stream for &[u8] {
    fn some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(buffer)
    }
}

/// Reads entries one after the other from an uncompressed tar stream.
pub struct Entries<'s> {
    stream: &'s mut dyn Stream,
    /// Remaining length of the current file's body, in bytes.
    body: u64,
    /// Padding after it, in bytes.
    padding: u64,
}

/// The extension headers of the next entry.
#[derive(Default)]
struct Extension {
    seen: Option<&'static str>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl<'s> Entries<'s> {
    /// A parser that starts at the first byte of `stream`.
    pub fn new(stream: &'s mut dyn Stream) -> Self {
        Self { stream, body: 0, padding: 0 }
    }

    /// Offset of the current body, by [`Stream::position`], before any of it was read.
    pub fn position(&self) -> u64 {
        self.stream.position()
    }

    /// The next entry, or `None` after the last one, when the whole stream has been read and is valid.
    ///
    /// The rest of the current body is skipped.
    ///
    /// # Errors
    /// [`EntryError`]; no further entry can be read then.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>, EntryError> {
        self.finish_body()?;
        let mut extension = Extension::default();
        loop {
            let mut header = Header::new_old();
            self.stream.all(header.as_mut_bytes())?;
            if header.as_bytes().iter().all(|&byte| byte == 0) {
                if let Some(seen) = extension.seen {
                    return Err(refused(format!("{seen} without an entry after it")));
                }
                return self.finish().map(|()| None);
            }
            check_header(&header)?;
            match header.entry_type() {
                EntryType::XHeader => self.pax(&header, &mut extension)?,
                EntryType::XGlobalHeader => self.global(&header, &extension)?,
                EntryType::GNULongName => {
                    let text = self.long_text(&header, &extension, "GNU long name")?;
                    extension.path = Some(text);
                    extension.seen = Some("GNU long name");
                }
                EntryType::GNULongLink => {
                    let text = self.long_text(&header, &extension, "GNU long link")?;
                    extension.link = Some(text);
                    extension.seen = Some("GNU long link");
                }
                _ => return self.entry(&header, extension).map(Some),
            }
        }
    }

    /// Reads from the current file's body; 0 at its end.
    ///
    /// # Errors
    /// If the stream cannot be read.
    pub fn read_body(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.body).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.stream.some(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.body -= count as u64;
        Ok(count)
    }

    /// Builds an entry from its header and extension headers.
    fn entry(&mut self, header: &Header, extension: Extension) -> Result<TarEntry, EntryError> {
        let name = extension.path.unwrap_or_else(|| header_name(header));
        let fail = |rule: &str| refused(format!("{}: {rule}", shown(&name)));
        let stated = octal_or_base256(&header.as_old().size, header.entry_size(), "size")?;
        let size = match extension.size {
            Some(size) if size != stated && size < OCTAL_LIMIT => {
                return Err(fail("its size differs between header and pax record"));
            }
            Some(size) => size,
            None => stated,
        };
        let link = extension.link.unwrap_or_else(|| terminated(&header.as_old().linkname));
        let kind = match header.entry_type() {
            EntryType::Regular if name.ends_with(b"/") => {
                return Err(fail("a file whose name ends in `/`"));
            }
            EntryType::Regular => Kind::File(size),
            _ if size != 0 => return Err(fail("only a file may have a body")),
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(link),
            EntryType::Link => Kind::HardLink(link),
            EntryType::Char | EntryType::Block => Kind::Device,
            EntryType::Fifo => Kind::Fifo,
            EntryType::GNUSparse => return Err(fail("a sparse file")),
            _ => return Err(fail("an entry that is not a directory, file or link")),
        };
        if size > SIZE_LIMIT {
            return Err(fail("a size that is too large for any file system"));
        }
        if let Kind::File(size) = kind {
            self.body = size;
            self.padding = size.next_multiple_of(BLOCK as u64) - size;
        }
        let mode = number(header.mode(), "mode")?;
        let mtime = octal_or_base256(&header.as_old().mtime, header.mtime(), "mtime")?;
        Ok(TarEntry { name, kind, mode, mtime })
    }

    fn pax(&mut self, header: &Header, extension: &mut Extension) -> Result<(), EntryError> {
        if let Some(seen) = extension.seen {
            return Err(refused(format!("a pax header after a {seen} for one entry")));
        }
        let body = self.extension_body(header)?;
        let records = pax::records(&body).map_err(|rule| refused(format!("pax header: {rule}")))?;
        extension.seen = Some("pax header");
        extension.path = records.path;
        extension.link = records.link;
        extension.size = records.size;
        Ok(())
    }

    /// A pax header for all entries that follow: only `comment` keys are accepted.
    fn global(&mut self, header: &Header, extension: &Extension) -> Result<(), EntryError> {
        if let Some(seen) = extension.seen {
            return Err(refused(format!("a global pax header between a {seen} and its entry")));
        }
        let body = self.extension_body(header)?;
        let rule = |rule| refused(format!("global pax header: {rule}"));
        let records = pax::records(&body).map_err(rule)?;
        if records.path.is_some() || records.link.is_some() || records.size.is_some() {
            return Err(rule("it names or sizes entries".to_owned()));
        }
        Ok(())
    }

    fn long_text(
        &mut self,
        header: &Header,
        extension: &Extension,
        what: &'static str,
    ) -> Result<Vec<u8>, EntryError> {
        // GNU tar writes a long link before a long name; any other pair is ambiguous.
        let pair = matches!(extension.seen, Some("GNU long link")) && what == "GNU long name";
        match extension.seen {
            Some(seen) if !pair => {
                return Err(refused(format!("a {what} after a {seen} for one entry")));
            }
            _ => {}
        }
        let mut body = self.extension_body(header)?;
        if body.pop() != Some(0) || body.is_empty() || body.contains(&0) {
            return Err(refused(format!("a {what} that is not one NUL-terminated string")));
        }
        Ok(body)
    }

    /// Reads the body of an extension header and its padding.
    fn extension_body(&mut self, header: &Header) -> Result<Vec<u8>, EntryError> {
        let size = octal_or_base256(&header.as_old().size, header.entry_size(), "size")?;
        if size > MAX_EXTENSION {
            return Err(refused(format!("an extension header of {size} bytes")));
        }
        let padded = size.next_multiple_of(BLOCK as u64);
        let mut body = vec![0; usize::try_from(padded).unwrap_or_default()];
        self.stream.all(&mut body)?;
        body.truncate(usize::try_from(size).expect("at most MAX_EXTENSION"));
        Ok(body)
    }

    fn finish_body(&mut self) -> Result<(), EntryError> {
        self.stream.skip(self.body + self.padding)?;
        (self.body, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads the end of the archive after its first zero block: a second one, then only zeros.
    fn finish(&mut self) -> Result<(), EntryError> {
        let mut buffer = [0; 16 * BLOCK];
        let mut length = 0;
        loop {
            let count = self.stream.some(&mut buffer)?;
            if count == 0 {
                break;
            }
            length += count;
            if buffer[..count].iter().any(|&byte| byte != 0) {
                return Err(refused("bytes after the end of the archive".to_owned()));
            }
        }
        if length < BLOCK {
            return Err(EntryError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}

/// Checks that the block is a ustar or GNU header with a correct checksum.
fn check_header(header: &Header) -> Result<(), EntryError> {
    let bytes = header.as_bytes();
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    // The checksum is computed with spaces in its own field.
    let actual = sum(&bytes[..148]) + 8 * u32::from(b' ') + sum(&bytes[156..]);
    if header.cksum().ok() != Some(actual) {
        return Err(refused("a header with a wrong checksum: damaged or not a tar archive".into()));
    }
    if header.as_ustar().is_none() && header.as_gnu().is_none() {
        return Err(refused("a header that is neither ustar nor GNU".into()));
    }
    Ok(())
}

/// The name in the header itself: ustar splits it into prefix and name.
fn header_name(header: &Header) -> Vec<u8> {
    let Some(ustar) = header.as_ustar() else { return terminated(&header.as_old().name) };
    let (mut path, name) = (terminated(&ustar.prefix), terminated(&ustar.name));
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend(name);
    path
}

/// A header field up to its first NUL.
fn terminated(field: &[u8]) -> Vec<u8> {
    field.split(|&byte| byte == 0).next().unwrap_or_default().to_owned()
}

fn number<T>(value: io::Result<T>, field: &str) -> Result<T, EntryError> {
    value.map_err(|_| refused(format!("a header whose {field} is not a number")))
}

/// A number that may be in base 256; it must be positive and fit into 63 bits.
fn octal_or_base256(
    field: &[u8; 12],
    value: io::Result<u64>,
    what: &str,
) -> Result<u64, EntryError> {
    let value = number(value, what)?;
    if field[0] >= 0x80 && (field[..4] != [0x80, 0, 0, 0] || value > i64::MAX as u64) {
        return Err(refused(format!("a header whose {what} is out of range")));
    }
    Ok(value)
}

fn refused(rule: String) -> EntryError {
    EntryError::Refused(rule)
}
