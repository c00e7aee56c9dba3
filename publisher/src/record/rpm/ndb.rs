//! `Packages.db`: rpm's own database. All numbers are little-endian.
//!
//! ```text
//! 0    RpmP, version, generation, pages of slots, next number, …    32 bytes
//! 32   Slot, number of the package, offset and length of its blob    16 bytes each, to the end of those pages
//! …    BlbS, number of the package, generation, length; the blob     in blocks of 16 bytes
//! ```

use super::little;

/// First bytes of the file. Part of the format.
pub(super) const MAGIC: &[u8] = b"RpmP";
const SLOT: &[u8] = b"Slot";
const BLOB: &[u8] = b"BlbS";
const HEADER: usize = 32;
/// Size of a slot, of a block, and of the header of a blob.
const UNIT: usize = 16;
const PAGE: usize = 4096;
const CUT: &str = "a page that is cut off";

/// The blobs of the packages.
///
/// # Errors
/// A description of the defect.
pub(super) fn blobs(file: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let pages = little(file, 12).ok_or(CUT)? as usize;
    let end = pages.checked_mul(PAGE).ok_or(CUT)?;
    let slots = file.get(HEADER..end).ok_or(CUT)?;
    let mut blobs = Vec::new();
    for slot in slots.chunks_exact(UNIT) {
        if !slot.starts_with(SLOT) {
            return Err("a slot that is none");
        }
        let number = little(slot, 4).ok_or(CUT)?;
        if number == 0 {
            continue; // unused
        }
        let at = (little(slot, 8).ok_or(CUT)? as usize).checked_mul(UNIT).ok_or(CUT)?;
        let blob = file.get(at..).ok_or(CUT)?;
        if !blob.starts_with(BLOB) || little(blob, 4) != Some(number) {
            return Err("a blob that is none");
        }
        let length = little(blob, 12).ok_or(CUT)? as usize;
        blobs.push(blob[UNIT..].get(..length).ok_or(CUT)?.to_vec());
    }
    Ok(blobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_found_by_their_slots() {
        let slot = |number: u32, at: u32| {
            [SLOT, &number.to_le_bytes(), &at.to_le_bytes(), &1_u32.to_le_bytes()].concat()
        };
        let mut file = [MAGIC, &[0; 8], &1_u32.to_le_bytes(), &[0; 16]].concat();
        file.extend(slot(0, 0));
        file.extend(slot(5, 256));
        while file.len() < PAGE {
            file.extend(slot(0, 0));
        }
        let blob = [BLOB, &5_u32.to_le_bytes(), &[0; 4], &3_u32.to_le_bytes(), b"abc"].concat();
        file.extend(&blob);
        assert_eq!(blobs(&file), Ok(vec![b"abc".to_vec()]));
        assert_eq!(blobs(&file[..file.len() - 1]), Err(CUT));
        assert_eq!(blobs(&file[..PAGE - 1]), Err(CUT));
        file[PAGE] = b'x';
        assert_eq!(blobs(&file), Err("a blob that is none"));
    }
}
