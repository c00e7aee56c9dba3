//! Archives in members, valid and invalid, as a publisher would make them.

use super::{World, checksum};
use joblet_format::frames::{self, Frame};
use joblet_format::index::{Body, Entry, Index, Member, Piece};
use joblet_format::member::{MEMBER_HEADER, MEMBER_TRAILER, member_header};
use joblet_format::ustar::{BLOCK, END};
use libdeflater::{CompressionLvl, Compressor};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::PathBuf;

/// An archive under construction, every part of which can be changed.
#[derive(Clone)]
pub struct Packed {
    pub directory: String,
    pub entries: Vec<Entry>,
    /// The tar stream, member by member.
    pub cuts: Vec<Vec<u8>>,
    /// The members in the file.
    pub members: Vec<Vec<u8>>,
}

pub fn directory(path: &str) -> (Entry, Vec<u8>) {
    (Entry { path: path.to_owned(), body: Body::Directory }, Vec::new())
}

pub fn file(path: &str, content: &[u8]) -> (Entry, Vec<u8>) {
    let sha256 = Sha256::digest(content).into();
    let piece = Piece { size: content.len() as u64, sha256 };
    let pieces = if content.is_empty() { vec![] } else { vec![piece] };
    let executable = path.contains("bin/");
    (Entry { path: path.to_owned(), body: Body::File { executable, pieces } }, content.to_owned())
}

pub fn link(path: &str, target: &str) -> (Entry, Vec<u8>) {
    (Entry { path: path.to_owned(), body: Body::Symlink(target.to_owned()) }, Vec::new())
}

/// A runtime with entries of all kinds; `more` must sort after `isolated/etc`.
pub fn runtime(name: &str, version: &str, more: Vec<(Entry, Vec<u8>)>) -> Vec<(Entry, Vec<u8>)> {
    let yml = format!(
        "name: {name}\nversion: {version}\nmounts:\n  - {{ source: isolated/etc, target: /etc }}\n"
    );
    let mut tree = vec![
        directory(""),
        directory("isolated"),
        directory("isolated/etc"),
        file("isolated/etc/version", version.as_bytes()),
    ];
    tree.extend(more);
    tree.push(file("runtime.yml", yml.as_bytes()));
    tree
}

/// Incompressible bytes, the same in every run.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The tree as an archive whose members unpack to about `size` bytes each.
pub fn pack(directory: &str, tree: Vec<(Entry, Vec<u8>)>, size: usize) -> Packed {
    let mut stream = Vec::new();
    let mut headers = Vec::new();
    for (entry, content) in &tree {
        let start = stream.len();
        stream.extend(entry.headers(directory));
        headers.push(start..stream.len());
        stream.extend(content);
        stream.resize(stream.len().next_multiple_of(BLOCK), 0);
    }
    stream.resize(stream.len() + END, 0);
    let mut cuts = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        let end = (at + size).min(stream.len());
        // Members begin at headers or in content.
        let parted = headers.iter().find(|header| header.start < end && end < header.end);
        let end = parted.map_or(end, |header| header.end);
        cuts.push(stream[at..end].to_owned());
        at = end;
    }
    let entries = tree.into_iter().map(|(entry, _)| entry).collect();
    let members = cuts.iter().map(|cut| member(cut)).collect();
    Packed { directory: directory.to_owned(), entries, cuts, members }
}

pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new(CompressionLvl::fastest());
    let mut packed = vec![0; compressor.deflate_compress_bound(bytes.len())];
    let length = compressor.deflate_compress(bytes, &mut packed).unwrap();
    packed.truncate(length);
    packed
}

/// One gzip member that unpacks to `bytes`.
pub fn member(bytes: &[u8]) -> Vec<u8> {
    member_of(&deflate(bytes), bytes)
}

/// A member with any deflate stream, and with the trailer of `bytes`.
pub fn member_of(deflate: &[u8], bytes: &[u8]) -> Vec<u8> {
    let length = MEMBER_HEADER + deflate.len() + MEMBER_TRAILER;
    let mut member = member_header(u32::try_from(length).unwrap()).to_vec();
    member.extend(deflate);
    member.extend(trailer(bytes));
    member
}

