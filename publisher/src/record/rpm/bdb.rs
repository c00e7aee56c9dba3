//! `Packages`: a hash of Berkeley DB. Numbers have the byte order of the writing machine.
//!
//! Page 0 is the header: magic number at 12, page size at 20. A page begins with 26 bytes: next page at 16, number of
//! items at 20, start of the free space at 22, type at 25. Items of a hash page are alternating keys and values; a
//! large value is on a chain of overflow pages.

use super::big;

const MAGIC: u32 = 0x0006_1561;
const PAGE_HEADER: usize = 26;
/// Page types: hash, unsorted and sorted; overflow.
const HASH: [u8; 2] = [2, 13];
const OVERFLOW: u8 = 7;
/// Item types: on the page; on overflow pages.
const HERE: u8 = 1;
const ELSEWHERE: u8 = 3;
const CUT: &str = "a page that is cut off";

/// The values of all keys, without the counter, which is shorter than a header.
///
/// # Errors
/// A description of the defect.
pub(super) fn values(file: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let swapped = match big(file, 12) {
        Some(MAGIC) => false,
        Some(magic) if magic.swap_bytes() == MAGIC => true,
        _ => return Err("not a database of a kind that is known"),
    };
    let size = Pages { file, swapped, size: 0 }.long(file, 20).ok_or(CUT)? as usize;
    if !(512..=65536).contains(&size) {
        return Err(CUT);
    }
    let pages = Pages { file, swapped, size };
    let mut values = Vec::new();
    for page in file.chunks_exact(size).skip(1) {
        if !HASH.contains(&page[25]) {
            continue;
        }
        let items = pages.short(page, 20).ok_or(CUT)? as usize;
        // Offsets of the items, which are stored from the end of the page.
        for item in (1..items).step_by(2) {
            let start = |item: usize| pages.short(page, PAGE_HEADER + 2 * item).map(usize::from);
            let (at, end) = (start(item).ok_or(CUT)?, start(item - 1).ok_or(CUT)?);
            match page.get(at) {
                Some(&HERE) => {
                    let value = page.get(at + 1..end).ok_or(CUT)?;
                    values.extend((value.len() > 8).then(|| value.to_vec()));
                }
                Some(&ELSEWHERE) => {
                    let first = pages.long(page, at + 4).ok_or(CUT)?;
                    let length = pages.long(page, at + 8).ok_or(CUT)? as usize;
                    values.push(pages.chain(first, length)?);
                }
                _ => return Err("a value of a kind that is not known"),
            }
        }
    }
    Ok(values)
}

struct Pages<'f> {
    file: &'f [u8],
    swapped: bool,
    size: usize,
}

impl Pages<'_> {
    fn long(&self, page: &[u8], at: usize) -> Option<u32> {
        big(page, at).map(|number| if self.swapped { number.swap_bytes() } else { number })
    }

    fn short(&self, page: &[u8], at: usize) -> Option<u16> {
        let number = u16::from_be_bytes(page.get(at..at + 2)?.try_into().ok()?);
        Some(if self.swapped { number.swap_bytes() } else { number })
    }

    /// The `length` bytes of the overflow chain from page `first`.
    fn chain(&self, first: u32, length: usize) -> Result<Vec<u8>, &'static str> {
        let (mut bytes, mut next) = (Vec::new(), first);
        // Each page has at least one byte, so that a cycle ends.
        while bytes.len() < length {
            let start = (next as usize).checked_mul(self.size).ok_or(CUT)?;
            let page = self.file.get(start..).and_then(|it| it.get(..self.size)).ok_or(CUT)?;
            let count = self.short(page, 22).ok_or(CUT)? as usize;
            if page[25] != OVERFLOW || count == 0 {
                return Err("a value with pages of another type");
            }
            bytes.extend(page[PAGE_HEADER..].get(..count).ok_or(CUT)?);
            next = self.long(page, 16).ok_or(CUT)?;
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}
