//! Plans an update: two indexes → which files and pieces are reused, which members are fetched. No I/O.
//!
//! Files, and pieces of large files, are compared, not members: every header contains the archive's
//! directory, whose name has the version in it, so that no two versions have an equal member.

use joblet_format::index::{Body, Index, Piece};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// Ranges of the archive with at most this gap between them are fetched as one, in bytes: the gap costs
/// less than another request.
const GAP: u64 = 16 << 10;

/// Files and pieces of an installed version that are intact.
#[derive(Debug, Default)]
pub(crate) struct Intact {
    /// Intact files, by their numbers in its index.
    pub files: BTreeSet<usize>,
    /// Intact pieces of damaged files: the file's number, and the piece's number in it.
    pub pieces: BTreeSet<(usize, usize)>,
}

/// The sources of a new version's content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReusePlan {
    /// For each file of the new index, in order: its number and its source.
    pub files: Vec<(usize, FileSource)>,
    /// The members to fetch, by number, ascending.
    pub members: Vec<usize>,
    /// Length of those members in the archive, in bytes.
    pub fetched: u64,
    /// Length of the content that is reused, in bytes.
    pub reused: u64,
}

/// The source of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileSource {
    /// The equal file in the old version, by its number in the old index.
    Same(usize),
    /// For each piece: its place in an old file, or `None` for the archive.
    Pieces(Vec<Option<OldPiece>>),
}

/// A piece of a file in the old version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OldPiece {
    /// Its entry in the old index.
    pub entry: usize,
    /// Its offset in that file, in bytes.
    pub offset: u64,
}

/// Plans the files of `new`, given the intact files of `old`.
pub(super) fn plan(old: &Index, new: &Index, here: &Intact) -> ReusePlan {
    let (whole, pieces) = inventory(old, here);
    let starts = member_starts(new);
    let mut plan = ReusePlan { files: Vec::new(), members: Vec::new(), fetched: 0, reused: 0 };
    let mut wanted = BTreeSet::new();
    for (number, (entry, place)) in new.entries().iter().zip(new.places()).enumerate() {
        let Body::File { executable, pieces: parts } = &entry.body else { continue };
        if let Some(same) = whole.get(&(*executable, parts.as_slice())) {
            plan.files.push((number, FileSource::Same(*same)));
            plan.reused += entry.size();
            continue;
        }
        let mut at = place.body;
        let mut from = Vec::with_capacity(parts.len());
        for part in parts {
            let found = pieces.get(part).copied();
            match found {
                Some(_) => plan.reused += part.size,
                None => wanted.extend(covering(&starts, at..at + part.size)),
            }
            from.push(found);
            at += part.size;
        }
        plan.files.push((number, FileSource::Pieces(from)));
    }
    plan.fetched = wanted.iter().map(|&member| u64::from(new.members()[member].length)).sum();
    plan.members = wanted.into_iter().collect();
    plan
}

/// Ranges of the archive to request for `members`, in bytes.
pub(super) fn ranges(new: &Index, members: &[usize]) -> Vec<Range<u64>> {
    let mut ends = Vec::with_capacity(new.members().len());
    let mut end = 0;
    for member in new.members() {
        end += u64::from(member.length);
        ends.push(end);
    }
    let start = |member: usize| if member == 0 { 0 } else { ends[member - 1] };
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for &member in members {
        match ranges.last_mut() {
            Some(bytes) if start(member) - bytes.end <= GAP => bytes.end = ends[member],
            _ => ranges.push(start(member)..ends[member]),
        }
    }
    ranges
}

/// Intact files by mode and pieces. The first of several equal files is used.
type Whole<'a> = HashMap<(bool, &'a [Piece]), usize>;

fn inventory<'a>(old: &'a Index, here: &Intact) -> (Whole<'a>, HashMap<Piece, OldPiece>) {
    let (mut whole, mut pieces) = (Whole::new(), HashMap::new());
    for (number, entry) in old.entries().iter().enumerate() {
        let Body::File { executable, pieces: parts } = &entry.body else { continue };
        let all = here.files.contains(&number);
        if all {
            whole.entry((*executable, parts.as_slice())).or_insert(number);
        }
        let mut offset = 0;
        for (piece, part) in parts.iter().enumerate() {
            if all || here.pieces.contains(&(number, piece)) {
                pieces.entry(*part).or_insert(OldPiece { entry: number, offset });
            }
            offset += part.size;
        }
    }
    (whole, pieces)
}

/// The offset of each member in the tar stream, and the end of the last one, in bytes.
fn member_starts(index: &Index) -> Vec<u64> {
    let mut starts = vec![0];
    let mut at = 0;
    for member in index.members() {
        at += u64::from(member.unpacked);
        starts.push(at);
    }
    starts
}

/// The members that contain any byte of `range` of the tar stream.
fn covering(starts: &[u64], range: Range<u64>) -> Range<usize> {
    let first = starts.partition_point(|&start| start <= range.start) - 1;
    let last = starts.partition_point(|&start| start < range.end);
    first..last
}