/// CRC-32 and length.
pub fn trailer(bytes: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat()
}

impl Packed {
    /// Changes a member's part of the tar stream, and packs the member again.
    pub fn repack(&mut self, number: usize, edit: impl FnOnce(&mut Vec<u8>)) {
        edit(&mut self.cuts[number]);
        self.members[number] = member(&self.cuts[number]);
    }

    /// The file.
    pub fn archive(&self) -> Vec<u8> {
        self.members.concat()
    }

    /// The index of the current members.
    pub fn index(&self) -> Index {
        let members = self.members.iter().zip(&self.cuts).map(|(member, cut)| Member {
            length: u32::try_from(member.len()).unwrap(),
            unpacked: u32::try_from(cut.len()).unwrap(),
            sha256: Sha256::digest(member).into(),
        });
        Index::new(self.directory.clone(), members.collect(), self.entries.clone()).unwrap()
    }
}

impl World {
    /// Publishes an archive in members, and the index of `packed`.
    pub fn publish_members(&mut self, name: &str, version: &str, packed: &Packed) -> PathBuf {
        let index = packed.index();
        let artifact = json!({
            "unpacked_size": index.unpacked_size(), "entries": index.entries().len(),
        });
        self.publish_indexed(
            name,
            version,
            &packed.archive(),
            &super::gzip(&index.to_bytes()),
            artifact,
        )
    }

    /// Publishes the tar stream of `packed` beside its archive, in zstd frames of `members` members each;
    /// `edit` changes the frames before their table is made, and the table.
    pub fn publish_zstd(
        &mut self,
        (name, version): (&str, &str),
        packed: &Packed,
        members: usize,
        edit: impl FnOnce(&mut Vec<Vec<u8>>, &mut Vec<Frame>),
    ) -> PathBuf {
        let chunks: Vec<_> = packed.cuts.chunks(members).collect();
        let mut files: Vec<_> = chunks.iter().map(|cuts| zstd(&cuts.concat())).collect();
        let row = |(file, cuts): (&Vec<u8>, &&[Vec<u8>])| Frame {
            length: u32::try_from(file.len()).unwrap(),
            members: u32::try_from(cuts.len()).unwrap(),
            sha256: Sha256::digest(file).into(),
        };
        let mut frames: Vec<_> = files.iter().zip(&chunks).map(row).collect();
        edit(&mut files, &mut frames);
        let table = frames::table(&frames);
        let bytes = [&table[..], &files.concat()].concat();
        let file = format!("{name}-{version}.tar.zst");
        let path = self.path("registry").join(&file);
        fs::write(&path, &bytes).unwrap();
        let zstd = json!({
            "download_url": file, "checksum": checksum(&bytes), "size": bytes.len(),
            "table": { "checksum": checksum(&table), "size": table.len() },
        });
        self.edit(name, version, |entry| {
            for arch in ["amd64", "arm64"] {
                entry["artifacts"][arch]["zstd"] = zstd.clone();
            }
        });
        path
    }

    /// Publishes any bytes as archive and index; `artifact` has the registry's further members.
    pub fn publish_indexed(
        &mut self,
        name: &str,
        version: &str,
        archive: &[u8],
        index: &[u8],
        mut artifact: serde_json::Value,
    ) -> PathBuf {
        let path = self.publish_archive(name, version, archive);
        fs::write(beside(&path), index).unwrap();
        artifact["download_url"] = path.file_name().unwrap().to_str().unwrap().into();
        artifact["checksum"] = checksum(archive).into();
        artifact["size"] = archive.len().into();
        artifact["index"] = json!({ "checksum": checksum(index), "size": index.len() });
        self.edit(name, version, |entry| {
            entry["artifacts"] = json!({ "amd64": artifact, "arm64": artifact });
        });
        path
    }
}

/// One zstd frame.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; zstd_safe::compress_bound(bytes.len())];
    let length = zstd_safe::compress(&mut frame[..], bytes, 1).unwrap();
    frame.truncate(length);
    frame
}

/// The index's file beside that of the archive.
pub fn beside(archive: &std::path::Path) -> PathBuf {
    let mut path = archive.to_owned().into_os_string();
    path.push(".index");
    path.into()
}
