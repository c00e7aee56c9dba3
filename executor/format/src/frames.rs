//! Frames: the tar stream of an archive as independent zstd frames, `NAME-VERSION-ARCH.tar.zst`.
//!
//! The file begins with a skippable frame (RFC 8878, 3.1.2) that lists the others: `zstd -d` reads the whole
//! file as one stream, and a reader of the list can verify each frame before it is decompressed. A frame
//! contains the content of consecutive members of the `.tar.gz` ([`crate::index`]); all frames together
//! contain that of all members, in order.
//!
//! ```text
//! 5e 2a 4d 18  LL LL LL LL   "joblet-frames 1\n"   a skippable frame and its length
//! for each frame:
//!     length    u32          compressed length, in bytes
//!     members   u32          number of members of the `.tar.gz` whose content it has
//!     sha256    32 bytes     hash of its compressed bytes
//! frames
//! ```
//!
//! Numbers are little-endian. A frame states its content size and has no zstd checksum.

use crate::index::Index;
use std::ops::Range;

/// First bytes of the table. Part of the format.
const SKIPPABLE: [u8; 4] = [0x5e, 0x2a, 0x4d, 0x18];
/// The bytes after the length of the skippable frame. Part of the format.
const MAGIC: &[u8; 16] = b"joblet-frames 1\n";
/// Length of a row, in bytes.
const ROW: usize = 4 + 4 + 32;

/// Largest content of a frame, in bytes: the window that a reader needs. Part of the format.
pub const MAX_FRAME: u64 = 8 << 20;
/// Largest content of a frame that is fetched before others, in bytes: what a job asks for has arrived when all of
/// its frame has.
const MAX_EARLY: u64 = 2 << 20;
/// Longest compressed frame, in bytes: incompressible content is stored, a few bytes longer.
pub(crate) const MAX_FRAME_LENGTH: u64 = MAX_FRAME + (MAX_FRAME >> 8) + 64;
/// Longest table that a reader accepts, in bytes: enough for 200 GB.
pub const MAX_TABLE_BYTES: u64 = 1 << 20;

/// A frame of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Length in the file, in bytes.
    pub length: u32,
    /// Number of members of the `.tar.gz` whose content it has.
    pub members: u32,
    /// SHA-256 of its bytes in the file.
    pub sha256: [u8; 32],
}

/// The table of `frames`, with which the file begins.
///
/// # Panics
/// If there are more than 100 million.
pub fn table(frames: &[Frame]) -> Vec<u8> {
    let length =
        u32::try_from(MAGIC.len() + frames.len() * ROW).expect("at most 100 million frames");
    let mut bytes = SKIPPABLE.to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(MAGIC);
    for frame in frames {
        bytes.extend(frame.length.to_le_bytes());
        bytes.extend(frame.members.to_le_bytes());
        bytes.extend(frame.sha256);
    }
    bytes
}

/// Parses the table `bytes` of a file of `size` bytes, whose archive has this `index`.
///
/// # Errors
/// The rule that is broken.
pub fn parse(bytes: &[u8], size: u64, index: &Index) -> Result<Vec<Frame>, String> {
    let length = u32::try_from(bytes.len().saturating_sub(8)).unwrap_or_default();
    let rows = bytes
        .strip_prefix(&SKIPPABLE)
        .and_then(|rest| rest.strip_prefix(&length.to_le_bytes()))
        .and_then(|rest| rest.strip_prefix(MAGIC))
        .filter(|rows| rows.len() % ROW == 0);
    let rows = rows.ok_or("it is not a table of frames of a supported version")?;
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
    let row = |row: &[u8]| Frame {
        length: number(&row[..4]),
        members: number(&row[4..8]),
        sha256: row[8..].try_into().expect("a row has 40 bytes"),
    };
    let frames: Vec<_> = rows.chunks_exact(ROW).map(row).collect();
    check(&frames, index)?;
    let frames_length: u64 = frames.iter().map(|frame| u64::from(frame.length)).sum();
    if bytes.len() as u64 + frames_length != size {
        return Err("its frames have another length than the file".to_owned());
    }
    Ok(frames)
}

/// Checks that every member is in exactly one frame, in order, and that no frame is too large.
fn check(frames: &[Frame], index: &Index) -> Result<(), String> {
    let mut members = index.members();
    for (number, frame) in frames.iter().enumerate() {
        let count = usize::try_from(frame.members).unwrap_or(usize::MAX);
        let taken = members.split_at_checked(count).filter(|_| count > 0);
        let (inside, rest) = taken.ok_or("its frames do not hold the members of the archive")?;
        members = rest;
        let content: u64 = inside.iter().map(|member| u64::from(member.unpacked)).sum();
        if content > MAX_FRAME || u64::from(frame.length) > MAX_FRAME_LENGTH || frame.length == 0 {
            return Err(format!("frame {number} is empty or too large"));
        }
    }
    if members.is_empty() {
        Ok(())
    } else {
        Err("its frames do not hold the members of the archive".to_owned())
    }
}

