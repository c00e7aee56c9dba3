//! Messages of FUSE, linux/fuse.h, protocol 7.31: requests to a read-only file system, and replies. Numbers are in
//! native byte order; the size of every structure is a multiple of eight bytes.

use rustix::io::Errno;

/// Maximum size of a request, in bytes; none of these carries file content.
pub(super) const MAX_REQUEST: usize = 64 << 10;
/// Length of `struct fuse_out_header`, in bytes.
pub(super) const HEADER: usize = 16;
/// Maximum size of a read, in bytes: 256 pages.
pub(super) const MAX_READ: u32 = 1 << 20;
/// Node ID of the root directory. Part of the protocol.
pub(super) const ROOT: u64 = 1;

/// Validity of cached names and attributes, in seconds: a runtime never changes.
const FOREVER: u64 = 1 << 30;
/// Version of the protocol. Both sides use the older one.
const MAJOR: u32 = 7;
const MINOR: u32 = 31;
/// Oldest supported minor version: Linux 5.4.
const OLDEST: u32 = 31;

/// Flags of `FUSE_INIT`, as in linux/fuse.h.
mod flag {
    /// Concurrent reads of one file, and readahead.
    pub(super) const ASYNC_READ: u32 = 1 << 0;
    /// Directory entries with attributes, if the program reads all of them.
    pub(super) const DO_READDIRPLUS: u32 = 1 << 13;
    pub(super) const READDIRPLUS_AUTO: u32 = 1 << 14;
    /// No request for opening a file.
    pub(super) const NO_OPEN_SUPPORT: u32 = 1 << 17;
    /// Concurrent lookups in one directory.
    pub(super) const PARALLEL_DIROPS: u32 = 1 << 18;
    /// Reads of more than 32 pages.
    pub(super) const MAX_PAGES: u32 = 1 << 22;
    /// Caching of symlinks' targets.
    pub(super) const CACHE_SYMLINKS: u32 = 1 << 23;
    /// No request for opening a directory.
    pub(super) const NO_OPENDIR_SUPPORT: u32 = 1 << 24;

    pub(super) const ALL: u32 = ASYNC_READ
        | DO_READDIRPLUS
        | READDIRPLUS_AUTO
        | NO_OPEN_SUPPORT
        | PARALLEL_DIROPS
        | MAX_PAGES
        | CACHE_SYMLINKS
        | NO_OPENDIR_SUPPORT;
}

/// A request of the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'m> {
    /// `FUSE_INIT`: minor version, flags, and maximum readahead in bytes.
    Init { minor: u32, flags: u32, readahead: u32 },
    /// `FUSE_LOOKUP` of this name in a directory.
    Lookup(&'m [u8]),
    /// `FUSE_GETATTR`.
    Attributes,
    /// `FUSE_READLINK`.
    Link,
    /// `FUSE_READ` of `size` bytes from `offset`.
    Read { offset: u64, size: u32 },
    /// `FUSE_READDIR`, or `FUSE_READDIRPLUS` if `plus`: entries from the index `offset` on, in at most `size` bytes.
    Names { offset: u64, size: u32, plus: bool },
    /// `FUSE_STATFS`.
    FileSystem,
    /// `FUSE_INTERRUPT` of the request with this number.
    Interrupt(u64),
    /// `FUSE_FORGET` and `FUSE_BATCH_FORGET`: nothing to do, no reply.
    Forget,
    /// `FUSE_RELEASE`, `FUSE_RELEASEDIR`, `FUSE_DESTROY`: nothing to do.
    Nothing,
    /// Any other request, which is not supported.
    Other,
}

