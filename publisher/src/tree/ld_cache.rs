//! `/etc/ld.so.cache`, as written by ldconfig(8), but for either architecture, without running it.
//!
//! Debian's loader finds libraries in its default directories without the cache. It is needed for
//! directories of `/etc/ld.so.conf.d`, `ctypes.util.find_library` and `ldconfig -p`. (Sources: glibc,
//! `sysdeps/generic/dl-cache.h` for the format, `elf/ldconfig.c` for the content.)

use crate::{
    error::Error,
    source::multiarch,
    tree::{Node, Tree, elf_gate, link_path},
};
use joblet_format::Arch;
use std::{cmp::Ordering, collections::BTreeMap};

/// Path of the cache.
pub(crate) const PATH: &str = "etc/ld.so.cache";
const CONFIGURATION: &str = "etc/ld.so.conf";
/// Maximum size of a configuration file, in bytes.
const MAX_TEXT: u64 = 1 << 20;
/// Magic string of format 1.1.
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// Length of the header and of an entry, in bytes.
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// Byte order in the header.
const LITTLE_ENDIAN: u8 = 2;

/// A library: soname and path.
type Library = (String, String);

/// Adds the cache to `tree`, or replaces it, if there is a library.
///
/// # Errors
/// [`Error::File`].
pub fn write(tree: &mut Tree, arch: Arch) -> Result<(), Error> {
    if has_musl(tree) {
        return Ok(()); // its loader has no cache
    }
    let mut libraries = Vec::new();
    for dir in directories(tree, arch)? {
        libraries.extend(libraries_in(tree, &dir, arch)?);
    }
    if libraries.is_empty() {
        return Ok(());
    }
    let content = render(libraries, arch).into();
    let node = Node::File { executable: false, content };
    tree.replace(PATH, node).map_err(|rule| Error::config("the packages", rule))
}

/// The default and configured directories of the loader, without the leading slash, in order, without
/// duplicates.
///
/// # Errors
/// [`Error::File`].
pub(super) fn directories(tree: &Tree, arch: Arch) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    configured(tree, CONFIGURATION, 0, &mut found)?;
    let multiarch = multiarch(arch);
    let usual = [format!("lib/{multiarch}"), format!("usr/lib/{multiarch}")];
    found.extend(usual.into_iter().chain(["lib", "usr/lib"].map(str::to_owned)));
    if has_musl(tree) {
        found.push("usr/local/lib".to_owned());
    }
    let (mut dirs, mut places) = (Vec::new(), Vec::new());
    for dir in found {
        let Some(place) = tree.resolve(&dir).filter(|place| tree.is_dir(place)) else { continue };
        if !places.contains(&place) {
            places.push(place);
            dirs.push(dir);
        }
    }
    Ok(dirs)
}

/// Whether the tree's loader is musl's, as in Alpine.
fn has_musl(tree: &Tree) -> bool {
    tree.below("lib").any(|(path, _)| path.starts_with("lib/ld-musl-"))
}

/// Reads `ld.so.conf`: directories, and `include` with a pattern of file names.
fn configured(tree: &Tree, path: &str, depth: u32, found: &mut Vec<String>) -> Result<(), Error> {
    let Some((_, content)) = tree.file(path).filter(|_| depth < 8) else { return Ok(()) };
    let bytes = content.whole(MAX_TEXT).map_err(Error::file("read", path))?;
    for line in String::from_utf8_lossy(&bytes).lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) = line.strip_prefix("include ") {
            let pattern = link_path(path, pattern.trim());
            let (dir, name) = pattern.rsplit_once('/').unwrap_or(("", &pattern));
            let (begin, end) = name.split_once('*').unwrap_or((name, ""));
            let fits = |path: &str| {
                let name = path[dir.len()..].trim_start_matches('/');
                !name.contains('/') && name.starts_with(begin) && name.ends_with(end)
            };
            let files: Vec<String> =
                tree.below(dir).map(|(path, _)| path.to_owned()).filter(|it| fits(it)).collect();
            for file in files {
                configured(tree, &file, depth + 1, found)?;
            }
        } else if let Some(dir) = line.strip_prefix('/') {
            found.push(dir.trim_end_matches('/').to_owned());
        }
    }
    Ok(())
}

/// The libraries directly in `dir`, by soname.
fn libraries_in(tree: &Tree, dir: &str, arch: Arch) -> Result<Vec<Library>, Error> {
    let place = tree.resolve(dir).unwrap_or_default();
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (path, node) in tree.below(&place) {
        let name = &path[place.len() + 1..];
        let library = name.starts_with("lib") || name.starts_with("ld-");
        if name.contains('/') || !library || !name.contains(".so") {
            continue;
        }
        let Some((_, content)) = tree.file(path) else { continue };
        let Some(soname) = elf_gate::soname(content, arch).map_err(Error::file("read", path))?
        else {
            continue;
        };
        // libx.so is for linkers, not for the loader.
        let linker = matches!(node, Node::Link(_)) && name.split('.').next_back() == Some("so");
        let soname = if linker || soname.is_empty() { name.to_owned() } else { soname };
        // If several files have the same soname, the one of that name is loaded.
        let at = format!("{place}/{soname}");
        let file = if tree.file(&at).is_some() { soname.clone() } else { name.to_owned() };
        found.insert(soname, format!("/{dir}/{file}"));
    }
    Ok(found.into_iter().collect())
}

