//! The ELF gate: what can be known of a tree without running it.
//!
//! Every program's interpreter exists, every object is for the architecture, every library that an
//! object names is in the tree.

use crate::{
    error::Error,
    source::multiarch,
    tree::{Node, Tree, content::Content},
};
use joblet_format::Arch;
use object::{
    elf::{self, FileHeader64},
    read::{
        ReadCache, ReadRef,
        elf::{Dyn, FileHeader, ProgramHeader},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Seek, SeekFrom},
};

/// Faults listed in one message; the rest are counted.
const SHOWN: usize = 20;
/// Objects named with one missing library.
const WANTERS: usize = 3;

/// Libraries that wheels and upstream archives often need from the system, and Debian's packages of them.
const PACKAGES: [(&str, &str); 24] = [
    ("libGL.so.1", "libgl1"),
    ("libX11.so.6", "libx11-6"),
    ("libXext.so.6", "libxext6"),
    ("libXi.so.6", "libxi6"),
    ("libXrender.so.1", "libxrender1"),
    ("libXtst.so.6", "libxtst6"),
    ("libasound.so.2", "libasound2"),
    ("libcrypt.so.1", "libcrypt1"),
    ("libcurl.so.4", "libcurl4"),
    ("libexpat.so.1", "libexpat1"),
    ("libffi.so.8", "libffi8"),
    ("libfontconfig.so.1", "libfontconfig1"),
    ("libfreetype.so.6", "libfreetype6"),
    ("libgcc_s.so.1", "libgcc-s1"),
    ("libgfortran.so.5", "libgfortran5"),
    ("libglib-2.0.so.0", "libglib2.0-0"),
    ("libgomp.so.1", "libgomp1"),
    ("libharfbuzz.so.0", "libharfbuzz0b"),
    ("libnuma.so.1", "libnuma1"),
    ("libquadmath.so.0", "libquadmath0"),
    ("libssl.so.3", "libssl3"),
    ("libstdc++.so.6", "libstdc++6"),
    ("libxml2.so.2", "libxml2"),
    ("libz.so.1", "zlib1g"),
];

/// What the gate reads of one ELF object.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    interpreter: Option<String>,
    libraries: Vec<String>,
    run_paths: Vec<String>,
}

/// Checks every program and shared object of `tree`.
///
/// `allow_missing` are sonames that the host brings.
///
/// # Errors
/// [`Error::Check`] with every fault: the missing library and what needs it; [`Error::File`].
pub fn check(
    tree: &Tree,
    runtime: &str,
    arch: Arch,
    allow_missing: &BTreeSet<String>,
) -> Result<(), Error> {
    let names = names(tree);
    let mut faults: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, node) in tree.iter() {
        let Node::File { executable, content } = node else { continue };
        let object = *executable || is_shared_object(path);
        if !object || content.head(4).map_err(Error::file("read", path))? != elf::ELFMAG {
            continue;
        }
        let at = ReadCache::new(At { content, position: 0 });
        match needs(&at, arch) {
            Err(fault) => faults.entry(fault).or_default().push(path.to_owned()),
            Ok(needs) => {
                for fault in missing(tree, &names, path, arch, &needs, allow_missing) {
                    faults.entry(fault).or_default().push(path.to_owned());
                }
            }
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::Check { runtime: format!("{runtime} ({arch})"), reason: report(&faults) })
}

fn report(faults: &BTreeMap<String, Vec<String>>) -> String {
    let mut lines = vec![format!("{} faults in its programs and libraries", faults.len())];
    for (fault, paths) in faults.iter().take(SHOWN) {
        let shown = paths.iter().take(WANTERS).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = paths.len().saturating_sub(WANTERS);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        lines.push(format!("  {fault}: wanted by {shown}{more}"));
    }
    if faults.len() > SHOWN {
        lines.push(format!("  and {} more", faults.len() - SHOWN));
    }
    lines.push("add the package that has it, or list it in `allow_missing`".into());
    lines.join("\n")
}

