//! The packages in a container image, from the databases of its package managers: dpkg, apk, rpm, Python.

use crate::{
    error::Error,
    lock::{Kind, wheel_tags::normalized},
    record::{
        components::{Component, field, is_web},
        licence::{self, Licence},
        rpm,
        sbom::percent,
    },
    source::Source,
    tree::{Tree, assemble::IMAGE},
};
use joblet_format::Arch;
use std::collections::BTreeSet;

/// Maximum size of a database or metadata file, in bytes.
const MAX_TEXT: u64 = 64 << 20;
/// Maximum size of a database of rpm, in bytes.
const MAX_DATABASE: u64 = 512 << 20;

/// The packages that dpkg, apk, rpm and Python have installed in the image below `tree`, and notes on databases that
/// cannot be read.
///
/// # Errors
/// [`Error::File`].
pub fn find(
    tree: &Tree,
    source: &Source,
    arch: Arch,
) -> Result<(Vec<Component>, Option<String>), Error> {
    let release = read_text(tree, "etc/os-release")?;
    let says = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned()).filter(|value| !value.is_empty())
    };
    let distribution = says("ID").unwrap_or_else(|| "linux".to_owned());
    let suite = says("VERSION_CODENAME").or_else(|| says("VERSION_ID")).unwrap_or_default();
    let locator = |kind: &str, name: &str, version: &str| {
        let (name, version) = (percent(name), percent(version));
        format!("pkg:{kind}/{distribution}/{name}@{version}?arch={arch}&distro={suite}")
    };
    let mut found = Vec::new();
    let mut databases = vec!["var/lib/dpkg/status".to_owned()];
    // One file for each package, as images without dpkg itself have them.
    let single = tree.below("var/lib/dpkg/status.d").map(|(path, _)| path.to_owned());
    databases.extend(single.filter(|path| !path.ends_with(".md5sums")));
    for database in databases {
        for control in read_text(tree, &database)?.split("\n\n") {
            let field = |name: &str| field(control, name);
            let installed = field("Status").is_none_or(|status| status.ends_with(" installed"));
            let (Some(name), Some(version), true) = (field("Package"), field("Version"), installed)
            else {
                continue;
            };
            let copyright = read_text(tree, &format!("usr/share/doc/{name}/copyright"))?;
            let licence = licence::of_debian(&name, &copyright);
            let homepage = field("Homepage");
            let purl = locator("deb", &name, &version);
            found.push(component((name, version), licence, homepage, purl));
        }
    }
    for database in ["lib/apk/db/installed", "usr/lib/apk/db/installed"] {
        for package in read_text(tree, database)?.split("\n\n") {
            let line = |key: &str| {
                let value = package.lines().find_map(|line| line.strip_prefix(key));
                value.map(str::to_owned).filter(|value| !value.is_empty())
            };
            let (Some(name), Some(version)) = (line("P:"), line("V:")) else { continue };
            let licence = licence::of_words(&name, &line("L:").unwrap_or_default());
            let purl = locator("apk", &name, &version);
            found.push(component((name, version), licence, line("U:"), purl));
        }
    }
    let metadata = tree
        .iter()
        .map(|(path, _)| path)
        .filter(|path| path.ends_with(".dist-info/METADATA") && tree.origin(path) == Some(IMAGE));
    for path in metadata {
        let text = read_text(tree, path)?;
        let head = text.split("\n\n").next().unwrap_or_default();
        let (Some(name), Some(version)) = (field(head, "Name"), field(head, "Version")) else {
            continue;
        };
        let purl = format!("pkg:pypi/{}@{}", percent(&normalized(&name)), percent(&version));
        let licence = licence::of_python(&name, head);
        found.push(component((name, version), licence, field(head, "Home-page"), purl));
    }
    let (packages, notes) = of_rpm(tree)?;
    for package in packages {
        let rpm::Package { name, version, epoch, arch, licence, homepage } = package;
        let (epoch, shown) = epoch.map_or((String::new(), version.clone()), |epoch| {
            (format!("&epoch={epoch}"), format!("{epoch}:{version}"))
        });
        let (name_, version, arch) = (percent(&name), percent(&version), percent(&arch));
        let purl = format!(
            "pkg:rpm/{distribution}/{name_}@{version}?arch={arch}&distro={distribution}-{suite}{epoch}"
        );
        let licence = licence::of_words(&name, &licence);
        found.push(component((name, shown), licence, Some(homepage), purl));
    }
    found.sort_by(|a, b| a.purl.cmp(&b.purl));
    found.dedup_by(|a, b| a.purl == b.purl);
    let name = &source.name;
    let note = (!notes.is_empty()).then(|| {
        let notes = notes.join("; ");
        format!("{name}: {notes}: what is in it is not in the bill of materials")
    });
    Ok((found, note))
}

