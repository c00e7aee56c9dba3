//! The read order of members in the header of an index, made of what a manifest's checks read.

use super::index_path;
use crate::{error::Error, fs::paths, source::reads::Read};
use flate2::read::GzDecoder;
use joblet_format::{
    Checksum, IndexFile,
    index::{Index, MAX_INDEX_BYTES, reads},
};
use std::{collections::HashMap, io::Read as _, ops::Range, path::Path};

/// Replaces the read order in the index of `archive` by that of `read`. Returns the size and checksum of the index.
///
/// # Errors
/// [`Error::File`]; [`Error::Check`] if the index is not valid.
pub fn put(archive: &Path, read: &[Read]) -> Result<IndexFile, Error> {
    let path = index_path(archive);
    let file = paths::read(&path)?;
    let with = with(archive, &file, read)?;
    if with != file {
        paths::write(&path, &with)?;
    }
    Ok(described(&with))
}

/// What [`put`] would return, without writing; `None` unless `archive` has the index that `before` describes.
///
/// # Errors
/// As [`put`].
pub(crate) fn would_put(
    archive: &Path,
    before: IndexFile,
    read: &[Read],
) -> Result<Option<IndexFile>, Error> {
    let file = paths::read_if_there(&index_path(archive))?.filter(|it| described(it) == before);
    file.map(|file| with(archive, &file, read).map(|with| described(&with))).transpose()
}

fn described(file: &[u8]) -> IndexFile {
    IndexFile { checksum: Checksum::of_bytes(file), size: file.len() as u64 }
}

/// The index `file` of `archive` with its read order replaced by that of `read`.
fn with(archive: &Path, file: &[u8], read: &[Read]) -> Result<Vec<u8>, Error> {
    let mut plain = Vec::new();
    let gzip = GzDecoder::new(file).take(MAX_INDEX_BYTES).read_to_end(&mut plain);
    gzip.map_err(Error::file("read", index_path(archive)))?;
    let refused = |reason| Error::Check { runtime: archive.display().to_string(), reason };
    let index = Index::parse(&plain).map_err(refused)?;
    Ok(reads::with(file, &runs(&index, read)))
}

/// The members that have what is `read`, in its order, each once.
fn runs(index: &Index, read: &[Read]) -> Vec<Range<usize>> {
    let mut starts = vec![0];
    for member in index.members() {
        starts.push(starts.last().copied().unwrap_or_default() + u64::from(member.unpacked));
    }
    let places: HashMap<_, _> = (index.entries().iter().zip(index.places()))
        .map(|(entry, place)| (entry.path.as_str(), (place.body, entry.size())))
        .collect();
    let (mut runs, mut taken): (Vec<Range<usize>>, _) = (Vec::new(), vec![false; starts.len()]);
    for Read { path, ranges } in read {
        let Some(&(body, size)) = places.get(format!("isolated/{path}").as_str()) else { continue };
        for range in ranges.iter().filter(|range| range.start < size) {
            let (start, end) = (body + range.start, body + range.end.min(size));
            let first = starts.partition_point(|at| *at <= start) - 1;
            let held = first..starts.partition_point(|at| *at < end);
            for member in held.filter(|member| !std::mem::replace(&mut taken[*member], true)) {
                match runs.last_mut() {
                    Some(last) if last.end == member => last.end += 1,
                    _ => runs.push(member..member + 1),
                }
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pack,
        tree::{Node, Tree},
    };
    use std::num::NonZero;

    fn read(path: &str, ranges: &[Range<u64>]) -> Read {
        Read { path: path.into(), ranges: ranges.to_vec() }
    }

    fn from_start(path: &str, end: u64) -> Read {
        Read { path: path.into(), ranges: std::iter::once(0..end).collect() }
    }

    #[test]
    fn reads_in_an_index_do_not_change_the_rest() {
        let mut tree = Tree::default();
        for (name, length) in [("a", 3 << 20), ("b", 2 << 20), ("c", 10)] {
            let bytes: Vec<u8> = (0..length)
                .map(|at: u32| u8::try_from(at % 251 + at / 7919 % 5).unwrap())
                .collect();
            tree.insert(name, Node::File { executable: false, content: bytes.into() }).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("d-1.0.0-amd64.tar.gz");
        let packed = pack::pack(
            &tree,
            "name: d\n",
            "d-1.0.0",
            &archive,
            pack::MAX_PART,
            NonZero::<usize>::MIN,
        );
        let before = std::fs::read(index_path(&archive)).unwrap();
        let list = [
            from_start("b", 64 << 10),
            from_start("no such file", 64),
            from_start("c", 64 << 10),
            read("a", &[1 << 20..(1 << 20) + 1, 9 << 20..10 << 20]),
            from_start("b", 4 << 20),
        ];
        let described = put(&archive, &list).unwrap();
        let file = std::fs::read(index_path(&archive)).unwrap();
        assert_eq!(described.size, file.len() as u64);
        let mut plain = Vec::new();
        GzDecoder::new(file.as_slice()).read_to_end(&mut plain).unwrap();
        let index = Index::parse(&plain).unwrap();
        let runs = reads::parse(&file, index.members().len());
        let mut seen: Vec<_> = runs.iter().cloned().flatten().collect();
        let place = |name: &str, offset| {
            let at = index
                .entries()
                .iter()
                .position(|it| it.path == format!("isolated/{name}"))
                .unwrap();
            let at = index.places().nth(at).unwrap().body + offset;
            let mut end = 0;
            index
                .members()
                .iter()
                .position(|it| {
                    end += u64::from(it.unpacked);
                    at < end
                })
                .unwrap()
        };
        assert_eq!(seen[..3], [place("b", 0), place("c", 0), place("a", 1 << 20)]);
        // All of `b`, and nothing twice.
        assert_eq!(seen.len() - 2, place("b", (2 << 20) - 1) - place("b", 0) + 1);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), runs.iter().map(Range::len).sum::<usize>());
        assert_eq!(put(&archive, &[]).unwrap(), packed.unwrap().index);
        assert_eq!(std::fs::read(index_path(&archive)).unwrap(), before);
    }
}