/// A request with its header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'m> {
    /// Its number, which the reply repeats.
    pub(super) unique: u64,
    /// The node ID.
    pub(super) node: u64,
    pub(super) request: Request<'m>,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl<'m> Message<'m> {
    /// Parses `struct fuse_in_header` and the body; `None` if it is invalid.
    pub(super) fn parse(bytes: &'m [u8]) -> Option<Self> {
        let (operation, unique, node) = (u32_at(bytes, 4)?, u64_at(bytes, 8)?, u64_at(bytes, 16)?);
        let body = bytes.get(40..)?;
        // `struct fuse_read_in`: file handle (ignored), offset, size.
        let range = || Some((u64_at(body, 8)?, u32_at(body, 16)?));
        let request = match operation {
            1 => Request::Lookup(body.split(|byte| *byte == 0).next().unwrap_or_default()),
            2 | 42 => Request::Forget,
            3 => Request::Attributes,
            5 => Request::Link,
            15 => {
                let (offset, size) = range()?;
                Request::Read { offset, size }
            }
            17 => Request::FileSystem,
            18 | 29 | 38 => Request::Nothing,
            26 => Request::Init {
                minor: if u32_at(body, 0)? > MAJOR { MINOR } else { u32_at(body, 4)? },
                readahead: u32_at(body, 8)?,
                flags: u32_at(body, 12)?,
            },
            28 | 44 => {
                let (offset, size) = range()?;
                Request::Names { offset, size, plus: operation == 44 }
            }
            36 => Request::Interrupt(u64_at(body, 0)?),
            _ => Request::Other,
        };
        Some(Self { unique, node, request })
    }
}

/// A reply under construction: header and body.
#[derive(Debug)]
pub(super) struct Answer(Vec<u8>);

impl Answer {
    /// An empty reply to the request `unique`.
    pub(super) fn to(unique: u64) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[8..].copy_from_slice(&unique.to_ne_bytes());
        Self(bytes)
    }

    /// An error reply.
    pub(super) fn refused(unique: u64, errno: Errno) -> Vec<u8> {
        let mut answer = Self::to(unique);
        answer.0[4..8].copy_from_slice(&(-errno.raw_os_error()).to_ne_bytes());
        answer.done()
    }

    /// The bytes of the reply, with the length in its header.
    pub(super) fn done(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }

    /// Length of its body, in bytes.
    pub(super) fn length(&self) -> usize {
        self.0.len() - HEADER
    }

    fn u32s(&mut self, numbers: &[u32]) {
        self.0.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
    }

    fn u64s(&mut self, numbers: &[u64]) {
        self.0.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
    }

    /// Appends bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// Appends the bytes that `read` writes to a buffer of `length` bytes; it returns their number.
    pub(super) fn fill(
        &mut self,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<(), Errno> {
        self.0.resize(HEADER + length, 0);
        let count = read(&mut self.0[HEADER..])?;
        self.0.truncate(HEADER + count);
        Ok(())
    }

    /// Appends `struct fuse_init_out`; `None` if the kernel is too old.
    pub(super) fn init(&mut self, minor: u32, flags: u32, readahead: u32) -> Option<()> {
        if minor < OLDEST {
            return None;
        }
        self.u32s(&[MAJOR, MINOR, readahead, flags & flag::ALL]);
        // max_background, congestion_threshold, max_write (at least a page), time_gran in nanoseconds,
        // max_pages.
        let (background, congested) = (64_u16, 48_u16);
        self.bytes(&background.to_ne_bytes());
        self.bytes(&congested.to_ne_bytes());
        self.u32s(&[4096, 1, MAX_READ / 4096]);
        self.u32s(&[0; 8]);
        Some(())
    }

    /// Appends `struct fuse_attr_out`.
    pub(super) fn attributes(&mut self, attributes: &Attributes) {
        self.u64s(&[FOREVER, 0]);
        self.attr(attributes);
    }

    /// Appends `struct fuse_entry_out`; without attributes, a negative entry.
    pub(super) fn entry(&mut self, attributes: Option<&Attributes>) {
        let node = attributes.map_or(0, |attributes| attributes.node);
        self.u64s(&[node, 0, FOREVER, FOREVER, 0]);
        self.attr(attributes.unwrap_or(&Attributes::default()));
    }

    /// Appends `struct fuse_attr`.
    fn attr(&mut self, attributes: &Attributes) {
        let Attributes { node, size, mtime, mode, links, uid, gid } = *attributes;
        self.u64s(&[node, size, size.div_ceil(512), mtime, mtime, mtime]);
        self.u32s(&[0, 0, 0, mode, links, uid, gid, 0, 4096, 0]);
    }

    /// Appends `struct fuse_direntplus` with `plus`, else `struct fuse_dirent`. `next` is the offset of the following entry.
    /// Returns false if it exceeds `max_size`.
    pub(super) fn dirent(
        &mut self,
        (node, kind, name): (u64, u32, &[u8]),
        next: u64,
        plus: Option<&Attributes>,
        max_size: usize,
    ) -> bool {
        let length = if plus.is_some() { 128 + 24 } else { 24 } + name.len();
        if self.length() + length.next_multiple_of(8) > max_size {
            return false;
        }
        if let Some(attributes) = plus {
            self.entry(Some(attributes));
        }
        self.u64s(&[node, next]);
        self.u32s(&[u32::try_from(name.len()).unwrap_or(u32::MAX), kind >> 12]);
        self.bytes(name);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        true
    }

    /// Appends `struct fuse_kstatfs` of a full file system with `bytes` in `files`.
    pub(super) fn file_system(&mut self, bytes: u64, files: u64) {
        self.u64s(&[bytes.div_ceil(4096), 0, 0, files, 0]);
        self.u32s(&[4096, 255, 4096]);
        self.u32s(&[0; 7]);
    }
}

