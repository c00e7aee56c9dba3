//! A range of an open file, as a stream.

use super::Stream;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;

/// A range of a file. Reading does not move the file's offset.
#[derive(Debug)]
pub struct Section {
    file: File,
    at: u64,
    end: u64,
}

impl Section {
    /// The `length` bytes at `at` of `file`.
    pub fn new(file: File, at: u64, length: u64) -> Self {
        Self { file, at, end: at.saturating_add(length) }
    }

    /// The whole `file`.
    ///
    /// # Errors
    /// If its length cannot be read.
    pub fn whole(file: File) -> io::Result<Self> {
        let end = file.metadata()?.len();
        Ok(Self { file, at: 0, end })
    }

    /// Remaining length, in bytes.
    pub fn left(&self) -> u64 {
        self.end - self.at
    }

    /// A second, independent reader of the range.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn again(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, ..*self })
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left()).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Stream for Section {
    fn some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(buffer)
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        if count > self.left() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.at += count;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.at
    }
}
