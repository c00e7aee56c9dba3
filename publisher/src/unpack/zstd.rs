//! Frames of zstd, one after the other, and frames that are to be skipped (RFC 8878, 3).

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use zstd_safe::{DCtx, InBuffer, OutBuffer, get_error_name};

/// Bytes read at a time.
const BUFFER: usize = 1 << 18;

/// A reader of the content of a stream's frames. A frame that needs a window of more than 128 MiB is refused.
pub(super) struct Frames<R> {
    context: DCtx<'static>,
    source: BufReader<R>,
    /// Whether a frame has begun and not ended.
    inside: bool,
}

impl<R: Read> Frames<R> {
    /// Begins to read `source`.
    pub(super) fn new(source: R) -> Self {
        let source = BufReader::with_capacity(BUFFER, source);
        Self { context: DCtx::create(), source, inside: false }
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut output = OutBuffer::around(buffer);
        while output.pos() == 0 {
            let start = self.source.fill_buf()?;
            let ended = start.is_empty();
            if ended && !self.inside {
                break;
            }
            let mut input = InBuffer::around(start);
            let left = self.context.decompress_stream(&mut output, &mut input);
            let left =
                left.map_err(|code| io::Error::new(ErrorKind::InvalidData, get_error_name(code)))?;
            self.inside = left > 0;
            let read = input.pos();
            self.source.consume(read);
            if ended && output.pos() == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(output.pos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(plain: &[u8]) -> Vec<u8> {
        let mut packed = vec![0; zstd_safe::compress_bound(plain.len())];
        let length = zstd_safe::compress(&mut packed[..], plain, 3).unwrap();
        packed.truncate(length);
        packed
    }

    /// SEC-G09: of a window that is too large
    #[test]
    fn frames_follow_each_other() {
        let skipped = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc".to_vec();
        let plain = b"0123456789".repeat(50_000);
        let all = [frame(&plain), skipped.clone(), frame(b""), frame(b"end"), skipped].concat();
        let mut read = Vec::new();
        Frames::new(&all[..]).read_to_end(&mut read).unwrap();
        assert!(read == [&plain[..], b"end"].concat());
        for cut in [1, frame(&plain).len() - 1] {
            let error = Frames::new(&all[..cut]).read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        }
        let error =
            Frames::new(&b"(\xb5/\xfd\x00\x38\x07\x00\x00"[..]).read_to_end(&mut Vec::new());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidData);
        // A window of 2 TiB.
        let error =
            Frames::new(&b"(\xb5/\xfd\x00\xf8\x01\x00\x00"[..]).read_to_end(&mut Vec::new());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
