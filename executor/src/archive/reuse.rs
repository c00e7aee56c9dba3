//! What of a new version is here already: two indexes → what to take from where. Pure.
//!
//! Files are compared, and pieces of large ones, not members: the archive's directory has the version
//! in its name and so is in every header, and members begin where that does not matter.

use joblet_format::index::{Body, Index, Piece};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// Ranges of the archive that are this close are fetched as one, in bytes: what is between costs
/// less than another request.
const GAP: u64 = 16 << 10;

/// What of a version is here as it must be.
#[derive(Debug, Default)]
pub(crate) struct Here {
    /// The files that are whole, by their numbers in its index.
    pub files: BTreeSet<usize>,
    /// Pieces of other files: the file's number, and the piece's in it.
    pub pieces: BTreeSet<(usize, usize)>,
}

/// Where the content of a new version comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReusePlan {
    /// For each entry of the new index that is a file, in order: its number and its source.
    pub files: Vec<(usize, FileSource)>,
    /// The members that hold what is not here, by number, ascending.
    pub members: Vec<usize>,
    /// Length of those members in the archive, in bytes.
    pub fetched: u64,
    /// Length of the files' content that is here, in bytes.
    pub reused: u64,
}

/// Where one file comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileSource {
    /// Entry of the old index that is the same file.
    Same(usize),
    /// For each piece: a place in an old file, or the archive.
    Pieces(Vec<Option<OldPiece>>),
}

/// A piece of a file that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OldPiece {
    /// Its entry in the old index.
    pub entry: usize,
    /// Where it begins in that file, in bytes.
    pub offset: u64,
}

/// Plans the files of `new`, given what of `old` is here.
pub(super) fn plan(old: &Index, new: &Index, here: &Here) -> ReusePlan {
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

/// Stretches of the archive to ask for, which hold `members`, in bytes.
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

/// Whole files by what they are, and pieces by what they hold. Of equals the first counts.
type Whole<'a> = HashMap<(bool, &'a [Piece]), usize>;

fn inventory<'a>(old: &'a Index, here: &Here) -> (Whole<'a>, HashMap<Piece, OldPiece>) {
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

/// Where each member begins in the tar stream, and where the last one ends, in bytes.
fn member_starts(index: &Index) -> Vec<u64> {
    let mut starts = vec![0];
    let mut at = 0;
    for member in index.members() {
        at += u64::from(member.unpacked);
        starts.push(at);
    }
    starts
}

/// The members that hold any byte of `range` of the tar stream.
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

    fn whole(files: Range<usize>) -> Here {
        Here { files: files.collect(), ..Here::default() }
    }

    #[test]
    fn equal_files_are_taken_whole_wherever_they_are() {
        let old = index(&[("a", &[(1, 512)]), ("b", &[(2, 512)]), ("x", &[(3, 512)])]);
        let new = index(&[("b", &[(2, 512)]), ("c", &[(1, 512)]), ("d", &[(3, 512)])]);
        let plan = plan(&old, &new, &whole(0..9));
        // `x` is executable and `d` is not: the same content, but another file.
        let copied = FileSource::Pieces(vec![Some(OldPiece { entry: 3, offset: 0 })]);
        assert_eq!(plan.files, [(1, FileSource::Same(2)), (2, FileSource::Same(1)), (3, copied)]);
        assert_eq!((plan.members.len(), plan.fetched, plan.reused), (0, 0, 1536));
    }

    #[test]
    fn only_members_with_what_is_missing_are_fetched() {
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
    fn what_was_touched_is_fetched() {
        let both = index(&[("a", &[(1, 512)]), ("b", &[(2, 512)])]);
        let plan = plan(&both, &both, &whole(1..2));
        assert_eq!(plan.files, [(1, FileSource::Same(1)), (2, FileSource::Pieces(vec![None]))]);
    }

    #[test]
    fn of_a_damaged_file_the_good_pieces_are_taken() {
        let both = index(&[("big", &[(1, 2000), (2, 2000), (3, 96)])]);
        let here = Here { pieces: [(1, 0), (1, 2)].into(), ..Here::default() };
        let plan = plan(&both, &both, &here);
        let place = |offset| Some(OldPiece { entry: 1, offset });
        assert_eq!(plan.files, [(1, FileSource::Pieces(vec![place(0), None, place(4000)]))]);
        // It begins at 1024: the second piece is 3024..5024.
        assert_eq!((plan.members, plan.reused), (vec![2, 3, 4], 2096));
    }

    #[test]
    fn ranges_that_are_far_apart_stay_apart() {
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
