//! Decompression of one gzip member of a runtime's archive, or of one zstd frame.

use joblet_format::member::{MEMBER_TRAILER, open_member};
use libdeflater::Decompressor;

/// A zstd decompressor, reused for each frame.
pub(crate) struct Decompress(zstd_safe::DCtx<'static>);

impl Decompress {
    pub(crate) fn new() -> Self {
        Self(zstd_safe::DCtx::create())
    }

    /// Decompresses `frame` into `unpacked`, whose length must be exact. `unpacked` is the window too, so that no
    /// other memory is needed.
    ///
    /// # Errors
    /// The violated rule. The content of `unpacked` is then undefined.
    pub(crate) fn frame(&mut self, frame: &[u8], unpacked: &mut [u8]) -> Result<(), &'static str> {
        if zstd_safe::find_frame_compressed_size(frame) != Ok(frame.len()) {
            return Err("it is not one zstd frame");
        }
        match self.0.decompress(unpacked, frame) {
            Ok(length) if length == unpacked.len() => Ok(()),
            _ => Err("its content does not match the index"),
        }
    }
}

/// A deflate decompressor, reused for each member.
pub(crate) struct Inflate(Decompressor);

impl Inflate {
    pub(crate) fn new() -> Self {
        Self(Decompressor::new())
    }

    /// Inflates `member` into `unpacked`, whose length must be exact.
    ///
    /// # Errors
    /// The violated rule. The content of `unpacked` is then undefined.
    pub(crate) fn member(
        &mut self,
        member: &[u8],
        unpacked: &mut [u8],
    ) -> Result<(), &'static str> {
        let Some((deflate, _, size)) = open_member(member) else {
            return Err("it is not a gzip member with its own length");
        };
        // Checks CRC-32 and length in the eight bytes after the deflate stream.
        let inflated = self.0.gzip_decompress(member, unpacked);
        if size as usize != unpacked.len() || inflated != Ok(unpacked.len()) {
            return Err("its content does not match the index");
        }
        // Those bytes are the trailer, unless the same bytes occur in the member before.
        let (before, trailer) =
            (&member[..member.len() - 1], &member[member.len() - MEMBER_TRAILER..]);
        if contains(before, trailer) && self.ends_early(deflate, unpacked.len()) {
            return Err("bytes between its deflate stream and its end");
        }
        Ok(())
    }

    /// Whether the stream ends before its last byte.
    fn ends_early(&mut self, deflate: &[u8], size: usize) -> bool {
        let shorter = &deflate[..deflate.len().saturating_sub(1)];
        self.0.deflate_decompress(shorter, &mut vec![0; size]).is_ok()
    }
}

/// Whether `bytes` contains `trailer`, by Horspool's algorithm: it skips most bytes, which matters since every
/// archive is searched.
fn contains(bytes: &[u8], trailer: &[u8]) -> bool {
    let last = MEMBER_TRAILER - 1;
    let mut leaps = [MEMBER_TRAILER; 256];
    for (at, &byte) in trailer[..last].iter().enumerate() {
        leaps[usize::from(byte)] = last - at;
    }
    let mut end = last;
    while let Some(&byte) = bytes.get(end) {
        if byte == trailer[last] && bytes[end - last..=end] == *trailer {
            return true;
        }
        end += leaps[usize::from(byte)];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use joblet_format::member::{MEMBER_HEADER, member_header};
    use libdeflater::{CompressionLvl, Compressor, crc32};

    /// Four bytes that, appended to `start`, give the CRC-32 `wanted`.
    fn forged(start: &[u8], wanted: u32) -> [u8; 4] {
        let linear = |value: u32| {
            let bytes = [start, &value.to_le_bytes()].concat();
            crc32(&bytes) ^ crc32(&[start, &[0; 4]].concat())
        };
        // The CRC is linear in those 32 bits: one equation for each.
        let mut rows: Vec<(u32, u32)> = (0..32).map(|bit| (linear(1 << bit), 1 << bit)).collect();
        let mut left = wanted ^ crc32(&[start, &[0; 4]].concat());
        let mut value = 0;
        for bit in (0..32).rev() {
            let at = rows.iter().position(|row| row.0 >> bit & 1 == 1).unwrap();
            let pivot = rows.swap_remove(at);
            for row in rows.iter_mut().filter(|row| row.0 >> bit & 1 == 1) {
                *row = (row.0 ^ pivot.0, row.1 ^ pivot.1);
            }
            if left >> bit & 1 == 1 {
                (left, value) = (left ^ pivot.0, value ^ pivot.1);
            }
        }
        value.to_le_bytes()
    }

    fn member(content: &[u8], behind: &[u8]) -> Vec<u8> {
        let mut stored = Compressor::new(CompressionLvl::new(0).unwrap());
        let mut deflate = vec![0; stored.deflate_compress_bound(content.len())];
        let length = stored.deflate_compress(content, &mut deflate).unwrap();
        let body = [&deflate[..length], behind].concat();
        let length = u32::try_from(MEMBER_HEADER + body.len() + MEMBER_TRAILER).unwrap();
        let size = u32::try_from(content.len()).unwrap();
        let trailer = [crc32(content).to_le_bytes(), size.to_le_bytes()].concat();
        [&member_header(length)[..], &body, &trailer].concat()
    }

    #[test]
    fn a_trailer_is_found_at_every_offset() {
        let trailer = *b"abcabcab";
        for around in [&b""[..], b"a", b"abc", b"bcabcab", b"abcabca", b"bbbbbbbbbbbbbbbbb"] {
            for behind in [&b""[..], b"c", b"bcabca", b"aaaaaaaaa"] {
                for middle in [&trailer[..], &trailer[1..], &trailer[..7]] {
                    let bytes = [around, middle, behind].concat();
                    let stands = bytes.windows(8).any(|window| window == trailer);
                    assert_eq!(contains(&bytes, &trailer), stands);
                }
            }
        }
    }

    #[test]
    fn bytes_after_the_stream_are_refused_even_if_the_trailer_occurs_twice() {
        let trailer = [0x1234_5678_u32.to_le_bytes(), 20_u32.to_le_bytes()].concat();
        let start = [&b"content "[..], &trailer].concat();
        let content = [&start[..], &forged(&start, 0x1234_5678)].concat();
        let good = member(&content, b"");
        assert_eq!(good.windows(8).filter(|window| *window == trailer).count(), 2);
        let mut unpacked = [0; 20];
        assert_eq!(Inflate::new().member(&good, &mut unpacked), Ok(()));
        assert_eq!(unpacked[..], content);
        for behind in [&trailer[..], &[&trailer[..], b"more"].concat()] {
            let bad = member(&content, behind);
            let rule = Err("bytes between its deflate stream and its end");
            assert_eq!(Inflate::new().member(&bad, &mut unpacked), rule);
        }
    }
}
