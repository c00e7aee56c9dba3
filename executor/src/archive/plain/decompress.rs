//! Decompression of a tar stream: gzip, zstd, or uncompressed.

use super::Hashed;
use flate2::bufread::MultiGzDecoder;
use joblet_format::Checksum;
use joblet_format::entries::Stream;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use zstd_safe::{DCtx, InBuffer, OutBuffer};

/// Size of a read, in bytes.
const BUFFER: usize = 128 << 10;

type Source = BufReader<Hashed>;

/// A file that is being decompressed.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(in crate::archive) enum Unpacked {
    Plain(Source),
    Gzip(MultiGzDecoder<Source>),
    /// Frames, and whether the current one is incomplete.
    Zstd(DCtx<'static>, Source, bool),
}

impl Unpacked {
    /// Opens `file`, whose format is detected by its first bytes.
    ///
    /// # Errors
    /// Errors of reading it.
    pub(in crate::archive) fn any(file: Hashed) -> io::Result<Self> {
        let mut source = BufReader::with_capacity(BUFFER, file);
        Ok(match source.fill_buf()? {
            [0x1f, 0x8b, ..] => Self::Gzip(MultiGzDecoder::new(source)),
            // A zstd frame or a skippable frame (RFC 8878, 3.1).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Self::Zstd(DCtx::create(), source, false)
            }
            _ => Self::Plain(source),
        })
    }

    /// Opens the gzip `file`.
    pub(super) fn gzip(file: Hashed) -> Self {
        Self::Gzip(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file)))
    }

    /// SHA-256 of the file, whose stream was read to its end; `None` if bytes follow.
    ///
    /// # Errors
    /// Errors of reading it.
    pub(in crate::archive) fn finish(self) -> io::Result<Option<Checksum>> {
        let mut source = match self {
            Self::Plain(source) | Self::Zstd(_, source, _) => source,
            Self::Gzip(source) => source.into_inner(),
        };
        let ended = source.fill_buf()?.is_empty();
        Ok(ended.then(|| source.into_inner().checksum()))
    }
}

impl Stream for Unpacked {
    fn some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Gzip(source) => source.read(buffer),
            Self::Zstd(context, source, inside) => zstd(context, source, inside, buffer),
        }
    }
}

fn zstd(
    context: &mut DCtx<'static>,
    source: &mut Source,
    inside: &mut bool,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let mut output = OutBuffer::around(buffer);
    while output.pos() == 0 {
        let start = source.fill_buf()?;
        let ended = start.is_empty();
        if ended && !*inside {
            break;
        }
        let mut input = InBuffer::around(start);
        let Ok(left) = context.decompress_stream(&mut output, &mut input) else {
            return Err(ErrorKind::InvalidData.into());
        };
        *inside = left > 0;
        let read = input.pos();
        source.consume(read);
        if ended && output.pos() == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(output.pos())
}