#[cfg(test)]
mod tests {
    use super::*;
    use joblet_format::index::{Entry, Member};
    use joblet_format::ustar::END;

    /// An index of the files `(path, pieces)`, a piece being its hash's first byte and its size, with
    /// members of two blocks each.
    fn index(files: &[(&str, &[(u8, u64)])]) -> Index {
        let mut entries = vec![Entry { path: String::new(), body: Body::Directory }];
        for (path, parts) in files {
            let piece = |&(hash, size): &(u8, u64)| Piece { size, sha256: [hash; 32] };
            let pieces = parts.iter().map(piece).collect();
            let executable = path.starts_with('x');
            entries.push(Entry { path: (*path).into(), body: Body::File { executable, pieces } });
        }
        let length: u64 = entries.iter().map(|entry| blocks(entry.size()) + 512).sum();
        let count = usize::try_from((length + END as u64).div_ceil(1024)).unwrap();
        let mut members = vec![Member { length: 100, unpacked: 1024, sha256: [0; 32] }; count];
        let over = count as u64 * 1024 - length - END as u64;
        members.last_mut().unwrap().unpacked -= u32::try_from(over).unwrap();
        Index::new("demo-1.0.0".into(), members, entries).unwrap()
    }

    fn blocks(size: u64) -> u64 {
        size.next_multiple_of(512)
    }

    fn whole(files: Range<usize>) -> Intact {
        Intact { files: files.collect(), ..Intact::default() }
    }

    #[test]
    fn equal_files_are_reused_from_any_path() {
        let old = index(&[("a", &[(1, 512)]), ("b", &[(2, 512)]), ("x", &[(3, 512)])]);
        let new = index(&[("b", &[(2, 512)]), ("c", &[(1, 512)]), ("d", &[(3, 512)])]);
        let plan = plan(&old, &new, &whole(0..9));
        // `x` is executable and `d` is not: the same content, but another file.
        let copied = FileSource::Pieces(vec![Some(OldPiece { entry: 3, offset: 0 })]);
        assert_eq!(plan.files, [(1, FileSource::Same(2)), (2, FileSource::Same(1)), (3, copied)]);
        assert_eq!((plan.members.len(), plan.fetched, plan.reused), (0, 0, 1536));
    }

    #[test]
    fn only_members_with_missing_content_are_fetched() {
        let old = index(&[("big", &[(1, 2000), (2, 2000), (3, 96)])]);
        let new = index(&[("big", &[(1, 2000), (9, 1000), (3, 96)]), ("new", &[(8, 1)])]);
        let plan = plan(&old, &new, &whole(0..9));
        let place = |offset| Some(OldPiece { entry: 1, offset });
        let parts = FileSource::Pieces(vec![place(0), None, place(4000)]);
        assert_eq!(plan.files, [(1, parts), (2, FileSource::Pieces(vec![None]))]);
        // `big` begins at 1024: the second piece is 3024..4024, `new` is at 4608 + 512.
        assert_eq!(plan.members, [2, 3, 5]);
        assert_eq!((plan.fetched, plan.reused), (300, 2096));
        assert_eq!(ranges(&new, &plan.members).first(), Some(&(200..600)));
    }

    #[test]
    fn modified_files_are_fetched() {
        let both = index(&[("a", &[(1, 512)]), ("b", &[(2, 512)])]);
        let plan = plan(&both, &both, &whole(1..2));
        assert_eq!(plan.files, [(1, FileSource::Same(1)), (2, FileSource::Pieces(vec![None]))]);
    }

    #[test]
    fn intact_pieces_of_a_damaged_file_are_reused() {
        let both = index(&[("big", &[(1, 2000), (2, 2000), (3, 96)])]);
        let here = Intact { pieces: [(1, 0), (1, 2)].into(), ..Intact::default() };
        let plan = plan(&both, &both, &here);
        let place = |offset| Some(OldPiece { entry: 1, offset });
        assert_eq!(plan.files, [(1, FileSource::Pieces(vec![place(0), None, place(4000)]))]);
        // It begins at 1024: the second piece is 3024..5024.
        assert_eq!((plan.members, plan.reused), (vec![2, 3, 4], 2096));
    }

    #[test]
    fn distant_ranges_are_not_merged() {
        let new = index(&[("a", &[(1, 500 * 1024)])]);
        assert_eq!(ranges(&new, &[0, 1, 2, 400]), [0..300, 40_000..40_100]);
        assert_eq!(ranges(&new, &[]), []);
    }

    #[test]
    fn empty_files_need_nothing() {
        let (old, new) = (index(&[]), index(&[("empty", &[])]));
        let plan = plan(&old, &new, &whole(0..9));
        assert_eq!((plan.files, plan.members), (vec![(1, FileSource::Pieces(vec![]))], vec![]));
    }
}
