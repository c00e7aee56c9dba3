//! Content of a file, in memory or in another file: nothing is copied to disk before it is packed.

use flate2::{Crc, read::DeflateDecoder};
use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    sync::Arc,
};

/// The bytes of a file: in memory, a range of a file (an unlinked one, or a locked input), or such a range
/// to be inflated.
#[derive(Debug, Clone)]
pub struct Content(Repr);

#[derive(Debug, Clone)]
enum Repr {
    Bytes(Arc<[u8]>),
    Stretch(Stretch),
    Deflated { packed: Stretch, length: u64, crc: u32 },
}

/// Bytes `offset..offset + length` of a file.
#[derive(Debug, Clone)]
struct Stretch {
    file: Arc<File>,
    offset: u64,
    length: u64,
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Repr::Bytes(bytes.into()))
    }
}

impl Content {
    /// The range of `length` bytes at `offset` of `file`.
    pub fn stretch(file: Arc<File>, offset: u64, length: u64) -> Self {
        Self(Repr::Stretch(Stretch { file, offset, length }))
    }

    /// A deflated range of `packed` bytes at `offset` of `file`, with inflated `length` and CRC-32.
    pub fn deflated(file: Arc<File>, offset: u64, packed: u64, length: u64, crc: u32) -> Self {
        Self(Repr::Deflated { packed: Stretch { file, offset, length: packed }, length, crc })
    }

    /// Length, in bytes.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Repr::Bytes(bytes) => bytes.len() as u64,
            Repr::Stretch(Stretch { length, .. }) | Repr::Deflated { length, .. } => *length,
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first bytes, at most `limit`.
    ///
    /// # Errors
    /// Errors of reading the file; `InvalidData` if length or CRC-32 of the inflated bytes differ.
    pub fn head(&self, limit: u64) -> io::Result<Vec<u8>> {
        let length = self.len().min(limit);
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        let mut reader = self.reader();
        reader.read_exact(&mut bytes)?;
        if length == self.len() {
            reader.finish()?;
        }
        Ok(bytes)
    }

    /// All bytes, if there are at most `limit`: the declared length is untrusted.
    ///
    /// # Errors
    /// As [`Content::head`]; `FileTooLarge`, before anything is read.
    pub fn whole(&self, limit: u64) -> io::Result<Vec<u8>> {
        if self.len() > limit {
            let reason = format!("has {} bytes; at most {limit} are read", self.len());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        self.head(limit)
    }

    /// All bytes, in tests.
    ///
    /// # Errors
    /// As [`Content::head`].
    #[cfg(test)]
    pub fn read(&self) -> io::Result<Vec<u8>> {
        self.whole(u64::MAX)
    }

    /// Whether both have the same bytes.
    ///
    /// # Errors
    /// As [`Content::head`].
    pub(crate) fn equals(&self, other: &Self) -> io::Result<bool> {
        const AT_ONCE: u64 = 256 << 10;
        if self.len() != other.len() {
            return Ok(false);
        }
        let (mut ours, mut theirs) = (self.reader(), other.reader());
        let (mut this, mut that) = (Vec::new(), Vec::new());
        loop {
            this.clear();
            that.clear();
            ours.by_ref().take(AT_ONCE).read_to_end(&mut this)?;
            theirs.by_ref().take(AT_ONCE).read_to_end(&mut that)?;
            if this != that || this.is_empty() {
                return Ok(this == that);
            }
        }
    }

    /// Fills `bytes`, whose length is [`Content::len`].
    ///
    /// # Errors
    /// As [`Content::head`].
    pub(crate) fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut reader = self.reader();
        reader.read_exact(bytes)?;
        reader.finish()
    }

    /// Fills `bytes` from the offset `at`. Deflated content is inflated from its beginning each time: to read
    /// all of it, use a [`Content::reader`].
    ///
    /// # Errors
    /// As [`Content::head`]; `UnexpectedEof` if there are not that many.
    pub(crate) fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        if at.checked_add(bytes.len() as u64).is_none_or(|end| end > self.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &self.0 {
            Repr::Bytes(all) => {
                let at = usize::try_from(at).map_err(io::Error::other)?;
                bytes.copy_from_slice(&all[at..at + bytes.len()]);
                Ok(())
            }
            Repr::Stretch(Stretch { file, offset, .. }) => file.read_exact_at(bytes, offset + at),
            Repr::Deflated { .. } => {
                let mut reader = self.reader();
                io::copy(&mut reader.by_ref().take(at), &mut io::sink())?;
                reader.read_exact(bytes)
            }
        }
    }

