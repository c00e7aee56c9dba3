//! Determines name, version and licence of each input.

use crate::{
    error::Error,
    lock::{Input, Kind, wheel_tags::WheelName},
    record::licence::{self, Licence},
    tree::Tree,
    unpack::deb,
};
use joblet_format::Checksum;
use std::path::{Path, PathBuf};

/// Most bytes of a copyright or metadata file that are read.
const MAX_METADATA: u64 = 16 << 20;

/// A package in a runtime, from one locked input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// The input's kind.
    pub kind: Kind,
    /// The package's name.
    pub name: String,
    /// The package's own version, with Debian's epoch.
    pub version: String,
    /// File name of the input; empty for a package of an image.
    pub file: String,
    /// SHA-256 of the input, if it is one.
    pub sha256: Option<Checksum>,
    /// Its declared licence.
    pub licence: Licence,
    /// Its home page, if it has an http or https address.
    pub homepage: Option<String>,
    /// Name and version of its source package, if declared.
    pub source: Option<String>,
    /// Its package URL, where that does not follow from the input.
    pub purl: Option<String>,
}

/// The components of `inputs`, in their order; `files` are their files, `tree` the result.
///
/// # Errors
/// [`Error::Archive`] for an input without a name or a version; [`Error::File`].
pub fn collect(inputs: &[Input], files: &[PathBuf], tree: &Tree) -> Result<Vec<Component>, Error> {
    let component = |(input, file): (&Input, &PathBuf)| match input.kind {
        // Their databases list their packages (`image_packages`).
        Kind::Image | Kind::Layer => None,
        Kind::Deb => Some(package(input, file, tree)),
        Kind::Wheel => Some(wheel(input, tree)),
        Kind::Tar => Some(Ok(archive(input))),
    };
    inputs.iter().zip(files).filter_map(component).collect()
}

fn package(input: &Input, file: &Path, tree: &Tree) -> Result<Component, Error> {
    let label = input.file_name();
    let control = deb::control(file, label)?;
    let field = |name: &str| field(&control, name);
    let missing = |name: &str| Error::Archive {
        archive: label.to_owned(),
        rule: format!("its control file has no field `{name}`"),
    };
    let name = field("Package").ok_or_else(|| missing("Package"))?;
    let version = field("Version").ok_or_else(|| missing("Version"))?;
    let place = format!("usr/share/doc/{name}/copyright");
    let copyright = tree.file(&place).map(|(_, content)| content.head(MAX_METADATA)).transpose();
    let copyright = copyright.map_err(Error::file("read", file))?.unwrap_or_default();
    let source = field("Source").unwrap_or_else(|| name.clone());
    Ok(Component {
        kind: input.kind,
        licence: licence::of_debian(&name, &String::from_utf8_lossy(&copyright)),
        homepage: field("Homepage").filter(|address| is_web(address)),
        source: Some(source).filter(|source| *source != name),
        name,
        version,
        file: label.to_owned(),
        sha256: Some(input.sha256),
        purl: None,
    })
}

/// A wheel, by its metadata in the tree.
fn wheel(input: &Input, tree: &Tree) -> Result<Component, Error> {
    let label = input.file_name();
    let refused = |rule: &str| Error::Archive { archive: label.into(), rule: rule.into() };
    let name = WheelName::parse(label).ok_or_else(|| refused("is not a wheel's name"))?;
    let is_metadata =
        |path: &&str| path.ends_with(".dist-info/METADATA") && tree.origin(path) == Some(label);
    let metadata = tree.iter().map(|(path, _)| path).find(is_metadata).and_then(|it| tree.file(it));
    let metadata = metadata.ok_or_else(|| refused("has no file METADATA"))?.1.head(MAX_METADATA);
    let metadata = metadata.map_err(Error::file("read", label))?;
    let metadata = String::from_utf8_lossy(&metadata);
    let header = metadata.split("\n\n").next().unwrap_or_default();
    let field = |name: &str| field(header, name);
    let name_of_package = field("Name").unwrap_or_else(|| name.name.to_owned());
    Ok(Component {
        kind: input.kind,
        licence: licence::of_python(&name_of_package, header),
        name: name_of_package,
        version: field("Version").unwrap_or_else(|| name.version.to_owned()),
        file: label.to_owned(),
        sha256: Some(input.sha256),
        purl: None,
        homepage: field("Home-page").filter(|address| is_web(address)),
        source: None,
    })
}

/// An upstream archive, for which only the file name is known.
fn archive(input: &Input) -> Component {
    let file = input.file_name().to_owned();
    Component {
        kind: input.kind,
        name: file.clone(),
        version: input.sha256.hex()[..12].to_owned(),
        file,
        sha256: Some(input.sha256),
        purl: None,
        licence: Licence::default(),
        homepage: None,
        source: None,
    }
}

/// The value of a single-line field in a Debian control file.
pub(super) fn field(control: &str, name: &str) -> Option<String> {
    let mut lines = control.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

pub(super) fn is_web(address: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty()) && address.bytes().all(plain)
}
