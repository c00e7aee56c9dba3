//! Content of a version: its packages with their sizes, and differences from the version before.

use super::{super::text::visible, licence::Licence};
use crate::{
    error::Error,
    record::changes::{self, Package, Packages},
};
use joblet_format::{Arch, Record, text};
use serde::Serialize;
use std::{cmp::Reverse, collections::BTreeMap, path::Path};

/// Number of packages named in the bar; the others are one part.
const NAMED: usize = 7;

/// Licences that are named at the top of a page.
const LICENCES: usize = 2;

/// Width of the picture, in its own units.
const WIDTH: f64 = 760.0;

/// The files beside a record, in the order of the page.
pub(super) fn listed(record: &Record) -> Vec<Listed> {
    let listed = |(name, expected): (&String, &joblet_format::IndexFile)| Listed {
        name: name.clone(),
        size: text::size(expected.size),
        checksum: expected.checksum.hex(),
    };
    record.files.iter().map(listed).collect()
}

/// A file beside the record.
#[derive(Serialize)]
pub(super) struct Listed {
    name: String,
    size: String,
    /// SHA-256 of the file, which determines everything read from it.
    checksum: String,
}

#[derive(Serialize)]
pub(in crate::site) struct Inside {
    architecture: &'static str,
    picture: Picture,
    count: usize,
    /// The licences of the most bytes, and how many others there are.
    licences: (Vec<String>, usize),
    /// Largest first.
    packages: Vec<Row>,
    /// Differences from the version before, if its content is known.
    changes: Option<Difference>,
}

/// Packages as parts of a bar.
#[derive(Serialize)]
struct Picture {
    width: f64,
    parts: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    name: String,
    /// Version; empty for several packages.
    version: String,
    size: String,
    /// Share of the total, in percent.
    share: String,
    x: f64,
    width: f64,
}

#[derive(Serialize)]
struct Row {
    name: String,
    version: String,
    licence: Licence,
    size: String,
}

#[derive(Serialize)]
struct Difference {
    added: Vec<Row>,
    removed: Vec<Row>,
    /// Changed packages: before and after.
    changed: Vec<(Row, Row)>,
    unchanged: usize,
}

/// The content of `record`, and differences from `before`; `None` if the record has no lists.
///
/// # Errors
/// A file beside a record that is missing, another one, or of another form.
pub(super) fn inside(
    records: &Path,
    record: &Record,
    before: Option<&Record>,
) -> Result<Option<Inside>, Error> {
    let Some((arch, packages, _)) = first_packages(records, record)? else { return Ok(None) };
    let old = before.map(|before| self::packages(records, before, arch)).transpose()?.flatten();
    Ok(Some(Inside::new(arch, packages, old)))
}

/// The packages and the list of contents of `record`, for the first architecture with both.
///
/// # Errors
/// As [`packages`].
pub(super) fn first_packages(
    records: &Path,
    record: &Record,
) -> Result<Option<(Arch, Packages, String)>, Error> {
    for arch in Arch::ALL {
        if let Some((packages, contents)) = changes::read(records, record, arch)? {
            return Ok(Some((arch, packages, contents)));
        }
    }
    Ok(None)
}

/// The packages of `record` for `arch`; `None` if the record has no list.
///
/// # Errors
/// A file beside the record that is missing, another one, or of another form.
pub(super) fn packages(
    records: &Path,
    record: &Record,
    arch: Arch,
) -> Result<Option<Packages>, Error> {
    Ok(changes::read(records, record, arch)?.map(|(packages, _)| packages))
}

impl Inside {
    fn new(arch: Arch, packages: Packages, before: Option<Packages>) -> Self {
        let changes = before.map(|before| {
            let changes::Changes { added, removed, changed, unchanged } =
                changes::between(&before, &packages);
            let rows = |packages: &[Package]| packages.iter().map(Row::new).collect();
            let pairs = changed.iter().map(|it| (Row::new(&it.before), Row::new(&it.after)));
            Difference {
                added: rows(&added),
                removed: rows(&removed),
                changed: pairs.collect(),
                unchanged,
            }
        });
        let mut packages: Vec<Package> = packages.into_values().collect();
        packages.sort_by(|a, b| (Reverse(a.size), &a.name).cmp(&(Reverse(b.size), &b.name)));
        Self {
            architecture: arch.as_str(),
            picture: Picture::new(&packages),
            count: packages.len(),
            licences: licences(&packages),
            packages: packages.iter().map(Row::new).collect(),
            changes,
        }
    }
}

