//! `rpmdb.sqlite`: the rows of one table of an SQLite database file.
//!
//! The file has pages of one size, and a table is a B-tree of pages (<https://www.sqlite.org/fileformat2.html>, 1 and
//! 2). All numbers are big-endian. Changes in a write-ahead log are not read.

use super::big;

/// First bytes of the file. Part of the format.
pub(super) const MAGIC: &[u8] = b"SQLite format 3\0";
/// Length of the file header, which precedes the B-tree on the first page.
const FILE_HEADER: usize = 100;
/// Page types of a table.
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
/// Maximum depth of a B-tree: 2^64 rows need less.
const MAX_DEPTH: usize = 20;
const CUT: &str = "a page that is cut off";

/// The blob in the last column of each row of `table`.
///
/// # Errors
/// A description of the defect.
pub(super) fn rows(file: &[u8], table: &str) -> Result<Vec<Vec<u8>>, &'static str> {
    let size = file.get(16..18).ok_or(CUT)?;
    let size = match u16::from_be_bytes([size[0], size[1]]) {
        1 => 65536,
        size => usize::from(size),
    };
    let reserved = usize::from(*file.get(20).ok_or(CUT)?);
    if !(512..=65536).contains(&size) || !size.is_power_of_two() || size - reserved < 480 {
        return Err(CUT);
    }
    let database = Database { file, size, usable: size - reserved };
    // The schema table: type, name, table, root page, SQL.
    let mut root = None;
    database.walk(1, 0, &mut 0, &mut |record| {
        if let Some([kind, name, _, first, _]) = columns(record).as_deref() {
            if *kind == b"table" && *name == table.as_bytes() {
                root = Some(first.iter().fold(0, |all, byte| (all << 8) | u32::from(*byte)));
            }
        }
    })?;
    let mut blobs = Vec::new();
    database.walk(root.ok_or("no table of packages")?, 0, &mut 0, &mut |record| {
        let last = columns(record).and_then(|columns| columns.last().map(|it| it.to_vec()));
        blobs.extend(last);
    })?;
    Ok(blobs)
}

struct Database<'f> {
    file: &'f [u8],
    /// Size of a page, in bytes.
    size: usize,
    /// Its size without the reserved space.
    usable: usize,
}

impl Database<'_> {
    /// Calls `row` with the record of each row of the B-tree whose root is page `number`.
    fn walk(
        &self,
        number: u32,
        depth: usize,
        seen: &mut usize,
        row: &mut dyn FnMut(&[u8]),
    ) -> Result<(), &'static str> {
        *seen += 1;
        if depth > MAX_DEPTH || *seen > self.file.len() / self.size {
            return Err("pages that lead in a circle");
        }
        let page = self.page(number).ok_or(CUT)?;
        let start = if number == 1 { FILE_HEADER } else { 0 };
        let cells = short(page, start + 3).ok_or(CUT)?;
        let kind = page[start];
        let first = match kind {
            LEAF => start + 8,
            INTERIOR => start + 12,
            _ => return Err("a page of another kind"),
        };
        for cell in 0..cells {
            let at = short(page, first + 2 * cell).ok_or(CUT)?;
            let cell = page.get(at..).ok_or(CUT)?;
            if kind == INTERIOR {
                self.walk(big(cell, 0).ok_or(CUT)?, depth + 1, seen, row)?;
            } else {
                row(&self.payload(cell).ok_or(CUT)?);
            }
        }
        if kind == INTERIOR {
            self.walk(big(page, start + 8).ok_or(CUT)?, depth + 1, seen, row)?;
        }
        Ok(())
    }

    fn page(&self, number: u32) -> Option<&[u8]> {
        let start = (number.checked_sub(1)? as usize).checked_mul(self.size)?;
        self.file.get(start..start.checked_add(self.size)?)
    }

    /// The record of a leaf cell: length, row ID, the part on this page, the first overflow page.
    fn payload(&self, cell: &[u8]) -> Option<Vec<u8>> {
        let (length, rest) = varint(cell)?;
        let (_, rest) = varint(rest)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= self.file.len())?;
        let most = self.usable - 35;
        let here = if length <= most {
            length
        } else {
            let least = (self.usable - 12) * 32 / 255 - 23;
            let fitting = least + (length - least) % (self.usable - 4);
            if fitting <= most { fitting } else { least }
        };
        let mut payload = rest.get(..here)?.to_vec();
        let mut next = if here < length { big(rest, here)? } else { 0 };
        while payload.len() < length {
            let page = self.page(next)?;
            next = big(page, 0)?;
            payload.extend(&page[4..self.usable][..(self.usable - 4).min(length - payload.len())]);
        }
        Some(payload)
    }
}

/// The columns of a record, as bytes.
fn columns(record: &[u8]) -> Option<Vec<&[u8]>> {
    let (length, mut types) = varint(record)?;
    let length = usize::try_from(length).ok()?;
    let mut body = record.get(length..)?;
    types = types.get(..length.checked_sub(record.len() - types.len())?)?;
    let mut columns = Vec::new();
    while !types.is_empty() {
        let (kind, rest) = varint(types)?;
        types = rest;
        let size = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => (kind - 12) / 2,
        };
        let (column, rest) = body.split_at_checked(usize::try_from(size).ok()?)?;
        body = rest;
        columns.push(column);
    }
    Some(columns)
}

/// A varint of one to nine bytes, and the rest.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some(((number << 8) | u64::from(*byte), &bytes[9..]));
        }
        number = (number << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_records() {
        assert_eq!(varint(&[0x7f, 1]), Some((127, &[1][..])));
        assert_eq!(varint(&[0x81, 0]), Some((128, &[][..])));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, &[][..])));
        assert_eq!(varint(&[0x80]), None);
        let want: Vec<&[u8]> = vec![b"", b"ab", b"\x01\x02"];
        assert_eq!(columns(b"\x04\x00\x11\x10ab\x01\x02"), Some(want));
        assert_eq!(columns(b"\x03\x00\x11a"), None);
        assert_eq!(columns(b"\x09\x00"), None);
    }
}
