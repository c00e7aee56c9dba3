//! Members: an archive as a sequence of independent gzip streams.
//!
//! The tar stream of an archive is cut into pieces, each compressed as one gzip member. Decompressors read
//! concatenated members as one stream (RFC 1952, 2.2), so the file is an ordinary `.tar.gz`, while its
//! members can be verified, fetched and inflated separately and in parallel.
//!
//! ```text
//! 1f 8b 08 04  00 00 00 00  00 ff    gzip, deflate, FEXTRA; no time, no flags, no system
//! 08 00  4a 42  04 00  LL LL LL LL   one subfield `JB`: length of this member, little-endian
//! … deflate …   CRC-32   uncompressed length
//! ```

/// Length of a member's header, before the deflate stream, in bytes. Part of the format.
pub const MEMBER_HEADER: usize = 20;
/// Length of the trailer after it, CRC-32 and length, in bytes. Part of the format (RFC 1952).
pub const MEMBER_TRAILER: usize = 8;
/// Largest uncompressed length of a member, in bytes. Part of the format: readers keep whole members in
/// memory, one per processor.
pub const MAX_MEMBER: usize = 1 << 20;

/// The constant part of the header, up to the length.
const MAGIC: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 8, 0, b'J', b'B', 4, 0];

/// The header of a member of `length` bytes, header and trailer included.
pub fn member_header(length: u32) -> [u8; MEMBER_HEADER] {
    let mut header = [0; MEMBER_HEADER];
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    header[MAGIC.len()..].copy_from_slice(&length.to_le_bytes());
    header
}

/// The deflate stream of `member`, its CRC-32, and its uncompressed length, in bytes; `None` if it is not
/// one complete member of this format.
pub fn open_member(member: &[u8]) -> Option<(&[u8], u32, u32)> {
    let length = u32::try_from(member.len()).ok()?;
    let body = member.strip_prefix(&member_header(length))?;
    let (deflate, trailer) = body.split_at_checked(body.len().checked_sub(MEMBER_TRAILER)?)?;
    let (crc, size) = trailer.split_at(4);
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).ok();
    Some((deflate, number(crc)?, number(size)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_contains_its_own_length() {
        let mut member = member_header(31).to_vec();
        member.extend([1, 2, 3]);
        member.extend(7_u32.to_le_bytes());
        member.extend(9_u32.to_le_bytes());
        assert_eq!(open_member(&member), Some((&[1, 2, 3][..], 7, 9)));
        assert_eq!(open_member(&member[..30]), None);
        member.push(0);
        assert_eq!(open_member(&member), None);
        member.truncate(27);
        assert_eq!(open_member(&member), None);
        assert_eq!(open_member(&[]), None);
    }
}
