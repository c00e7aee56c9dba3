//! Mapping of members to ranges of the tar stream and parts of entries. No I/O.

use joblet_format::index::Index;
use std::ops::Range;

/// The members of an archive, as ranges of its tar stream.
#[derive(Debug)]
pub(crate) struct MemberMap {
    /// The span of each entry.
    spans: Vec<Span>,
    /// Offset of each member in the tar stream, and the end of the last one, in bytes.
    starts: Vec<u64>,
    /// The first entry of each member.
    first: Vec<usize>,
}

/// Offsets of an entry in the tar stream, in bytes.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// Start of its body.
    body: u64,
    /// End of its body and start of its padding.
    padding: u64,
    /// Start of the next entry.
    end: u64,
}

/// A part of a member. Entries are indexes into [`Index::entries`], lengths are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All headers of an entry.
    Headers {
        /// Which.
        entry: usize,
        /// Their length.
        length: usize,
    },
    /// Content of a file that has some.
    Body {
        /// Which.
        entry: usize,
        /// Offset in the file.
        offset: u64,
        /// Length of this part.
        length: usize,
        /// Whether it is the whole file.
        whole: bool,
    },
    /// Padding after a body, or the end of the stream.
    Zeros {
        /// Number of zeros.
        length: usize,
    },
}

impl Part {
    /// Its length, in bytes.
    pub(crate) fn length(&self) -> usize {
        let (Self::Headers { length, .. } | Self::Body { length, .. } | Self::Zeros { length }) =
            self;
        *length
    }
}

impl MemberMap {
    /// Computes the map of `index`.
    pub(crate) fn new(index: &Index) -> Self {
        let spans: Vec<_> = (index.places().zip(index.entries()))
            .map(|(place, entry)| Span {
                body: place.body,
                padding: place.body + entry.size(),
                end: place.end,
            })
            .collect();
        let mut starts = vec![0];
        let mut first = Vec::with_capacity(index.members().len());
        let (mut at, mut entry) = (0, 0);
        for member in index.members() {
            while spans.get(entry).is_some_and(|span| span.end <= at) {
                entry += 1;
            }
            first.push(entry);
            at += u64::from(member.unpacked);
            starts.push(at);
        }
        Self { spans, starts, first }
    }

    /// The parts of a member, in order, which cover its content exactly.
    pub(crate) fn parts(&self, member: usize) -> impl Iterator<Item = Part> {
        let (mut at, end) = (self.starts[member], self.starts[member + 1]);
        let mut entry = self.first[member];
        std::iter::from_fn(move || {
            if at == end {
                return None;
            }
            let from = at;
            // A member is at most 1 MiB.
            let up_to = |stop: u64| usize::try_from(stop.min(end) - from).expect("in a member");
            let Some(span) = self.spans.get(entry) else {
                at = end;
                return Some(Part::Zeros { length: up_to(end) });
            };
            let part = if at < span.body {
                Part::Headers { entry, length: up_to(span.body) }
            } else if at < span.padding {
                let (offset, length) = (at - span.body, up_to(span.padding));
                let whole = length as u64 == span.padding - span.body;
                Part::Body { entry, offset, length, whole }
            } else {
                Part::Zeros { length: up_to(span.end) }
            };
            at += part.length() as u64;
            if at == span.end {
                entry += 1;
            }
            Some(part)
        })
    }

    /// The members that contain the `length` bytes at `offset` of the file `entry`; empty past its end.
    pub(super) fn members(&self, entry: usize, offset: u64, length: u64) -> Range<usize> {
        let span = &self.spans[entry];
        let start = span.body.saturating_add(offset).min(span.padding);
        let end = start.saturating_add(length).min(span.padding);
        if start == end {
            return 0..0;
        }
        let first = self.starts.partition_point(|at| *at <= start) - 1;
        first..self.starts.partition_point(|at| *at < end)
    }