fn render(mut libraries: Vec<Library>, arch: Arch) -> Vec<u8> {
    let flags: u32 = match arch {
        Arch::Amd64 => 0x0303, // FLAG_X8664_LIB64 | FLAG_ELF_LIBC6
        Arch::Arm64 => 0x0a03, // FLAG_AARCH64_LIB64 | FLAG_ELF_LIBC6
    };
    libraries.sort_by(|a, b| compare(&b.0, &a.0)); // stable: the first directory wins
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let (mut entries, mut strings) = (Vec::new(), Vec::new());
    let begin = HEADER + libraries.len() * ENTRY;
    for (soname, path) in &libraries {
        entries.extend(flags.to_le_bytes());
        for text in [soname, path] {
            entries.extend(number(begin + strings.len()));
            strings.extend(text.bytes());
            strings.push(0);
        }
        entries.extend([0; 12]); // no version of the system, no capability of the processor
    }
    let mut out = MAGIC.to_vec();
    out.extend(number(libraries.len()));
    out.extend(number(strings.len()));
    out.push(LITTLE_ENDIAN);
    out.resize(HEADER, 0);
    out.extend(entries);
    out.extend(strings);
    out
}

/// The order of the loader's binary search: digits are compared as numbers.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let number = |text: &mut &[u8]| {
        let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = text.split_at(length);
        *text = rest;
        // Wraps like C's int.
        digits.iter().fold(0_i32, |value, digit| {
            value.wrapping_mul(10).wrapping_add(i32::from(digit - b'0'))
        })
    };
    while let Some(first) = a.first() {
        let digit = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        match (digit(a), digit(b)) {
            (true, true) => match number(&mut a).cmp(&number(&mut b)) {
                Ordering::Equal => {}
                other => return other,
            },
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) => {
                let other = b.first().copied().unwrap_or_default();
                if *first != other {
                    return first.cmp(&other);
                }
                (a, b) = (&a[1..], &b[1..]);
            }
        }
    }
    if b.is_empty() { Ordering::Equal } else { Ordering::Less }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::elf_gate::tests::library;

    #[test]
    fn names_are_in_the_order_of_the_loader() {
        for (a, b, want) in [
            ("libz.so.1", "libz.so.1", Ordering::Equal),
            ("libz.so.9", "libz.so.10", Ordering::Less),
            ("libz.so", "libz.so.1", Ordering::Less),
            ("liba.so", "libb.so", Ordering::Less),
            ("lib1", "liba", Ordering::Greater),
            ("liba", "lib1", Ordering::Less),
        ] {
            assert_eq!(compare(a, b), want, "{a} {b}");
        }
    }

    #[test]
    fn libraries_of_configured_directories_are_listed() {
        let mut tree = Tree::default();
        let mut put = |path: &str, node: Node| tree.insert(path, node).unwrap();
        let file = |bytes: &[u8]| Node::File { executable: false, content: bytes.to_vec().into() };
        put("lib", Node::Link("usr/lib".into()));
        put("etc/ld.so.conf", file(b"include /etc/ld.so.conf.d/*.conf\n"));
        put("etc/ld.so.conf.d/a.conf", file(b"# own\n/opt/x/\n/lib/x86_64-linux-gnu\n/gone\n"));
        put("opt/x/libown.so.1.2", file(&library(62, "libown.so.1")));
        put("usr/lib/x86_64-linux-gnu/libz.so.1.2", file(&library(62, "libz.so.1")));
        put("usr/lib/x86_64-linux-gnu/libz.so.1", Node::Link("libz.so.1.2".into()));
        put("usr/lib/x86_64-linux-gnu/libz.so", Node::Link("libz.so.1".into()));
        put("usr/lib/x86_64-linux-gnu/libtext.so", file(b"INPUT(libz.so)"));
        put("usr/lib/x86_64-linux-gnu/libarm.so.1", file(&library(183, "libarm.so.1")));
        let dirs = directories(&tree, Arch::Amd64).unwrap();
        assert_eq!(dirs, ["opt/x", "lib/x86_64-linux-gnu", "lib"]);
        write(&mut tree, Arch::Amd64).unwrap();
        let bytes = tree.file(PATH).unwrap().1.read().unwrap();
        assert_eq!((&bytes[..20], bytes[20], bytes[28]), (MAGIC, 3, 2));
        let text = String::from_utf8_lossy(&bytes[HEADER + 3 * ENTRY..]).replace('\0', " ");
        assert_eq!(
            text,
            "libz.so.1 /lib/x86_64-linux-gnu/libz.so.1 libz.so /lib/x86_64-linux-gnu/libz.so \
             libown.so.1 /opt/x/libown.so.1.2 "
        );
        let key = u32::from_le_bytes(bytes[HEADER + 4..HEADER + 8].try_into().unwrap());
        assert!(bytes[key as usize..].starts_with(b"libz.so.1\0/lib"));
    }
}
