//! Divides the tar stream into members. The rule is part of the format of archives that this program writes
//! (readers accept any division): archives with equal files have equal members except for headers.
//!
//! A *large* file (its body is [`LARGE`] bytes or more) begins a member; its body is cut by
//! [`super::gear`], and each piece ends a member: the first member has the file's headers, the last one its
//! padding. All other entries are in groups, and a group is a member. An entry begins a new group
//!
//! - after a large file, or at the beginning;
//! - if the previous group has reached [`MIN_GROUP`] and a hash of its path decides so: the first eight
//!   bytes of the SHA-256 of its path below the archive's directory, as a big-endian number, are below
//!   2^64 × its weight / ([`TARGET`] − [`MIN_GROUP`]);
//! - if with it the group would exceed the weight [`MAX_GROUP`], or the unpacked size that readers accept.
//!
//! An entry's *weight* is one header block and its padded body, a group's the sum of its entries'. So cuts do
//! not depend on the name of the archive's directory, whose length determines which entries need pax
//! headers (except for groups of hundreds of empty files with pax headers, which reach the reader's limit).
//! The probability is proportional to the weight, so that the distance between cuts is independent of the
//! sizes of the files.
//!
//! The two zero blocks at the end of the stream belong to the last member.

use super::{
    gear::{self, LOOKAHEAD},
    stream::{Item, Stream},
};
use crate::tree::content::Reader;
use joblet_format::{
    member::MAX_MEMBER,
    ustar::{BLOCK, END},
};
use sha2::{Digest, Sha256};
use std::{
    io::{self, Read},
    ops::Range,
};

/// Smallest body of a large file, in bytes. Part of the format.
pub(super) const LARGE: u64 = 256 << 10;
/// Average weight of a group, in bytes. Part of the format.
const TARGET: u64 = 256 << 10;
/// Weight from which the path of an entry may end a group, in bytes. Part of the format.
const MIN_GROUP: u64 = 64 << 10;
/// Largest weight of a group, in bytes. Part of the format.
const MAX_GROUP: u64 = 512 << 10;
/// Largest unpacked size of a group, in bytes: leaves room for the end of the stream.
const MAX_UNPACKED: u64 = (MAX_MEMBER - END) as u64;

/// The content of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// These entries.
    Group(Range<usize>),
    /// A range of a large file's body, with its headers if it is the first, its padding if the last.
    Piece {
        /// The entry.
        item: usize,
        /// In bytes of its body.
        range: Range<u64>,
    },
}

impl Plan {
    /// Whether it ends with the last entry of the stream.
    pub(super) fn is_last(&self, stream: &Stream) -> bool {
        let last = stream.items.len() - 1;
        match self {
            Self::Group(items) => items.end > last,
            Self::Piece { item, range } => *item == last && range.end == stream.items[last].size(),
        }
    }
}

/// A member's plan, and the bytes of its range of a large file: such a file is read once, sequentially,
/// independent of the number of threads.
pub(super) struct Cut {
    pub(super) plan: Plan,
    pub(super) body: Vec<u8>,
}

/// The members of a stream, in order.
pub(super) struct Cuts<'s> {
    stream: &'s Stream,
    /// The first entry that is not completely in a member yet.
    next: usize,
    /// How much of its body is, in bytes.
    inside: u64,
    /// Bytes of its body that were read ahead.
    buffer: Vec<u8>,
    reader: Option<Reader>,
}

impl<'s> Cuts<'s> {
    pub(super) fn new(stream: &'s Stream) -> Self {
        Self { stream, next: 0, inside: 0, buffer: Vec::new(), reader: None }
    }

    fn group(&mut self) -> Plan {
        let items = &self.stream.items[self.next..];
        let (mut weight, mut length) = (0, 0);
        let fits = |item: &&Item| {
            let more = self.stream.headers_length(item) + item.padded_size();
            let full = weight + self::weight(item) > MAX_GROUP || length + more > MAX_UNPACKED;
            if weight > 0 && (is_large(item) || begins_group(item, weight) || full) {
                return false;
            }
            weight += self::weight(item);
            length += more;
            true
        };
        let end = self.next + items.iter().take_while(fits).count();
        let group = std::mem::replace(&mut self.next, end)..end;
        Plan::Group(group)
    }

    fn piece(&mut self, item: &Item) -> io::Result<Cut> {
        let (from, size) = (self.inside, item.size());
        let content = item.content().ok_or(io::ErrorKind::InvalidInput)?;
        let reader = self.reader.get_or_insert_with(|| content.reader());
        let window = (size - from).min(LOOKAHEAD as u64) - self.buffer.len() as u64;
        let read = reader.take(window).read_to_end(&mut self.buffer)?;
        if read as u64 != window {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = gear::cut(&self.buffer);
        let body: Vec<u8> = self.buffer.drain(..length).collect();
        let to = from + length as u64;
        let plan = Plan::Piece { item: self.next, range: from..to };
        self.inside = to;
        if to == size {
            reader.finish()?;
            (self.next, self.inside, self.reader) = (self.next + 1, 0, None);
        }
        Ok(Cut { plan, body })
    }
}

impl Iterator for Cuts<'_> {
    /// Errors are those of reading a large file.
    type Item = io::Result<Cut>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.stream.items.get(self.next)?;
        if is_large(item) {
            return Some(self.piece(item));
        }
        Some(Ok(Cut { plan: self.group(), body: Vec::new() }))
    }
}

