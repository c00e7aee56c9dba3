//! The ELF gate: static checks of programs and libraries.
//!
//! Every program's interpreter exists, including that of a `#!` line; every object is for the architecture; the
//! loader finds every library that an object needs.

mod advice;
mod interpreters;
mod loader;
mod object;

pub(crate) use object::is_static;
pub(super) use object::soname;

use crate::{
    error::Error,
    tree::{Node, Tree, assemble::is_deb},
};
use joblet_format::Arch;
use loader::Loader;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of faults in a message; the rest are counted.
const SHOWN: usize = 20;
/// Maximum number of objects listed for one fault.
const MAX_OBJECTS: usize = 3;

/// Parameters of the gate.
#[derive(Debug, Clone, Copy)]
pub struct Gate<'g> {
    /// The runtime, for messages.
    pub runtime: &'g str,
    /// Its architecture.
    pub arch: Arch,
    /// Sonames and interpreters that may be missing, as they are from the host.
    pub allow_missing: &'g BTreeSet<String>,
    /// Packages of the lock.
    pub locked: &'g BTreeSet<String>,
}

/// Faults, and the objects that have them.
type Faults = BTreeMap<String, Vec<String>>;

/// Checks every program and shared object of `tree`. Returns missing libraries of plugins in Debian packages, one line
/// each: plugins are optional, programs are not.
///
/// # Errors
/// [`Error::Check`] with every fault: the missing library and the objects that need it; [`Error::File`].
pub fn check(tree: &Tree, gate: &Gate) -> Result<Vec<String>, Error> {
    let Gate { runtime, arch, allow_missing, locked } = *gate;
    let loader = Loader::new(tree, arch)?;
    let (mut faults, mut optional) = (Faults::new(), Faults::new());
    // Faults of libraries in default directories, until it is known whether another object needs that library.
    let (mut named, mut libraries) = (BTreeSet::new(), Vec::new());
    for (path, node) in tree.iter() {
        let Node::File { executable, content } = node else { continue };
        if !(*executable || loader::is_shared_object(path)) {
            continue;
        }
        let Some(needs) = object::read(content, arch).map_err(Error::file("read", path))? else {
            let missing = interpreters::missing(tree, path, *executable, content);
            let missing = missing.map_err(Error::file("read", path))?;
            if let Some(interpreter) = missing.filter(|it| !allow_missing.contains(it)) {
                // Libraries that a Debian package requires are its dependencies.
                let debian = tree.origin(path).is_some_and(is_deb);
                let kind = if debian { &mut optional } else { &mut faults };
                let fault = format!("interpreter {interpreter} is missing");
                kind.entry(fault).or_default().push(path.to_owned());
            }
            continue;
        };
        match needs {
            Err(fault) => {
                // Debian's debuggers contain 32-bit objects.
                let kind = if loader.is_plugin(path) { &mut optional } else { &mut faults };
                kind.entry(fault).or_default().push(path.to_owned());
            }
            Ok(needs) => {
                if let Some(interpreter) = &needs.interpreter {
                    if tree.file(interpreter).is_none() {
                        let fault = format!("interpreter {interpreter} is missing");
                        faults.entry(fault).or_default().push(path.to_owned());
                    }
                }
                for library in loader.missing(path, &needs) {
                    if !allow_missing.contains(&library) {
                        let advice = advice::on(&library, loader.place(&library), locked);
                        let fault = format!("library {library} is missing{advice}");
                        if loader.is_plugin(path) {
                            optional.entry(fault).or_default().push(path.to_owned());
                        } else if loader.is_library(path) && !advice::is_locked(&library, locked) {
                            libraries.push((fault, path, needs.name(path).to_owned()));
                        } else {
                            faults.entry(fault).or_default().push(path.to_owned());
                        }
                    }
                }
                named.extend(needs.libraries);
            }
        }
    }
    // A library that no object names is loaded by a program that continues without it, as for
    // plugins: its faults are reported as optional.
    for (fault, path, soname) in libraries {
        let kind = if named.contains(&soname) { &mut faults } else { &mut optional };
        kind.entry(fault).or_default().push(path.to_owned());
    }
    if faults.is_empty() {
        return Ok(lines(&optional).into_iter().map(|line| format!("optional: {line}")).collect());
    }
    Err(Error::Check { runtime: format!("{runtime} ({arch})"), reason: report(&faults) })
}

fn lines(faults: &Faults) -> Vec<String> {
    let line = |(fault, paths): (&String, &Vec<String>)| {
        let shown =
            paths.iter().take(MAX_OBJECTS).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = paths.len().saturating_sub(MAX_OBJECTS);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("{fault}: wanted by {shown}{more}")
    };
    faults.iter().map(line).collect()
}

fn report(faults: &Faults) -> String {
    let mut text = vec![format!("{} faults in its programs and libraries", faults.len())];
    text.extend(lines(faults).into_iter().take(SHOWN).map(|line| format!("  {line}")));
    if faults.len() > SHOWN {
        text.push(format!("  and {} more", faults.len() - SHOWN));
    }
    text.push(
        "add the package that has it, list it in `allow_missing`, or leave out what wants it with \
         `exclude`"
            .into(),
    );
    text.join("\n")
}

#[cfg(test)]
pub(super) mod tests {
    pub(in crate::tree) use super::object::tests::{elf, library};
    use super::*;