/// `libz.so`, `libz.so.1.2`, but not `a.so.txt`.
fn is_shared_object(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split_once(".so").is_some_and(|(_, rest)| {
        rest.is_empty()
            || rest.starts_with('.') && rest.bytes().all(|b| b == b'.' || b.is_ascii_digit())
    })
}

/// File names of everything that leads to a file. A library that a program loads by its whole path
/// first (as Python's wheels do) is found by its name from then on.
fn names(tree: &Tree) -> BTreeSet<&str> {
    let leads = |path: &str, node: &Node| match node {
        Node::File { .. } => true,
        Node::Link(_) => tree.file(path).is_some(),
        Node::Dir => false,
    };
    let nodes = tree.iter().filter(|(path, node)| leads(path, node));
    nodes.map(|(path, _)| path.rsplit('/').next().unwrap_or(path)).collect()
}

/// What of `needs` is not in the tree.
fn missing(
    tree: &Tree,
    names: &BTreeSet<&str>,
    path: &str,
    arch: Arch,
    needs: &Needs,
    allow_missing: &BTreeSet<String>,
) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(interpreter) = &needs.interpreter {
        if tree.file(interpreter).is_none() {
            faults.push(format!("interpreter {interpreter} is missing"));
        }
    }
    let origin = path.rsplit_once('/').map_or("", |(dir, _)| dir);
    let multiarch = format!("usr/lib/{}", multiarch(arch));
    for library in &needs.libraries {
        if allow_missing.contains(library) || names.contains(library.as_str()) {
            continue;
        }
        let in_dir = |dir: &str| {
            let dir = dir.replace("$ORIGIN", &format!("/{origin}"));
            tree.file(&format!("{}/{library}", dir.replace("${ORIGIN}", &format!("/{origin}"))))
                .is_some()
        };
        let whole = library.contains('/') && tree.file(library).is_some();
        let run_paths = needs.run_paths.iter().flat_map(|paths| paths.split(':'));
        if !whole && !run_paths.chain([multiarch.as_str(), "usr/lib"]).any(in_dir) {
            let package = PACKAGES.iter().find(|(name, _)| name == library);
            let package = package.map_or_else(String::new, |(_, it)| format!(" (Debian: {it})"));
            faults.push(format!("library {library} is missing{package}"));
        }
    }
    faults
}