/// The packages in databases of rpm, and the databases that cannot be read.
fn of_rpm(tree: &Tree) -> Result<(Vec<rpm::Package>, Vec<String>), Error> {
    let (mut found, mut notes, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    let places =
        rpm::DIRECTORIES.iter().flat_map(|at| rpm::FILES.map(|name| format!("{at}/{name}")));
    for path in places {
        let Some((_, content)) = tree.file(&path) else { continue };
        // One directory may be a link to the other.
        if !seen.insert(tree.resolve(&path)) {
            continue;
        }
        if content.len() > MAX_DATABASE {
            notes.push(format!("`{path}` is larger than {MAX_DATABASE} bytes"));
            continue;
        }
        let bytes = content.whole(MAX_DATABASE).map_err(Error::file("read", &path))?;
        match rpm::packages(&bytes) {
            Ok(packages) => found.extend(packages),
            Err(reason) => notes.push(format!("`{path}` cannot be read: {reason}")),
        }
        let log = format!("{path}-wal");
        if tree.file(&log).is_some_and(|(_, content)| !content.is_empty()) {
            notes.push(format!("`{log}` has changes that are not read"));
        }
    }
    Ok((found, notes))
}

fn component(
    (name, version): (String, String),
    licence: Licence,
    homepage: Option<String>,
    purl: String,
) -> Component {
    Component {
        kind: Kind::Layer,
        file: String::new(),
        sha256: None,
        licence,
        homepage: homepage.filter(|address| is_web(address)),
        source: None,
        purl: Some(purl),
        name,
        version,
    }
}

/// Reads a text file of the tree; empty if it does not exist.
fn read_text(tree: &Tree, path: &str) -> Result<String, Error> {
    let Some((_, content)) = tree.file(path) else { return Ok(String::new()) };
    let bytes = content.head(MAX_TEXT).map_err(Error::file("read", path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Node;

    #[test]
    fn databases_list_their_packages() {
        let mut tree = Tree::default();
        for (path, text) in [
            ("etc/os-release", "NAME=x\nID=debian\nVERSION_CODENAME=\"bookworm\"\n"),
            (
                "var/lib/dpkg/status",
                "Package: bash\nStatus: install ok installed\nVersion: 5.2-1\nHomepage: https://example.org\n\n\
                 Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
            ),
            ("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2024a\n"),
            ("var/lib/dpkg/status.d/tzdata.md5sums", "Package: no\nVersion: 1\n"),
            ("lib/apk/db/installed", "C:Q1\nP:musl\nV:1.2.4-r2\nL:MIT\n\nP:broken\n"),
            (
                "usr/lib/python3/dist-packages/A_b-1.dist-info/METADATA",
                "Name: A_b\nVersion: 1\n\nVersion: 2\n",
            ),
            ("var/lib/rpm/rpmdb.sqlite", "SQLite"),
        ] {
            let content = text.as_bytes().to_vec().into();
            tree.insert(path, Node::File { executable: false, content }).unwrap();
            tree.set_origin(path.to_owned(), IMAGE.into());
        }
        let source =
            crate::source::parse("name: d\nversion: 1.0.0\nplatforms: [ubuntu-amd64]\n").unwrap();
        let (found, note) = find(&tree, &source, Arch::Amd64).unwrap();
        let purls: Vec<_> = found.iter().filter_map(|it| it.purl.as_deref()).collect();
        let want = [
            "pkg:apk/debian/musl@1.2.4-r2?arch=amd64&distro=bookworm",
            "pkg:deb/debian/bash@5.2-1?arch=amd64&distro=bookworm",
            "pkg:deb/debian/tzdata@2024a?arch=amd64&distro=bookworm",
            "pkg:pypi/a-b@1",
        ];
        assert_eq!(purls, want);
        assert_eq!(found[0].licence.expression.as_deref(), Some("MIT"));
        let want =
            "`var/lib/rpm/rpmdb.sqlite` cannot be read: not a database of a kind that is known";
        assert!(note.unwrap().contains(want));
    }
}