/// The licences of the most bytes of packages, and how many others there are.
fn licences(packages: &[Package]) -> (Vec<String>, usize) {
    let mut bytes = BTreeMap::<String, u64>::new();
    for package in packages {
        for name in Licence::new(&package.licence).listed() {
            *bytes.entry(name.to_owned()).or_default() += package.size;
        }
    }
    let mut sorted: Vec<_> = bytes.into_iter().collect();
    sorted.sort_by_key(|(name, size)| (Reverse(*size), name.clone()));
    let more = sorted.len().saturating_sub(LICENCES);
    (sorted.into_iter().take(LICENCES).map(|(name, _)| name).collect(), more)
}

impl Picture {
    /// The bar of packages sorted by size.
    fn new(packages: &[Package]) -> Self {
        let named = if packages.len() > NAMED + 1 { NAMED } else { packages.len() };
        let (large, small) = packages.split_at(named);
        let named = |it: &Package| (visible(&it.name), visible(&it.version), it.size);
        let mut sizes: Vec<_> = large.iter().map(named).collect();
        if !small.is_empty() {
            let rest = small.iter().map(|it| it.size).sum();
            sizes.push((format!("{} others", small.len()), String::new(), rest));
        }
        let total = sizes.iter().map(|(_, _, size)| size).sum::<u64>().max(1);
        let mut x = 0.0;
        let part = |(name, version, size)| {
            let share = share(size, total);
            let width = WIDTH * share;
            let part = Part {
                name,
                version,
                size: text::size(size),
                share: format!("{:.1}", 100.0 * share),
                x: round(x),
                width: round(width),
            };
            x += width;
            part
        };
        Self { width: WIDTH, parts: sizes.into_iter().map(part).collect() }
    }
}

impl Row {
    fn new(package: &Package) -> Self {
        Self {
            name: visible(&package.name),
            version: visible(&package.version),
            licence: Licence::new(&package.licence),
            size: text::size(package.size),
        }
    }
}

#[expect(clippy::cast_precision_loss)] // for drawing
fn share(size: u64, total: u64) -> f64 {
    size as f64 / total as f64
}

fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_names_the_large_packages_and_sums_up_the_rest() {
        let package = |at: u64| Package {
            name: format!("p{at}"),
            version: "1".into(),
            licence: "MIT".into(),
            size: 1000 * (20 - at),
            sha256: String::new(),
        };
        let packages: BTreeMap<_, _> = (0..10).map(|at| (at.to_string(), package(at))).collect();
        let inside = Inside::new(Arch::Amd64, packages, None);
        let parts = &inside.picture.parts;
        assert_eq!(parts.len(), NAMED + 1);
        assert_eq!((parts[0].name.as_str(), parts[0].share.as_str()), ("p0", "12.9"));
        assert_eq!((parts[7].name.as_str(), parts[7].size.as_str()), ("3 others", "36.0 kB"));
        assert!((parts[7].x + parts[7].width - WIDTH).abs() < 0.11);
        let eight: Vec<_> = (0..8).map(package).collect();
        assert_eq!(Picture::new(&eight).parts[7].name, "p7", "one other has a name");
        assert_eq!(Picture::new(&[]).parts.len(), 0);
    }

    #[test]
    fn the_licences_of_the_most_bytes_are_named() {
        let package = |licence: &str, size| Package {
            name: "p".into(),
            version: "1".into(),
            licence: licence.into(),
            size,
            sha256: String::new(),
        };
        let packages = [
            package("MIT", 5),
            package("GPL-2.0-only AND MIT", 6),
            package("Apache-2.0", 7),
            package("LicenseRef-own", 99),
        ];
        let names = vec!["MIT".to_owned(), "Apache-2.0".to_owned()];
        assert_eq!(licences(&packages), (names, 1));
        assert_eq!(licences(&[]), (Vec::new(), 0));
    }
}