/// Attributes of a node, as in stat(2).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) node: u64,
    /// Size, in bytes.
    pub(super) size: u64,
    /// All of its timestamps, in seconds since 1970.
    pub(super) mtime: u64,
    /// Type and permissions.
    pub(super) mode: u32,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(operation: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 40];
        bytes[4..8].copy_from_slice(&operation.to_ne_bytes());
        bytes[8..16].copy_from_slice(&7_u64.to_ne_bytes());
        bytes[16..24].copy_from_slice(&9_u64.to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    /// SEC-F07
    #[test]
    fn requests_are_parsed_as_in_linux_fuse_h() {
        let mut read = Vec::new();
        read.extend([1_u64, 4096].iter().flat_map(|number| number.to_ne_bytes()));
        read.extend([300_u32, 0].iter().flat_map(|number| number.to_ne_bytes()));
        let init: Vec<_> = [7_u32, 40, 131_072, 5].iter().flat_map(|n| n.to_ne_bytes()).collect();
        for (operation, body, want) in [
            (1, b"name\0".as_slice(), Request::Lookup(b"name")),
            (2, &[], Request::Forget),
            (15, &read, Request::Read { offset: 4096, size: 300 }),
            (44, &read, Request::Names { offset: 4096, size: 300, plus: true }),
            (26, &init, Request::Init { minor: 40, flags: 5, readahead: 131_072 }),
            (36, &1_u64.to_ne_bytes(), Request::Interrupt(1)),
            (16, &[], Request::Other),
        ] {
            let bytes = message(operation, body);
            let want = Some(Message { unique: 7, node: 9, request: want });
            assert_eq!(Message::parse(&bytes), want);
        }
        for cut in [0, 39, 40, 59] {
            assert_eq!(Message::parse(&message(15, &read)[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn replies_have_the_lengths_that_the_kernel_requires() {
        let length = |fill: &dyn Fn(&mut Answer)| {
            let mut answer = Answer::to(1);
            fill(&mut answer);
            answer.length()
        };
        assert_eq!(length(&|answer| answer.init(31, 0, 0).unwrap()), 64);
        assert_eq!(length(&|answer| answer.attributes(&Attributes::default())), 104);
        assert_eq!(length(&|answer| answer.entry(None)), 128);
        assert_eq!(length(&|answer| answer.file_system(1, 1)), 80);
        assert_eq!(length(&|answer| assert!(answer.dirent((1, 0, b"a"), 1, None, 32))), 32);
        assert_eq!(length(&|answer| assert!(!answer.dirent((1, 0, b"abcdefghi"), 1, None, 32))), 0);
        assert_eq!(
            length(&|answer| assert!(answer.dirent(
                (1, 0, b"a"),
                1,
                Some(&Attributes::default()),
                160
            ))),
            160
        );
        let refused = Answer::refused(7, Errno::IO);
        assert_eq!(refused[..8], [16_i32, -5].map(i32::to_ne_bytes).concat());
    }
}