    /// A sequential reader.
    pub fn reader(&self) -> Reader {
        let (from, crc) = match &self.0 {
            Repr::Bytes(bytes) => (Origin::Bytes(io::Cursor::new(bytes.clone())), None),
            Repr::Stretch(stretch) => (Origin::Stretch(stretch.clone()), None),
            Repr::Deflated { packed, crc, .. } => {
                let packed = BufReader::with_capacity(64 << 10, packed.clone());
                (Origin::Deflated(Box::new(DeflateDecoder::new(packed))), Some((Crc::new(), *crc)))
            }
        };
        Reader { from, left: self.len(), crc }
    }
}

impl Read for Stretch {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.length).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..limit], self.offset)?;
        self.offset += read as u64;
        self.length -= read as u64;
        Ok(read)
    }
}

/// Reads a [`Content`] once.
#[derive(Debug)]
pub struct Reader {
    from: Origin,
    left: u64,
    /// CRC-32 so far, and the expected one.
    crc: Option<(Crc, u32)>,
}

#[derive(Debug)]
enum Origin {
    Bytes(io::Cursor<Arc<[u8]>>),
    Stretch(Stretch),
    Deflated(Box<DeflateDecoder<BufReader<Stretch>>>),
}

impl Reader {
    /// Checks length and CRC-32 at the end; also called by a read past the end.
    ///
    /// # Errors
    /// `InvalidData`.
    pub fn finish(&mut self) -> io::Result<()> {
        let Some((crc, want)) = &self.crc else { return Ok(()) };
        let more = match &mut self.from {
            Origin::Deflated(more) => more.read(&mut [0])? > 0,
            Origin::Bytes(_) | Origin::Stretch(_) => false,
        };
        if more || crc.sum() != *want {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "does not match its declared length and CRC-32",
            ));
        }
        Ok(())
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if limit == 0 {
            if self.left == 0 {
                self.finish()?;
            }
            return Ok(0);
        }
        let read = match &mut self.from {
            Origin::Bytes(from) => from.read(&mut buffer[..limit])?,
            Origin::Stretch(from) => from.read(&mut buffer[..limit])?,
            Origin::Deflated(from) => from.read(&mut buffer[..limit])?,
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some((crc, _)) = &mut self.crc {
            crc.update(&buffer[..read]);
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// `hello`, deflated between dots.
    fn deflated(length: u64, crc: u32) -> Content {
        let mut encoder =
            flate2::write::DeflateEncoder::new(b"..".to_vec(), flate2::Compression::fast());
        encoder.write_all(b"hello").unwrap();
        let mut bytes = encoder.finish().unwrap();
        let packed = bytes.len() as u64 - 2;
        bytes.extend(b"..");
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        Content::deflated(Arc::new(file), 2, packed, length, crc)
    }

    const CRC: u32 = 0x3610_a686;

    #[test]
    fn content_in_memory_and_in_files() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"..hello..").unwrap();
        let stretch = Content::stretch(Arc::new(file), 2, 5);
        for content in [b"hello".to_vec().into(), stretch, deflated(5, CRC)] {
            let mut middle = [0; 3];
            content.read_at(&mut middle, 1).unwrap();
            assert_eq!((content.read().unwrap(), &middle), (b"hello".to_vec(), b"ell"));
            let error = content.read_at(&mut middle, 3).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            assert_eq!((content.head(2).unwrap(), content.len()), (b"he".to_vec(), 5));
            let error = content.whole(4).unwrap_err().to_string();
            assert_eq!(error, "has 5 bytes; at most 4 are read");
            assert!(content.equals(&b"hello".to_vec().into()).unwrap());
            assert!(!content.equals(&b"hallo".to_vec().into()).unwrap());
            assert!(!content.equals(&b"hell".to_vec().into()).unwrap());
            let mut all = Vec::new();
            content.reader().read_to_end(&mut all).unwrap();
            assert_eq!(all, b"hello");
        }
    }

    #[test]
    fn wrong_length_or_crc_is_refused() {
        for (length, crc, kind) in [
            (5, 1, io::ErrorKind::InvalidData),
            (4, CRC, io::ErrorKind::InvalidData),
            (6, CRC, io::ErrorKind::UnexpectedEof),
        ] {
            let content = deflated(length, crc);
            assert_eq!(content.read().unwrap_err().kind(), kind, "{length}");
            let mut all = Vec::new();
            let error = content.reader().read_to_end(&mut all).unwrap_err();
            assert_eq!(error.kind(), kind, "{length}");
        }
    }
}
