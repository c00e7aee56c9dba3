//! Content-defined chunking of large files. Part of the format: equal content has equal pieces.
//!
//! A piece ends at the first offset where the top [`BITS`] bits of a hash of the 64 bytes before it are
//! zero, among offsets at least [`MIN_PIECE`] and at most [`MAX_PIECE`] bytes after its beginning, and at
//! least [`MIN_PIECE`] before the end of the file. If there is none, it ends with the file, if that is
//! within reach, else at the last of those offsets. So a piece is about 256 KiB on average, and its end
//! depends only on its beginning and the bytes from there: after an insertion, the cuts are the same again.
//!
//! The hash is *Gear*, as in FastCDC: for each byte `b`, `hash = 2 × hash + GEAR[b]` modulo 2^64,
//! so that it depends on the last 64 bytes only. `GEAR[n]` is output `n + 1` of the generator
//! SplitMix64 with seed 0: with `x = 0x9e3779b97f4a7c15 × (n + 1)`,
//! `x = (x ^ x >> 30) × 0xbf58476d1ce4e5b9`, `x = (x ^ x >> 27) × 0x94d049bb133111eb`,
//! `GEAR[n] = x ^ x >> 31`.

/// Smallest length of a piece, in bytes, unless the file is shorter. Part of the format.
pub(super) const MIN_PIECE: usize = 128 << 10;
/// Largest length of a piece, in bytes. Part of the format.
pub(super) const MAX_PIECE: usize = 512 << 10;

/// Input length that [`cut`] needs, in bytes.
pub(super) const LOOKAHEAD: usize = MAX_PIECE + MIN_PIECE;
/// One offset of 2^17 is a cut: on average 128 KiB after the smallest length. Part of the format.
const BITS: u32 = 17;
/// Bytes that the hash depends on. Part of the format.
const WINDOW: usize = 64;

/// The addend of each byte value. Part of the format.
const GEAR: [u64; 256] = {
    let (mut table, mut n) = ([0; 256], 0);
    while n < 256 {
        let mut x = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n as u64 + 1);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[n] = x ^ (x >> 31);
        n += 1;
    }
    table
};

/// Length of the first piece of `bytes`: the rest of the file, or its first [`LOOKAHEAD`] bytes.
pub(super) fn cut(bytes: &[u8]) -> usize {
    let last = bytes.len().saturating_sub(MIN_PIECE).min(MAX_PIECE);
    if last >= MIN_PIECE {
        let step = |hash: u64, byte: &u8| (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
        let mut hash = bytes[MIN_PIECE - WINDOW..MIN_PIECE].iter().fold(0, step);
        let found = bytes[MIN_PIECE..=last].iter().position(|byte| {
            let here = hash >> (u64::BITS - BITS) == 0;
            hash = step(hash, byte);
            here
        });
        if let Some(behind) = found {
            return MIN_PIECE + behind;
        }
    }
    if bytes.len() <= MAX_PIECE { bytes.len() } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::tests::noise;

    fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(cut(bytes));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }

    #[test]
    fn the_table_is_that_of_the_description() {
        // The first numbers of SplitMix64, as published by its author, with seed 0.
        assert_eq!(
            GEAR[..3],
            [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]
        );
        assert_eq!(GEAR[255], 0x5a58_32bb_47bc_f19e);
    }

    #[test]
    fn the_cuts_of_known_content_are_constant() {
        // Part of the format: other cuts would be other archives.
        let bytes = noise(1, 3 << 20);
        let lengths: Vec<_> = pieces(&bytes).iter().map(|piece| piece.len()).collect();
        assert_eq!(lengths.iter().sum::<usize>(), bytes.len());
        let want = [
            152_038, 337_573, 146_558, 168_090, 341_338, 185_159, 224_000, 306_477, 243_960,
            201_619, 296_958, 187_387, 158_916, 195_655,
        ];
        assert_eq!(lengths, want);
    }

    #[test]
    fn pieces_respect_their_limits() {
        let noise = noise(2, 64 << 20);
        let all = pieces(&noise);
        assert!(all.iter().all(|piece| (MIN_PIECE..=MAX_PIECE).contains(&piece.len())));
        let average = noise.len() / all.len();
        assert!((230 << 10..270 << 10).contains(&average), "{average}");
        // Zeros have no cuts.
        for (length, want) in [
            (0, 0),
            (1, 1),
            (2 * MIN_PIECE, 2 * MIN_PIECE),
            (MAX_PIECE, MAX_PIECE),
            (MAX_PIECE + 1, MAX_PIECE + 1 - MIN_PIECE),
            (LOOKAHEAD, MAX_PIECE),
            (LOOKAHEAD + 1, MAX_PIECE),
        ] {
            assert_eq!(cut(&vec![0; length]), want, "{length}");
        }
    }

    #[test]
    fn cuts_resynchronize_after_an_insertion() {
        let old = noise(3, 16 << 20);
        let before = pieces(&old);
        for at in [0, 1, 5_000_000, 11_111_111, old.len()] {
            for inserted in [1, 100, 3 << 20] {
                let mut new = old.clone();
                new.splice(at..at, noise(4, inserted));
                let after = pieces(&new);
                let gone = before.iter().filter(|piece| !after.contains(piece)).count();
                assert!(gone <= 4, "{gone} of {} after {inserted} bytes at {at}", before.len());
            }
        }
    }
}