/// A content with a place to read at. Of an object only headers, dynamic section and string table are
/// read, so libraries of gigabytes take no memory.
struct At<'c> {
    content: &'c Content,
    position: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.content.len().saturating_sub(self.position);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        self.content.read_at(&mut buffer[..length], self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for At<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.content.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Whether `elf` is a 64-bit program that needs nothing else to run.
pub fn is_static(elf: &[u8]) -> bool {
    let interpreter = || {
        let header = FileHeader64::<object::Endianness>::parse(elf)?;
        let endian = header.endian()?;
        for segment in header.program_headers(endian, elf)? {
            if let Some(path) = segment.interpreter(endian, elf)? {
                return Ok(Some(path));
            }
        }
        Ok::<_, object::read::Error>(None)
    };
    interpreter() == Ok(None)
}

/// Reads an ELF object's headers.
///
/// # Errors
/// What is wrong with it, as a fault.
fn needs<'r>(bytes: impl ReadRef<'r>, arch: Arch) -> Result<Needs, String> {
    let broken = |error: object::read::Error| format!("broken ELF object ({error})");
    let machine = match arch {
        Arch::Amd64 => elf::EM_X86_64,
        Arch::Arm64 => elf::EM_AARCH64,
    };
    if bytes.read_at::<u8>(4) != Ok(&elf::ELFCLASS64) {
        return Err(format!("32-bit object, not {arch}"));
    }
    let header = FileHeader64::<object::Endianness>::parse(bytes).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    let found = header.e_machine(endian);
    if found != machine {
        return Err(format!("object for machine {found}, not {arch}"));
    }
    let mut needs = Needs::default();
    let segments = header.program_headers(endian, bytes).map_err(broken)?;
    for segment in segments {
        if let Some(interpreter) = segment.interpreter(endian, bytes).map_err(broken)? {
            needs.interpreter = Some(String::from_utf8_lossy(interpreter).into_owned());
        }
        let Some(entries) = segment.dynamic(endian, bytes).map_err(broken)? else { continue };
        let value = |tag: u32| {
            entries.iter().find(|entry| entry.tag32(endian) == Some(tag)).map(|it| it.d_val(endian))
        };
        // The string table's address is one in memory: a loaded segment says where it is in the file.
        let (Some(address), Some(size)) = (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) else {
            continue;
        };
        let table = segments.iter().find_map(|it| {
            let before = address.checked_sub(it.p_vaddr(endian))?;
            let inside = it.p_type(endian) == elf::PT_LOAD
                && before.checked_add(size)? <= it.p_filesz(endian);
            let at = it.p_offset(endian).checked_add(before)?;
            inside.then(|| bytes.read_bytes_at(at, size).ok()).flatten()
        });
        let table = table.ok_or("broken ELF object (no string table)")?;
        let strings = object::StringTable::new(table, 0, table.len() as u64);
        for entry in entries {
            let Some(tag) = entry.tag32(endian) else { continue };
            let list = match tag {
                elf::DT_NULL => break,
                elf::DT_NEEDED => &mut needs.libraries,
                elf::DT_RPATH | elf::DT_RUNPATH => &mut needs.run_paths,
                _ => continue,
            };
            let text = entry.string(endian, strings).map_err(broken)?;
            list.push(String::from_utf8_lossy(text).into_owned());
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(tree: &mut Tree, path: &str, bytes: &[u8]) {
        let content = bytes.to_vec().into();
        tree.insert(path, Node::File { executable: true, content }).unwrap();
    }

    fn run(tree: &Tree, arch: Arch, allowed: &[&str]) -> Result<(), String> {
        let allowed = allowed.iter().map(|name| (*name).to_owned()).collect();
        check(tree, "d-1.0.0", arch, &allowed).map_err(|error| error.to_string())
    }

    /// A small ELF object: 64-bit, an interpreter, one needed library, all in one segment.
    fn elf(machine: u16, interpreter: &str, library: &str) -> Vec<u8> {
        let strings = format!("\0{library}\0{interpreter}\0");
        let (table, dynamic) = (64 + 3 * 56_u64, 64 + 3 * 56 + 256_u64);
        let total = dynamic + 5 * 16;
        let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let half = |out: &mut Vec<u8>, values: &[u16]| {
            out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        };
        let word = |out: &mut Vec<u8>, values: &[u32]| {
            out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        };
        let long = |out: &mut Vec<u8>, values: &[u64]| {
            out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        };
        half(&mut out, &[3, machine]);
        word(&mut out, &[1]);
        long(&mut out, &[0, 64, 0]);
        word(&mut out, &[0]);
        half(&mut out, &[64, 56, 3, 64, 0, 0]);
        let name = table + 2 + library.len() as u64;
        let length = interpreter.len() as u64 + 1;
        for (kind, at, size) in [(1, 0, total), (2, dynamic, 80), (3, name, length)] {
            word(&mut out, &[kind, 4]);
            long(&mut out, &[at, at, at, size, size, 8]);
        }
        out.extend(strings.as_bytes());
        out.resize(usize::try_from(dynamic).unwrap(), 0);
        long(&mut out, &[1, 1, 5, table, 10, strings.len() as u64, 29, 0, 0, 0]);
        out
    }

    #[test]
    fn faults_name_the_library_and_who_wants_it() {
        let mut tree = Tree::default();
        put(&mut tree, "usr/bin/x", &elf(62, "/lib64/ld.so", "libx.so.1"));
        put(&mut tree, "usr/bin/script", b"#!/bin/sh\n");
        let error = run(&tree, Arch::Amd64, &[]).unwrap_err();
        assert_eq!(
            error,
            "d-1.0.0 (amd64): 2 faults in its programs and libraries\n  interpreter /lib64/ld.so is \
             missing: wanted by usr/bin/x\n  library libx.so.1 is missing: wanted by usr/bin/x\nadd \
             the package that has it, or list it in `allow_missing`"
        );
        put(&mut tree, "usr/lib64/ld.so", b"");
        tree.insert("lib64", Node::Link("usr/lib64".into())).unwrap();
        run(&tree, Arch::Amd64, &["libx.so.1"]).unwrap();
        tree.insert("opt/libx.so.1", Node::Link("libx.so.1.2".into())).unwrap();
        assert!(run(&tree, Arch::Amd64, &[]).is_err(), "a dangling symlink is not a library");
        put(&mut tree, "opt/libx.so.1.2", b"");
        run(&tree, Arch::Amd64, &[]).unwrap();
        let error = run(&tree, Arch::Arm64, &[]).unwrap_err();
        assert!(error.contains("object for machine 62, not arm64: wanted by usr/bin/x"), "{error}");
    }

    #[test]
    fn the_package_that_has_a_library_is_said() {
        let mut tree = Tree::default();
        put(&mut tree, "usr/lib/a.so", &elf(62, "/usr/lib/a.so", "libgomp.so.1"));
        let error = run(&tree, Arch::Amd64, &[]).unwrap_err();
        let want = "library libgomp.so.1 is missing (Debian: libgomp1): wanted by usr/lib/a.so";
        assert!(error.contains(want), "{error}");
        assert!(PACKAGES.is_sorted());
    }

    #[test]
    fn broken_objects_are_faults() {
        let good = elf(62, "/lib64/ld.so", "libx.so.1");
        for (bytes, fault) in [
            (good[..32].to_vec(), "broken ELF object"),
            (good[..good.len() - 40].to_vec(), "broken ELF object"),
            (b"\x7fELF\x01\x01".to_vec(), "32-bit object, not amd64"),
            (b"\x7fELF".to_vec(), "32-bit object, not amd64"),
        ] {
            let mut tree = Tree::default();
            put(&mut tree, "usr/lib/a.so", &bytes);
            let error = run(&tree, Arch::Amd64, &[]).unwrap_err();
            assert!(error.contains(fault), "{error}");
        }
    }

    /// Fails where more than the parts that matter is read: the object has a hole of a terabyte.
    #[test]
    fn of_a_large_object_only_headers_are_read() {
        let bytes = elf(62, "/lib64/ld.so", "libx.so.1");
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
        // The first segment is all of the file.
        let length: u64 = 1 << 40;
        std::os::unix::fs::FileExt::write_all_at(&file, &length.to_le_bytes(), 64 + 32).unwrap();
        file.set_len(length).unwrap();
        let content = Content::stretch(std::sync::Arc::new(file), 0, length);
        let at = ReadCache::new(At { content: &content, position: 0 });
        let needs = needs(&at, Arch::Amd64).unwrap();
        assert_eq!(needs.libraries, ["libx.so.1"]);
        assert_eq!(needs.interpreter.as_deref(), Some("/lib64/ld.so"));
    }

    #[test]
    fn shared_objects_by_name() {
        for (path, want) in [
            ("usr/lib/libz.so", true),
            ("usr/lib/libz.so.1.2.13", true),
            ("usr/lib/x.cpython-311-x86_64-linux-gnu.so", true),
            ("usr/share/a.so.txt", false),
            ("usr/share/a.sort", false),
        ] {
            assert_eq!(is_shared_object(path), want, "{path}");
        }
    }
}