/// The number of members in each frame: as many as fit. Members in one of the runs `first`, which are fetched before
/// the others, are in smaller frames of their own; so is the last one, which has `runtime.yml`.
pub fn plan(index: &Index, first: &[Range<usize>]) -> Vec<u32> {
    let members = index.members();
    let mut early = vec![false; members.len()];
    for run in first {
        early.get_mut(run.clone()).unwrap_or_default().fill(true);
    }
    // Splitting a frame costs more time than fetching one member too early.
    for at in 1..members.len().saturating_sub(1) {
        early[at] |= early[at - 1] && early[at + 1];
    }
    let last = members.len().saturating_sub(1);
    let (mut counts, mut size) = (Vec::new(), 0);
    for (at, member) in members.iter().enumerate() {
        let unpacked = u64::from(member.unpacked);
        let most = if early[at] { MAX_EARLY } else { MAX_FRAME };
        let same = at > 0 && early[at] == early[at - 1] && at != last;
        match counts.last_mut() {
            Some(count) if same && size + unpacked <= most => {
                *count += 1;
                size += unpacked;
            }
            _ => {
                counts.push(1);
                size = unpacked;
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Body, Entry, Member, Piece};

    /// Length of the header before the first row, in bytes.
    const HEAD: usize = 24;

    /// An index of one file in members of `sizes` bytes.
    fn index(sizes: &[u32]) -> Index {
        let length: u64 = sizes.iter().map(|size| u64::from(*size)).sum();
        let size = length - 1024 - 1024;
        let pieces = vec![Piece { size, sha256: [1; 32] }];
        let root = Entry { path: String::new(), body: Body::Directory };
        let file = Entry { path: "a".into(), body: Body::File { executable: false, pieces } };
        let member =
            |&unpacked: &u32| Member { length: 30 + unpacked / 2, unpacked, sha256: [0; 32] };
        let members = sizes.iter().map(member).collect();
        Index::new("demo-1.0.0".into(), members, vec![root, file]).unwrap()
    }

    fn frame(length: u32, members: u32) -> Frame {
        Frame { length, members, sha256: [7; 32] }
    }

    #[test]
    fn a_table_is_unchanged_by_a_round_trip() {
        let index = index(&[1 << 20, 1 << 20, 1 << 20]);
        let frames = [frame(10, 1), frame(20, 2)];
        let bytes = table(&frames);
        assert_eq!(bytes.len(), HEAD + 2 * ROW);
        assert_eq!(parse(&bytes, bytes.len() as u64 + 30, &index).unwrap(), frames);
        assert_eq!(bytes[..8], [0x5e, 0x2a, 0x4d, 0x18, 96, 0, 0, 0]);
    }

    #[test]
    fn wrong_tables_are_refused() {
        let index = index(&[1 << 20; 9]);
        for (frames, rule) in [
            (vec![frame(10, 8), frame(10, 1)], None),
            (vec![frame(10, 9)], Some("frame 0 is empty or too large")),
            (vec![frame(10, 8)], Some("do not hold the members")),
            (vec![frame(10, 8), frame(10, 2)], Some("do not hold the members")),
            (vec![frame(10, 8), frame(10, 0), frame(10, 1)], Some("do not hold the members")),
            (vec![frame(10, 8), frame(10, u32::MAX)], Some("do not hold the members")),
            (vec![frame(0, 8), frame(10, 1)], Some("frame 0 is empty or too large")),
            (vec![frame(u32::MAX, 8), frame(1, 1)], Some("frame 0 is empty or too large")),
            (vec![], Some("do not hold the members")),
        ] {
            let bytes = table(&frames);
            let size = frames.iter().map(|frame| u64::from(frame.length)).sum::<u64>();
            let got = parse(&bytes, size + bytes.len() as u64, &index);
            match rule {
                None => assert_eq!(got.as_deref(), Ok(frames.as_slice())),
                Some(rule) => assert!(got.as_ref().unwrap_err().contains(rule), "{got:?}"),
            }
        }
        let good = table(&[frame(10, 8), frame(10, 1)]);
        let size = good.len() as u64 + 20;
        assert!(parse(&good, size + 1, &index).unwrap_err().contains("another length"));
        for byte in 0..HEAD {
            let mut bytes = good.clone();
            bytes[byte] ^= 1;
            assert!(parse(&bytes, size, &index).unwrap_err().contains("not a table"), "{byte}");
        }
        for length in 0..good.len() {
            assert!(parse(&good[..length], size, &index).is_err(), "{length}");
        }
    }

    #[test]
    fn frames_hold_whole_members() {
        assert_eq!(plan(&index(&[1 << 20; 17]), &[]), [8, 8, 1]);
        let mut sizes = [1 << 20; 10];
        sizes[3] = 4608;
        assert_eq!(plan(&index(&sizes), &[]), [8, 1, 1]);
    }

    #[test]
    fn members_that_are_read_first_have_separate_frames() {
        let index = index(&[1 << 20; 12]);
        assert_eq!(plan(&index, &[9..10, 2..4]), [2, 2, 5, 1, 1, 1]);
        // One between two others is in their frame, if that stays small.
        assert_eq!(plan(&index, &[0..1, 2..3]), [2, 1, 8, 1]);
        assert_eq!(plan(&index, &[0..12, 40..90]), [2, 2, 2, 2, 2, 1, 1]);
    }
}
