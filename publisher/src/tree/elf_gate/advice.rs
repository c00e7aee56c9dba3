//! Suggestions which Debian package contains a missing library.

use std::collections::BTreeSet;

/// Libraries whose packages are not named by Debian's rule; names without the suffix `t64`.
const PACKAGES: [(&str, &str); 14] = [
    ("libBLT.2.5.so.8.6", "tk8.6-blt2.5"),
    ("libGL.so.1", "libgl1"),
    ("libblas.so.3", "libblas3"),
    ("libexpat.so.1", "libexpat1"),
    ("libgcc_s.so.1", "libgcc-s1"),
    ("libglib-2.0.so.0", "libglib2.0-0"),
    ("libgobject-2.0.so.0", "libglib2.0-0"),
    ("libgthread-2.0.so.0", "libglib2.0-0"),
    ("libharfbuzz.so.0", "libharfbuzz0b"),
    ("libjvm.so", "default-jre-headless"),
    ("liblapack.so.3", "liblapack3"),
    ("libssl.so.3", "libssl3"),
    ("libstdc++.so.6", "libstdc++6"),
    ("libz.so.1", "zlib1g"),
];

/// A hint for the missing `library`, to follow its name in a message: `place` is its path elsewhere in the tree, if any,
/// and `locked` are the packages of the lock.
pub(super) fn on(library: &str, place: Option<&str>, locked: &BTreeSet<String>) -> String {
    if let Some(place) = place {
        let dir = place.rsplit_once('/').map_or("", |(dir, _)| dir);
        return format!(
            " (it is in /{dir}, which the loader does not search: add that to etc/ld.so.conf.d)"
        );
    }
    let known = PACKAGES.iter().any(|(name, _)| *name == library);
    let Some(package) = package(library) else { return String::new() };
    if let Some(name) = locked_as(&package, locked) {
        return format!(" (Debian: {name}, which is in the lock, does not contain it)");
    }
    let perhaps = if known { "" } else { "perhaps " };
    format!(" (Debian: {perhaps}{package})")
}

/// Whether the package of `library` is in the lock, so that the library was left out.
pub(super) fn is_locked(library: &str, locked: &BTreeSet<String>) -> bool {
    package(library).is_some_and(|package| locked_as(&package, locked).is_some())
}

fn package(library: &str) -> Option<String> {
    let known = PACKAGES.iter().find(|(name, _)| *name == library);
    known.map(|(_, package)| (*package).to_owned()).or_else(|| by_rule(library))
}

/// The name of `package` in the lock: Debian renamed packages for 64-bit time_t.
fn locked_as(package: &str, locked: &BTreeSet<String>) -> Option<String> {
    [package.to_owned(), format!("{package}t64")].into_iter().find(|name| locked.contains(name))
}

/// The package name of a library by Debian's policy (8.1): `libfoo.so.1` → `libfoo1`, `libfoo-2.so.1` or
/// `libfoo2.so.1` → `libfoo2-1`.
fn by_rule(library: &str) -> Option<String> {
    let (name, version) = library.split_once(".so.")?;
    let name = name.to_ascii_lowercase().replace('_', "-");
    let dash = if name.ends_with(|c: char| c.is_ascii_digit()) { "-" } else { "" };
    Some(format!("{name}{dash}{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_libraries() {
        assert!(PACKAGES.is_sorted());
        let locked = BTreeSet::from(["libglib2.0-0t64".to_owned(), "zlib1g".into()]);
        for (library, advice) in [
            ("libgomp.so.1", " (Debian: perhaps libgomp1)"),
            ("libX11.so.6", " (Debian: perhaps libx11-6)"),
            ("libfreetype.so.6", " (Debian: perhaps libfreetype6)"),
            ("libGL.so.1", " (Debian: libgl1)"),
            (
                "libglib-2.0.so.0",
                " (Debian: libglib2.0-0t64, which is in the lock, does not contain it)",
            ),
            ("libz.so.1", " (Debian: zlib1g, which is in the lock, does not contain it)"),
            ("libplugin.so", ""),
        ] {
            assert_eq!(on(library, None, &locked), advice, "{library}");
        }
    }
}
