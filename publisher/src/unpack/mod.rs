//! Unpacks locked inputs.
//!
//! In: one file of the cache (`.deb`, wheel, tar or zip). Out: the members of a [`Package`], or the rule that
//! the file breaks.

pub(crate) mod changelog;
pub(crate) mod deb;
mod entry_points;
pub(crate) mod image;
mod tar;
pub(crate) mod wheel;
mod wheel_record;
mod zip;
mod zstd;

use crate::{
    error::Error,
    fs::paths,
    lock::{Input, Kind},
    source::{Source, Url, archive_suffix},
    tree::{Member, Node, assemble::Package, link_path, relative, scripts::Scripts},
};
use joblet_format::Arch;
use std::{io, path::Path, sync::Arc};
use wheel::Places;

/// Reads one input of `source` for `arch` from its `file`. Unpacked content is in unlinked temporary files
/// in `spool_dir`.
///
/// # Errors
/// [`Error::Archive`] if it breaks a rule of its kind; [`Error::File`].
pub(crate) fn read(
    source: &Source,
    arch: Arch,
    input: &Input,
    file: &Path,
    spool_dir: &Path,
) -> Result<Package, Error> {
    let label = input.file_name().to_owned();
    let mut scripts = Scripts::default();
    let members = match input.kind {
        // They are the tree below all packages.
        Kind::Image | Kind::Layer => Vec::new(),
        Kind::Deb => {
            scripts = deb::scripts(file, &label)?;
            deb::read(file, &label, spool_dir)?
        }
        Kind::Wheel => {
            let version = source.python.as_ref().map_or("", |python| &python.version);
            wheel::read(file, &label, &Places::of_python(version))?
        }
        Kind::Tar => {
            let of = |url: &&Url| url.address(arch) == Some(&input.name);
            let urls = source.urls.iter().filter(of);
            let mut members = Vec::new();
            for url in urls {
                members.extend(archive(url, file, &label, spool_dir)?);
            }
            members
        }
    };
    Ok(Package { label, members, debian: input.kind == Kind::Deb, scripts })
}

/// The members of an upstream archive, at the paths that the manifest sets.
fn archive(url: &Url, path: &Path, label: &str, spool_dir: &Path) -> Result<Vec<Member>, Error> {
    let refused = |rule: String| Error::Archive { archive: label.to_owned(), rule };
    let file = paths::open(path)?;
    let members = match archive_suffix(label).unwrap_or_default() {
        ".zip" => {
            let entries = zip::entries(&Arc::new(file)).map_err(refused)?;
            entries.into_iter().map(|zip::ZipEntry { path, node }| Member { path, node }).collect()
        }
        suffix => tar::read(label, suffix, io::BufReader::new(file), spool_dir, refused)?,
    };
    let (strip, into) = (url.strip as usize, url.into.trim_end_matches('/'));
    let placed = members.into_iter().filter_map(|Member { path, node }| {
        let rest = path.split('/').skip(strip).collect::<Vec<_>>().join("/");
        let path = match (rest.is_empty(), into) {
            (true, _) => return None,
            (false, "." | "") => rest,
            (false, into) => format!("{into}/{rest}"),
        };
        // Relative targets are resolved from the link's directory.
        let node = match node {
            Node::Link(target) => Node::Link(relative(&path, &link_path(&path, &target))),
            node => node,
        };
        Some(Member { path, node })
    });
    let placed: Vec<Member> = placed.collect();
    if placed.is_empty() {
        return Err(refused(format!("has nothing below {strip} directories (`strip`)")));
    }
    Ok(placed)
}
