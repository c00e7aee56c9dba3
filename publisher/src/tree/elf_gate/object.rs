//! Parser of ELF objects: headers and dynamic section.

use crate::tree::content::Content;
use joblet_format::Arch;
use object::{
    elf::{self, FileHeader64},
    read::{
        ReadCache, ReadRef,
        elf::{Dyn, FileHeader, ProgramHeader},
    },
};
use std::io::{self, Read, Seek, SeekFrom};

/// Entries of the dynamic section that the loader uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) interpreter: Option<String>,
    /// `DT_SONAME`; empty without one.
    pub(super) soname: String,
    pub(super) libraries: Vec<String>,
    /// `DT_RPATH`, which applies to the libraries of its libraries too.
    pub(super) rpaths: Vec<String>,
    /// `DT_RUNPATH`, for its own libraries; it disables `DT_RPATH`.
    pub(super) runpaths: Vec<String>,
}

impl Needs {
    /// The name by which other objects need the one at `path`: its SONAME, or its file name.
    pub(super) fn name<'n>(&'n self, path: &'n str) -> &'n str {
        let file = path.rsplit('/').next().unwrap_or(path);
        if self.soname.is_empty() { file } else { &self.soname }
    }
}

/// The needs of `content`; `None` if it is not an ELF object.
///
/// # Errors
/// Outer: errors of reading it. Inner: a fault of the object.
pub(super) fn read(content: &Content, arch: Arch) -> io::Result<Option<Result<Needs, String>>> {
    if content.head(4)? != elf::ELFMAG {
        return Ok(None);
    }
    Ok(Some(needs(&ReadCache::new(At { content, position: 0 }), arch)))
}

/// The soname of a shared object for `arch`, empty if it has none; `None` for anything else.
///
/// # Errors
/// Errors of reading it.
pub(in crate::tree) fn soname(content: &Content, arch: Arch) -> io::Result<Option<String>> {
    Ok(read(content, arch)?.and_then(Result::ok).map(|needs| needs.soname))
}

/// A content with a read position. Only headers, dynamic section and string table of an object are read, so
/// libraries of gigabytes take no memory.
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

/// Whether `elf` is a 64-bit program without an interpreter.
pub(crate) fn is_static(elf: &[u8]) -> bool {
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
/// A fault of the object.
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
        // DT_STRTAB is an address in memory; a PT_LOAD segment maps it to an offset in the file.
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
        let mut sonames = Vec::new();
        for entry in entries {
            let Some(tag) = entry.tag32(endian) else { continue };
            let list = match tag {
                elf::DT_NULL => break,
                elf::DT_NEEDED => &mut needs.libraries,
                elf::DT_RPATH => &mut needs.rpaths,
                elf::DT_RUNPATH => &mut needs.runpaths,
                elf::DT_SONAME => &mut sonames,
                _ => continue,
            };
            let text = entry.string(endian, strings).map_err(broken)?;
            list.push(String::from_utf8_lossy(text).into_owned());
        }
        needs.soname = sonames.pop().unwrap_or_default();
    }
    Ok(needs)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small ELF object: 64-bit, an interpreter, one needed library, all in one segment.
    pub(crate) fn elf(machine: u16, interpreter: &str, library: &str) -> Vec<u8> {
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

    /// A shared object with a soname alone.
    pub(crate) fn library(machine: u16, soname: &str) -> Vec<u8> {
        let mut bytes = elf(machine, "", soname);
        let at = 64 + 3 * 56 + 256;
        bytes[at] = 14; // DT_SONAME
        bytes[64 + 2 * 56] = 4; // PT_NOTE: no interpreter
        bytes
    }

    /// The object has a hole of a terabyte: the test fails if more than the needed parts is read.
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
    fn a_soname_is_of_one_architecture() {
        let content = library(62, "libx.so.1").into();
        assert_eq!(soname(&content, Arch::Amd64).unwrap().as_deref(), Some("libx.so.1"));
        assert_eq!(soname(&content, Arch::Arm64).unwrap(), None);
        assert_eq!(soname(&b"text".to_vec().into(), Arch::Amd64).unwrap(), None);
    }
}
