//! Unpacks a Debian package. A malformed package is refused, not repaired.

use crate::{
    error::Error,
    fs::paths,
    tree::{Member, content::Content, scripts::Scripts},
    unpack::tar,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

/// Most bytes of an unpacked `control.tar` that are read.
const MAX_CONTROL: u64 = 16 << 20;
/// Longest control file or maintainer script, in bytes: Debian's largest has 60 kB.
const MAX_SCRIPT: u64 = 1 << 20;
/// Magic string of an ar archive.
const MAGIC: &[u8] = b"!<arch>\n";
/// Length of a member's header in it, in bytes.
const HEADER: usize = 60;
/// Most members of it: a package has three, plus signatures.
const MAX_MEMBERS: usize = 32;

/// Reads the package at `path`. File contents are in an unlinked temporary file in `spool_dir`.
///
/// Modes are reduced to executable or not; owners and times are ignored; a hard link becomes a copy.
///
/// # Errors
/// [`Error::Archive`] for anything but files, directories and links with relative names without `..`;
/// [`Error::File`].
pub(crate) fn read(path: &Path, label: &str, spool_dir: &Path) -> Result<Vec<Member>, Error> {
    let refused = |rule: String| Error::Archive { archive: label.to_owned(), rule };
    let (name, data) = member(paths::open(path)?, "data.tar").map_err(refused)?;
    let suffix = name.strip_prefix("data.tar").unwrap_or_default();
    tar::read(&name, suffix, data.reader(), spool_dir, refused)
}

/// The control file of the package at `path`: its name, version and more, one field a line.
///
/// # Errors
/// [`Error::Archive`] if it has none; [`Error::File`].
pub(crate) fn control(path: &Path, label: &str) -> Result<String, Error> {
    let mut found = control_files(path, label, &["control"])?;
    found.remove("control").ok_or_else(|| Error::Archive {
        archive: label.to_owned(),
        rule: "has no control file".into(),
    })
}

/// The maintainer scripts and triggers of the package at `path`.
///
/// # Errors
/// [`Error::Archive`] for a malformed control archive, or a script that is too long; [`Error::File`].
pub(crate) fn scripts(path: &Path, label: &str) -> Result<Scripts, Error> {
    let mut found = control_files(path, label, &["preinst", "postinst", "triggers"])?;
    let mut take = |name: &str| found.remove(name).unwrap_or_default();
    Ok(Scripts { preinst: take("preinst"), postinst: take("postinst"), triggers: take("triggers") })
}

/// Result of [`first_of`].
pub(crate) enum Found {
    /// The bytes of a regular file.
    File(Vec<u8>),
    /// The target of a symbolic link.
    Link(String),
}

/// The first file or symlink of the package at `path` with one of the names `wanted`; at most 1 MiB of a file. Other
/// members are skipped.
///
/// # Errors
/// [`Error::Archive`] for a data archive that is malformed up to there; [`Error::File`].
pub(crate) fn first_of(path: &Path, label: &str, wanted: &[&str]) -> Result<Option<Found>, Error> {
    let refused = |rule: String| Error::Archive { archive: label.to_owned(), rule };
    let broken = |error: io::Error| refused(format!("is not a tar archive: {error}"));
    let (name, data) = member(paths::open(path)?, "data.tar").map_err(refused)?;
    let suffix = name.strip_prefix("data.tar").unwrap_or_default();
    let plain = tar::decompress(&name, suffix, data.reader()).map_err(refused)?;
    for member in ::tar::Archive::new(plain).entries().map_err(broken)? {
        let mut member = member.map_err(broken)?;
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let name = name.trim_start_matches("./").trim_end_matches('/');
        let kind = member.header().entry_type();
        if !wanted.contains(&name) || kind.is_dir() {
            continue;
        }
        if let Some(target) = member.link_name_bytes().filter(|_| kind.is_symlink()) {
            return Ok(Some(Found::Link(String::from_utf8_lossy(&target).into_owned())));
        }
        let mut bytes = Vec::new();
        member.by_ref().take(MAX_SCRIPT).read_to_end(&mut bytes).map_err(broken)?;
        return Ok(Some(Found::File(bytes)));
    }
    Ok(None)
}

/// The files of these names in the control archive of the package at `path`.
fn control_files(
    path: &Path,
    label: &str,
    wanted: &[&str],
) -> Result<BTreeMap<String, String>, Error> {
    let refused = |rule: String| Error::Archive { archive: label.to_owned(), rule };
    let broken = |error: io::Error| refused(format!("has no control file: {error}"));
    let (name, control) = member(paths::open(path)?, "control.tar").map_err(refused)?;
    let suffix = name.strip_prefix("control.tar").unwrap_or_default();
    let plain = tar::decompress(&name, suffix, control.reader()).map_err(refused)?;
    let mut found = BTreeMap::new();
    for member in ::tar::Archive::new(plain.take(MAX_CONTROL)).entries().map_err(broken)? {
        let mut member = member.map_err(broken)?;
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name);
        if !wanted.contains(&name) {
            continue;
        }
        if member.size() > MAX_SCRIPT {
            let size = member.size();
            return Err(refused(format!(
                "`{name}` has {size} bytes; at most {MAX_SCRIPT} are read"
            )));
        }
        let name = name.to_owned();
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).map_err(broken)?;
        found.insert(name, String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(found)
}

/// The first member of an ar archive whose name begins with `wanted`: its name, and its bytes.
///
/// A header is text in fixed columns: name (16 bytes), time (12), owner (6), group (6), mode (8), length
/// (10), and two terminating bytes; each member begins at an even offset. ar's extensions for long names,
/// which packages do not use, are not interpreted.
///
/// # Errors
/// The rule that it breaks.
fn member(file: File, wanted: &str) -> Result<(String, Content), String> {
    let failed = |error: io::Error| format!("cannot be read: {error}");
    let size = file.metadata().map_err(failed)?.len();
    let mut magic = [0; MAGIC.len()];
    if file.read_exact_at(&mut magic, 0).is_err() || magic != MAGIC {
        return Err("is not an ar archive".into());
    }
    let mut at = MAGIC.len() as u64;
    for _ in 0..MAX_MEMBERS {
        if at >= size {
            return Err(format!("has no {wanted}"));
        }
        let mut header = [0; HEADER];
        let whole = file.read_exact_at(&mut header, at).is_ok() && header.ends_with(b"`\n");
        let column = |from: usize, to: usize| {
            String::from_utf8_lossy(&header[from..to]).trim_end_matches(' ').to_owned()
        };
        let length = column(48, 58).parse::<u64>().ok().filter(|_| whole);
        let length = length.ok_or("is not an ar archive: it has a malformed header")?;
        let (name, begin) = (column(0, 16), at + HEADER as u64);
        let name = name.trim_end_matches('/');
        if begin + length > size {
            return Err(format!("ends within `{name}`"));
        }
        if name.starts_with(wanted) {
            return Ok((name.to_owned(), Content::stretch(Arc::new(file), begin, length)));
        }
        at = begin + length + length % 2;
    }
    Err(format!("has more than {MAX_MEMBERS} members"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Node;
    use ::tar::EntryType;
    use std::io::Write;

    /// A tar with these entries: type, name, target or content. Names are written unchanged.
    fn tar(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
        let mut builder = ::tar::Builder::new(Vec::new());
        for (kind, name, text) in entries {
            let mut header = ::tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o6755);
            let body = if *kind == EntryType::Regular { text.as_bytes() } else { b"" };
            if body.is_empty() {
                header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            header.set_size(body.len() as u64);
            header.set_cksum();
            builder.append(&header, body).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn deb(suffix: &str, data: &[u8]) -> Vec<u8> {
        let mut builder = ar::Builder::new(Vec::new());
        for (name, bytes) in [("debian-binary", &b"2.0\n"[..]), ("control.tar.xz", b"x")] {
            let header = ar::Header::new(name.into(), bytes.len() as u64);
            builder.append(&header, bytes).unwrap();
        }
        let header = ar::Header::new(format!("data.tar{suffix}").into(), data.len() as u64);
        builder.append(&header, data).unwrap();
        builder.into_inner().unwrap()
    }

    fn unpack(bytes: &[u8]) -> Result<Vec<Member>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.deb");
        std::fs::write(&path, bytes).unwrap();
        read(&path, "a.deb", dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_compression_is_read() {
        let tar = tar(&[(EntryType::Regular, "./usr/bin/x", "hello")]);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&tar).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&tar).unwrap();
        let mut zst = vec![0; zstd_safe::compress_bound(tar.len())];
        let length = zstd_safe::compress(&mut zst[..], &tar, 1).unwrap();
        zst.truncate(length);
        for (suffix, data) in [
            ("", tar.clone()),
            (".gz", gz.finish().unwrap()),
            (".xz", xz.finish().unwrap()),
            (".zst", zst),
        ] {
            let members = unpack(&deb(suffix, &data)).unwrap();
            let [Member { path, node: Node::File { executable: true, content } }] =
                members.as_slice()
            else {
                panic!("{suffix}: {members:?}")
            };
            assert_eq!((path.as_str(), content.read().unwrap()), ("usr/bin/x", b"hello".to_vec()));
        }
    }

    #[test]
    fn hard_links_become_copies() {
        let entries = [
            (EntryType::Directory, "./", ""),
            (EntryType::Regular, "./a", "hello"),
            (EntryType::Link, "./b", "./a"),
        ];
        let members = unpack(&deb("", &tar(&entries))).unwrap();
        let Node::File { content, .. } = &members[1].node else { panic!("{members:?}") };
        assert_eq!((members.len(), content.read().unwrap()), (2, b"hello".to_vec()));
    }

    #[test]
    fn hostile_packages_are_refused() {
        for (kind, name, target, rule) in [
            (EntryType::Regular, "/etc/passwd", "x", "the name `/etc/passwd` is absolute"),
            (EntryType::Regular, "./a/../../x", "x", "the name `./a/../../x` contains `..`"),
            (EntryType::Regular, "./", "x", "`./` is not a valid name"),
            (EntryType::Char, "./dev/null", "", "`./dev/null` is not a file, directory or link"),
            (EntryType::Block, "./dev/sda", "", "but type `4`"),
            (EntryType::Fifo, "./fifo", "", "but type `6`"),
            (EntryType::Link, "./b", "/etc/shadow", "the name `/etc/shadow` is absolute"),
            (EntryType::Link, "./b", "../x", "the name `../x` contains `..`"),
            (EntryType::Link, "./b", "./a", "is a hard link to `a`, which is not an earlier file"),
            (EntryType::Symlink, "./b", "", "the link `./b` has no target"),
            (EntryType::Regular, "./a\nb", "x", "contains a control character"),
        ] {
            let error = unpack(&deb("", &tar(&[(kind, name, target)]))).unwrap_err();
            assert!(error.starts_with("a.deb: ") && error.contains(rule), "{name}: {error}");
        }
        let good = deb("", &tar(&[(EntryType::Regular, "./a", "hello")]));
        for (bytes, rule) in [
            ([MAGIC, &good[8..72].repeat(33)].concat(), "has more than 32 members"),
            (b"garbage".to_vec(), "is not an ar archive"),
            (good[..good.len() - 1534].to_vec(), "a.deb: ends within `data.tar`"),
            (deb("", &tar(&[(EntryType::Regular, "./a", "hello")])[..514]), "ends within `./a`"),
            (deb(".lz", b"x"), "`data.tar.lz` has an unknown compression"),
            (deb(".xz", b"garbage"), "`data.tar.xz` cannot be unpacked"),
            (deb("", &[1; 1024]), "is not a tar archive"),
            (good[..68].to_vec(), "ends within `debian-binary`"),
            (good[..72].to_vec(), "has no data.tar"),
            (good[..80].to_vec(), "is not an ar archive: it has a malformed header"),
        ] {
            let error = unpack(&bytes).unwrap_err();
            assert!(error.contains(rule), "{rule}: {error}");
        }
    }

    #[test]
    fn the_size_of_scripts_is_limited() {
        let control = |text: &str| {
            let data = tar(&[
                (EntryType::Regular, "./control", "Package: a\n"),
                (EntryType::Regular, "./postinst", text),
                (EntryType::Regular, "./triggers", "interest /x\n"),
            ]);
            let mut builder = ar::Builder::new(Vec::new());
            let header = ar::Header::new("control.tar".into(), data.len() as u64);
            builder.append(&header, data.as_slice()).unwrap();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), builder.into_inner().unwrap()).unwrap();
            scripts(file.path(), "a.deb").map_err(|error| error.to_string())
        };
        let found = control("#!/bin/sh\nldconfig\n").unwrap();
        let postinst = "#!/bin/sh\nldconfig\n".to_owned();
        let triggers = "interest /x\n".to_owned();
        assert_eq!(found, Scripts { postinst, triggers, ..Scripts::default() });
        // SEC-E12
        let error = control(&"x".repeat((1 << 20) + 1)).unwrap_err();
        assert_eq!(error, "a.deb: `postinst` has 1048577 bytes; at most 1048576 are read");
    }

    /// SEC-E12: names and attributes that exhaust memory, and an xz dictionary that does.
    #[test]
    fn decompression_bombs_are_refused() {
        let mut header = ::tar::Header::new_gnu();
        let long = vec![b'x'; 2 << 20];
        header.set_size(long.len() as u64);
        for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
            header.set_entry_type(kind);
            header.set_cksum();
            let mut builder = ::tar::Builder::new(Vec::new());
            builder.append(&header, long.as_slice()).unwrap();
            let error = unpack(&deb("", &builder.into_inner().unwrap())).unwrap_err();
            assert!(error.contains("a name or attribute has more than 1048576 bytes"), "{error}");
        }
        // The header of a block declares the size of its dictionary: here 2 GiB.
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&tar(&[(EntryType::Regular, "./a", "hello")])).unwrap();
        let mut xz = xz.finish().unwrap();
        let block = 12..12 + 4 * usize::from(xz[12]);
        assert_eq!(xz[14..16], [0x21, 1], "LZMA2 with a dictionary");
        xz[16] = 38;
        let mut crc = flate2::Crc::new();
        crc.update(&xz[block.clone()]);
        xz[block.end..block.end + 4].copy_from_slice(&crc.sum().to_le_bytes());
        let error = unpack(&deb(".xz", &xz)).unwrap_err();
        assert!(
            error.contains("`data.tar.xz` cannot be unpacked: ") && error.contains("mem"),
            "{error}"
        );
    }
}