    /// The files with parts in several members.
    pub(crate) fn shared(&self) -> impl Iterator<Item = usize> {
        let mut before = None;
        (self.first.iter().zip(&self.starts)).filter_map(move |(&entry, &start)| {
            let span = self.spans.get(entry)?;
            let parted = (span.body + 1..span.padding).contains(&start);
            (parted && before.replace(entry) != Some(entry)).then_some(entry)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use joblet_format::index::{Body, Entry, Member, Piece};

    /// A random number generator with a fixed seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) % limit
        }
    }

    fn entry(path: String, sizes: &[u64]) -> Entry {
        let pieces = sizes.iter().map(|&size| Piece { size, sha256: [0; 32] }).collect();
        Entry { path, body: Body::File { executable: false, pieces } }
    }

    fn index(entries: Vec<Entry>, unpacked: &[u64]) -> Result<Index, String> {
        let member = |&unpacked: &u64| {
            let unpacked = u32::try_from(unpacked).unwrap();
            Member { length: 29 + unpacked / 9, unpacked, sha256: [0; 32] }
        };
        Index::new("demo-1.0.0".into(), unpacked.iter().map(member).collect(), entries)
    }

    fn tree(files: impl Iterator<Item = Entry>) -> Vec<Entry> {
        let root = Entry { path: String::new(), body: Body::Directory };
        std::iter::once(root).chain(files).collect()
    }

    #[test]
    fn members_are_split_at_the_bounds_of_entries() {
        let files = [entry("a".into(), &[700]), entry("b".into(), &[]), entry("c".into(), &[512])];
        let entries = tree(files.into_iter());
        // Headers at 0, 512, 2048, 2560; contents at 1024 and 3072; the end at 3584.
        let plan = MemberMap::new(&index(entries, &[1124, 624, 1324, 1000, 536]).unwrap());
        let headers = |entry| Part::Headers { entry, length: 512 };
        let body = |entry, offset, length, whole| Part::Body { entry, offset, length, whole };
        let zeros = |length| Part::Zeros { length };
        for (member, want) in [
            vec![headers(0), headers(1), body(1, 0, 100, false)],
            vec![body(1, 100, 600, false), zeros(24)],
            vec![zeros(300), headers(2), headers(3)],
            vec![body(3, 0, 512, true), zeros(488)],
            vec![zeros(536)],
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(plan.parts(member).collect::<Vec<_>>(), want, "{member}");
        }
        assert_eq!(plan.shared().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn parts_cover_the_stream_for_random_cuts() {
        let mut random = Random(7);
        for _ in 0..500 {
            let files: Vec<_> = (0..random.below(20))
                .map(|number| {
                    let long = if random.below(5) == 0 { "x".repeat(150) } else { String::new() };
                    let sizes = [1 + random.below(3000), 1 + random.below(600)];
                    let pieces = usize::try_from(random.below(3)).unwrap();
                    entry(format!("{number:03}{long}"), &sizes[..pieces])
                })
                .collect();
            let entries = tree(files.into_iter());
            let length = length_of(&entries);
            let places: Vec<_> = index(entries.clone(), &[length]).unwrap().places().collect();
            let (mut cuts, mut at) = (Vec::new(), 0);
            while at < length {
                let longest = 1 + random.below(6000);
                let end = length.min(at + 1 + random.below(longest));
                // No member begins inside a header.
                let parted = places.iter().find(|place| place.start < end && end < place.body);
                let end = parted.map_or(end, |place| place.body);
                cuts.push(end - at);
                at = end;
            }
            check(&index(entries, &cuts).unwrap(), &places);
        }
    }

    fn length_of(entries: &[Entry]) -> u64 {
        let blocks = |bytes: u64| bytes.next_multiple_of(512);
        let length =
            |entry: &Entry| entry.headers("demo-1.0.0").len() as u64 + blocks(entry.size());
        entries.iter().map(length).sum::<u64>() + 1024
    }

    fn check(index: &Index, places: &[joblet_format::index::Place]) {
        let plan = MemberMap::new(index);
        let mut at = 0;
        let mut written = vec![0; index.entries().len()];
        let mut in_parts = std::collections::BTreeSet::new();
        for (number, member) in index.members().iter().enumerate() {
            let parts: Vec<_> = plan.parts(number).collect();
            let length: usize = parts.iter().map(Part::length).sum();
            assert_eq!(length, member.unpacked as usize);
            for part in parts {
                match part {
                    Part::Headers { entry, length } => {
                        assert_eq!(at, places[entry].start);
                        assert_eq!(at + length as u64, places[entry].body);
                    }
                    Part::Body { entry, offset, length, whole } => {
                        assert_eq!((at, offset), (places[entry].body + offset, written[entry]));
                        written[entry] += length as u64;
                        assert_eq!(whole, length as u64 == index.entries()[entry].size());
                        if !whole {
                            in_parts.insert(entry);
                        }
                    }
                    Part::Zeros { .. } => {}
                }
                assert_ne!(part.length(), 0);
                at += part.length() as u64;
            }
        }
        assert_eq!(written, index.entries().iter().map(Entry::size).collect::<Vec<_>>());
        assert_eq!(plan.shared().collect::<Vec<_>>(), in_parts.into_iter().collect::<Vec<_>>());
    }
}