fn is_large(item: &Item) -> bool {
    item.size() >= LARGE
}

fn weight(item: &Item) -> u64 {
    BLOCK as u64 + item.padded_size()
}

/// Whether a group begins with `item` by the hash of its path, after a group of weight `group`.
fn begins_group(item: &Item, group: u64) -> bool {
    if group < MIN_GROUP {
        return false;
    }
    let digest = Sha256::digest(&item.path);
    let hash = u64::from_be_bytes(digest[..8].try_into().expect("a digest has more"));
    u128::from(hash) * u128::from(TARGET - MIN_GROUP) < u128::from(weight(item)) << u64::BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pack::tests::noise,
        tree::{Node, Tree},
    };

    fn stream(directory: &str, files: &[(String, usize)]) -> Stream {
        let mut tree = Tree::default();
        for (path, size) in files {
            let content = noise(*size as u64, *size).into();
            tree.insert(path, Node::File { executable: false, content }).unwrap();
        }
        Stream::new(directory, &tree, "name: d\n").unwrap()
    }

    fn plans(stream: &Stream) -> Vec<Plan> {
        Cuts::new(stream).map(|cut| cut.unwrap().plan).collect()
    }

    /// `count` files of up to 40 kB.
    fn small_files(count: usize) -> Vec<(String, usize)> {
        let size = |number: usize| number * 7919 % 40_000;
        (0..count).map(|number| (format!("usr/{number:05}"), size(number))).collect()
    }

    #[test]
    fn groups_respect_their_limits() {
        let stream = stream("d-1.0.0", &small_files(1000));
        let plans = plans(&stream);
        let mut at = 0;
        for (number, plan) in plans.iter().enumerate() {
            let Plan::Group(items) = plan else { panic!("{plan:?}") };
            assert_eq!(items.start, at, "every entry once, in order");
            at = items.end;
            let weight: u64 = stream.items[items.clone()].iter().map(weight).sum();
            assert!(weight <= MAX_GROUP, "{weight}");
            assert!(weight >= MIN_GROUP || number + 1 == plans.len(), "{weight}");
        }
        assert_eq!(at, stream.items.len());
        let average = stream.items.iter().map(weight).sum::<u64>() / plans.len() as u64;
        assert!((200 << 10..312 << 10).contains(&average), "{average}");
    }

    #[test]
    fn a_large_file_has_separate_members() {
        let large = usize::try_from(LARGE).unwrap();
        let files = [("a", 1), ("b", large - 1), ("c", large), ("d", 3 << 20), ("e", 1)];
        let files = files.map(|(path, size)| (path.to_owned(), size));
        let stream = stream("d-1.0.0", &files);
        let plans = plans(&stream);
        assert_eq!(plans[..2], [Plan::Group(0..4), Plan::Piece { item: 4, range: 0..LARGE }]);
        let (last, pieces) = plans[2..].split_last().unwrap();
        assert_eq!(*last, Plan::Group(6..8));
        let mut at = 0;
        for plan in pieces {
            let Plan::Piece { item: 5, range } = plan else { panic!("{plan:?}") };
            assert_eq!(range.start, at);
            at = range.end;
        }
        assert_eq!(at, 3 << 20);
        let reaching: Vec<_> = plans.iter().filter(|plan| plan.is_last(&stream)).collect();
        assert_eq!(reaching, [last]);
    }

    #[test]
    fn cuts_do_not_depend_on_the_directory() {
        // The paths need a pax header below the second name, not below the first.
        let long = |(path, size): (String, usize)| (format!("{}/{path}", "n".repeat(95)), size);
        let files: Vec<_> = small_files(500).into_iter().map(long).collect();
        let other = format!("{}-10.20.30", "d".repeat(64));
        let (one, two) = (stream("d-1.0.0", &files), stream(&other, &files));
        let length = |stream: &Stream| stream.headers(&stream.items[100]).len();
        assert_eq!((length(&one), length(&two)), (512, 1536));
        assert_eq!(plans(&one), plans(&two));
    }

    #[test]
    fn the_cuts_of_known_paths_are_constant() {
        // Part of the format: other cuts would be other archives.
        let plans = plans(&stream("d-1.0.0", &small_files(60)));
        let want = [0..11, 11..17, 17..27, 27..33, 33..42, 42..47, 47..57, 57..64].map(Plan::Group);
        assert_eq!(plans, want);
    }
}
