//! Which members a program that starts reads first, in order: beside an index, in the header of its gzip stream.
//!
//! gzip readers ignore it (RFC 1952, 2.3.1.1); the registry's checksum of the index covers it. It changes
//! only the order in which members are fetched: each is verified as without it. So a reader uses the valid runs.
//!
//! ```text
//! 1f 8b 08 04  .. .. .. ..  .. ..    gzip, deflate, FEXTRA; what every header has
//! LL LL  4a 52  LL LL                their length; one subfield `JR`, and its length; little-endian
//! for each run of members:           numbers are LEB128
//!     distance                       from the end of the run before (at first: 0) to its beginning, zigzag
//!     count                          of members, not 0
//! ```

use super::put_number;
use std::ops::Range;

/// The first bytes of such a file: gzip, deflate, FEXTRA. Part of the format.
const MAGIC: [u8; 4] = [0x1f, 0x8b, 8, 4];
/// Name of the subfield. Part of the format.
const NAME: [u8; 2] = *b"JR";
/// Length of a gzip header without additions, in bytes.
const PLAIN: usize = 10;
/// Most that the runs take, in bytes. What does not fit is left out.
const MAX: usize = 16 << 10;

/// The index `file` with these `runs` of members in its header, instead of those that it has.
pub fn with(file: &[u8], runs: &[Range<usize>]) -> Vec<u8> {
    let (mut list, mut at) = (Vec::new(), 0);
    for run in runs.iter().filter(|run| !run.is_empty()) {
        let mut one = Vec::new();
        put_number(&mut one, zigzag(run.start, at));
        put_number(&mut one, run.len() as u64);
        if list.len() + one.len() > MAX {
            break;
        }
        list.extend(one);
        at = run.end;
    }
    let before = extra(file).map_or(0, |extra| 2 + extra.len());
    let mut bytes = file.get(..PLAIN).unwrap_or_default().to_vec();
    if let Some(flags) = bytes.get_mut(3) {
        *flags = if list.is_empty() { 0 } else { MAGIC[3] };
    }
    if !list.is_empty() {
        let length = |length: usize| u16::try_from(length).unwrap_or_default().to_le_bytes();
        bytes.extend(length(list.len() + 4));
        bytes.extend(NAME);
        bytes.extend(length(list.len()));
        bytes.extend(list);
    }
    bytes.extend(file.get(PLAIN + before..).unwrap_or_default());
    bytes
}

/// The runs of members in the header of the index `file`, whose archive has `count` members; valid
/// ones only, up to the first invalid one.
pub fn parse(file: &[u8], count: usize) -> Vec<Range<usize>> {
    let list = extra(file).and_then(|extra| extra.strip_prefix(&NAME)?.get(2..));
    let mut list = list.unwrap_or_default().iter().copied();
    let (mut runs, mut at) = (Vec::new(), 0_usize);
    while let Some((distance, length)) = number(&mut list).zip(number(&mut list)) {
        let start = unzigzag(distance, at).filter(|start| *start < count);
        let Some(run) = start.map(|start| start..start.saturating_add(length).min(count)) else {
            break;
        };
        at = run.end;
        runs.push(run);
    }
    runs
}

/// The extra field of the header.
fn extra(file: &[u8]) -> Option<&[u8]> {
    let rest = file.starts_with(&MAGIC).then(|| file.get(PLAIN..)).flatten()?;
    let length = u16::from_le_bytes(*rest.first_chunk()?);
    rest.get(2..2 + usize::from(length))
}

fn zigzag(start: usize, from: usize) -> u64 {
    match start.checked_sub(from) {
        Some(forward) => 2 * forward as u64,
        None => 2 * (from - start) as u64 - 1,
    }
}

fn unzigzag(number: usize, from: usize) -> Option<usize> {
    let distance = number.div_ceil(2);
    if number % 2 == 0 { from.checked_add(distance) } else { from.checked_sub(distance) }
}

/// The next number, of at most 28 bits.
fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<usize> {
    let mut number = 0;
    for shift in [0, 7, 14, 21] {
        let byte = bytes.next()?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a gzip stream without extra fields, followed by other bytes.
    const GZIP: [u8; 12] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 3, 4];

    #[test]
    fn runs_keep_their_order() {
        let runs = [7..9, 3..4, 900..1000, 0..2, 2..3, 5..6];
        let file = with(&GZIP, &runs);
        assert_eq!(parse(&file, 1000), runs);
        assert_eq!((&file[..4], &file[file.len() - 2..]), (&[0x1f, 0x8b, 8, 4][..], &GZIP[10..]));
        assert_eq!(parse(&GZIP, 1000), []);
        assert_eq!(with(&file, &[]), GZIP);
        assert_eq!(with(&file, &runs[1..]), with(&GZIP, &runs[1..]));
    }

    /// SEC-F08
    #[test]
    fn invalid_runs_are_ignored() {
        let file = with(&GZIP, &[0..2, 8..20, 1..2]);
        assert_eq!(parse(&file, 10), [0..2, 8..10]);
        for end in 0..file.len() {
            assert!(parse(&file[..end], 30).len() <= 3);
        }
        let long: Vec<_> = (0..20_000).rev().map(|at| 2 * at..2 * at + 1).collect();
        let file = with(&GZIP, &long);
        let (got, length) = (parse(&file, 40_000), file.len());
        assert!(length <= MAX + 18 && !got.is_empty() && long.starts_with(&got), "{length}");
    }
}
