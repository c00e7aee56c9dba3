//! Synthetic tar streams, valid and invalid.

use ::tar::Header;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

/// pax keywords of extended attributes, in the spellings of all readers.
pub(crate) const ATTRIBUTES: [(&str, &str); 6] = [
    ("SCHILY.xattr.security.capability", "\u{1}\u{0}\u{0}\u{2}"),
    ("SCHILY.xattr.trusted.overlay.opaque", "y"),
    ("SCHILY.xattr.user.x", "y"),
    ("SCHILY.acl.access", "user::rwx,user:nobody:rwx,group::r-x,mask::rwx,other::r-x"),
    ("RHT.security.selinux", "system_u:object_r:bin_t:s0"),
    ("LIBARCHIVE.xattr.user.y", "eQ=="),
];

/// A tar stream under construction.
#[derive(Default, Clone)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    /// An entry with any name, type and link, in a header with a right checksum.
    pub(crate) fn raw(
        mut self,
        kind: u8,
        name: &[u8],
        link: &[u8],
        mode: u32,
        body: &[u8],
    ) -> Self {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.as_mut_bytes()[156] = kind;
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link);
        header.set_mode(mode);
        header.set_mtime(315_532_800);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(body.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.body(body)
    }

    /// A body that belongs to the header before it.
    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.0.extend_from_slice(body);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, body: &str) -> Self {
        self.raw(b'0', name.as_bytes(), b"", 0o644, body.as_bytes())
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.raw(b'5', name.as_bytes(), b"", 0o755, b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(b'2', name.as_bytes(), target.as_bytes(), 0o777, b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.raw(b'1', name.as_bytes(), target.as_bytes(), 0o644, b"")
    }

    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let body: String = records
            .iter()
            .map(|(key, value)| {
                let rest = key.len() + value.len() + 3;
                // The length includes its own digits.
                let fits = |length: &usize| length.to_string().len() + rest == *length;
                let length = (1..9).map(|digits| rest + digits).find(fits).unwrap();
                format!("{length} {key}={value}\n")
            })
            .collect();
        self.raw(b'x', b"pax", b"", 0o644, body.as_bytes())
    }

    /// GNU's header for a long name (`L`) or a long link (`K`).
    pub(crate) fn long(self, kind: u8, text: &[u8]) -> Self {
        self.raw(kind, b"././@LongLink", b"", 0, text)
    }

    /// Changes the header at this distance from the end, and corrects its checksum.
    pub(crate) fn patch(mut self, from_end: usize, at: usize, bytes: &[u8]) -> Self {
        let start = self.0.len() - from_end;
        let header = &mut self.0[start..start + 512];
        header[at..at + bytes.len()].copy_from_slice(bytes);
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self
    }

    /// The stream with its two end blocks.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// Everything below `root` by its path: type, and content or target.
pub(crate) fn listing(root: &Path) -> BTreeMap<PathBuf, (char, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let data = path.symlink_metadata().unwrap();
        let entry = if data.is_symlink() {
            ('l', fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes())
        } else if data.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            ('d', Vec::new())
        } else if data.file_type().is_fifo() {
            ('p', Vec::new())
        } else {
            ('f', fs::read(&path).unwrap())
        };
        found.insert(path.strip_prefix(root).unwrap().to_owned(), entry);
    }
    found
}