    fn put(tree: &mut Tree, path: &str, bytes: &[u8]) {
        let content = bytes.to_vec().into();
        tree.insert(path, Node::File { executable: true, content }).unwrap();
    }

    fn run(tree: &Tree, arch: Arch, allowed: &[&str]) -> Result<Vec<String>, String> {
        let allow_missing = &allowed.iter().map(|name| (*name).to_owned()).collect();
        let locked = &BTreeSet::from(["libgomp1".to_owned()]);
        let gate = Gate { runtime: "d-1.0.0", arch, allow_missing, locked };
        check(tree, &gate).map_err(|error| error.to_string())
    }

    #[test]
    fn faults_name_the_library_and_the_objects() {
        let mut tree = Tree::default();
        put(&mut tree, "usr/bin/x", &elf(62, "/lib64/ld.so", "libx.so.1"));
        put(&mut tree, "usr/bin/script", b"#!/bin/sh\n");
        let error = run(&tree, Arch::Amd64, &[]).unwrap_err();
        assert_eq!(
            error,
            "d-1.0.0 (amd64): 3 faults in its programs and libraries\n  interpreter /bin/sh is missing: \
             wanted by usr/bin/script\n  interpreter /lib64/ld.so is missing: wanted by usr/bin/x\n  \
             library libx.so.1 is missing (Debian: perhaps libx1): wanted by usr/bin/x\nadd the package \
             that has it, list it in `allow_missing`, or leave out what wants it with `exclude`"
        );
        put(&mut tree, "usr/lib64/ld.so", b"");
        tree.insert("lib64", Node::Link("usr/lib64".into())).unwrap();
        run(&tree, Arch::Amd64, &["libx.so.1", "/bin/sh"]).unwrap();
        tree.insert("usr/lib/libx.so.1", Node::Link("libx.so.1.2".into())).unwrap();
        assert!(
            run(&tree, Arch::Amd64, &["/bin/sh"]).is_err(),
            "a dangling symlink is not a library"
        );
        put(&mut tree, "usr/lib/libx.so.1.2", b"");
        run(&tree, Arch::Amd64, &["/bin/sh"]).unwrap();
        let error = run(&tree, Arch::Arm64, &[]).unwrap_err();
        assert!(error.contains("object for machine 62, not arm64: wanted by usr/bin/x"), "{error}");
    }

    /// A library outside of the loader's directories counts for a plugin, not for a program.
    #[test]
    fn libraries_are_searched_in_the_directories_of_the_loader() {
        let mut tree = Tree::default();
        put(&mut tree, "ld.so", b"");
        put(&mut tree, "usr/bin/x", &elf(62, "/ld.so", "libx.so.1"));
        put(&mut tree, "opt/x/libx.so.1", &library(62, "libx.so.1"));
        let error = run(&tree, Arch::Amd64, &[]).unwrap_err();
        let want = "library libx.so.1 is missing (it is in /opt/x, which the loader does not search: \
                    add that to etc/ld.so.conf.d): wanted by usr/bin/x";
        assert!(error.contains(want), "{error}");
        let conf =
            |text: &str| Node::File { executable: false, content: text.as_bytes().to_vec().into() };
        tree.insert("etc/ld.so.conf", conf("/opt/x\n")).unwrap();
        run(&tree, Arch::Amd64, &[]).unwrap();
        tree.remove("etc/ld.so.conf");
        put(&mut tree, "usr/lib/y/plugin.so", &elf(62, "/ld.so", "libx.so.1"));
        tree.remove("usr/bin/x");
        run(&tree, Arch::Amd64, &[]).unwrap();
    }

    #[test]
    fn missing_libraries_of_plugins_are_optional() {
        let mut tree = Tree::default();
        put(&mut tree, "ld.so", b"");
        put(&mut tree, "usr/lib/y/plugin.so", &elf(62, "/ld.so", "libgomp.so.1"));
        let error = run(&tree, Arch::Amd64, &[]).unwrap_err();
        assert!(error.contains("library libgomp.so.1 is missing"), "nobody's: {error}");
        tree.set_origin("usr/lib/y/plugin.so".into(), "y_1_amd64.deb".into());
        let notes = run(&tree, Arch::Amd64, &[]).unwrap();
        let want = "optional: library libgomp.so.1 is missing (Debian: libgomp1, which is in the lock, does \
                    not contain it): wanted by usr/lib/y/plugin.so";
        assert_eq!(notes, [want]);
        tree.remove("usr/lib/y/plugin.so");
        put(&mut tree, "usr/lib/liby.so.1", &elf(62, "/ld.so", "libgomp.so.1"));
        tree.set_origin("usr/lib/liby.so.1".into(), "y_1_amd64.deb".into());
        assert!(run(&tree, Arch::Amd64, &[]).is_err(), "its library was left out");
        put(&mut tree, "usr/lib/libz.so.1", &elf(62, "/ld.so", "libother.so.1"));
        tree.set_origin("usr/lib/libz.so.1".into(), "z_1_amd64.deb".into());
        tree.remove("usr/lib/liby.so.1");
        let notes = run(&tree, Arch::Amd64, &[]).unwrap();
        assert!(notes[0].contains("libother.so.1 is missing"), "nothing names it: {notes:?}");
        put(&mut tree, "usr/bin/x", &elf(62, "/ld.so", "libz.so.1"));
        assert!(run(&tree, Arch::Amd64, &[]).is_err(), "a library is not a plugin");
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
}
