//! What a tag releases, checked before anything is built.

use super::{Host, Tag, git, upload};
use crate::{
    error::{Error, shown},
    lock,
    record::{self, provenance},
    source::{self, Source},
};
use joblet_format::{Arch, Checksum, Record, RuntimeName, Version};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::path::Path;

/// What is to be done for a tag. Printed as one line of JSON, for a workflow's matrix.
///
/// ```json
/// {"tag":"a@1.0.0","runtimes":["a"],"builds":[{"name":"a","version":"1.0.0","arch":"amd64"}]}
/// ```
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Plan {
    tag: String,
    /// Names, for commands that take them all.
    runtimes: Vec<RuntimeName>,
    /// One archive each.
    builds: Vec<Build>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Build {
    name: RuntimeName,
    version: Version,
    arch: Arch,
}

/// Where a release is planned from.
pub(crate) struct Place<'a> {
    /// The checkout of the tag.
    pub checkout: &'a Path,
    /// Where runtimes are.
    pub sources: &'a Path,
    /// The branch that releases come from, such as `origin/main`.
    pub branch: &'a str,
    /// Where records are, from the top of the repository.
    pub records: &'a Path,
    /// Where it will be released, if that is looked at.
    pub host: Option<&'a dyn Host>,
}

/// Plans the release of `tag`: it must be the commit that is checked out, on the branch, and say
/// what manifest and lock say; the version must be new, or be released under this tag already, of the same
/// manifest, lock and files. A tag of all leaves out what is released already under a tag of its own.
///
/// # Errors
/// [`Error::Config`] with what disagrees; [`Error::NotFound`]; [`Error::Differs`] for a version that
/// is out; [`Error::Tool`].
pub(crate) fn make(tag: &Tag, place: &Place<'_>) -> Result<Plan, Error> {
    let name = tag.to_string();
    let refused = |reason: String| Error::config(&name, reason);
    let commit = git::git(
        place.checkout,
        &["rev-parse", "--verify", &format!("refs/tags/{name}^{{commit}}")],
    )
    .map_err(|_| Error::NotFound(format!("there is no tag {name} here; fetch it")))?;
    if git::git(place.checkout, &["rev-parse", "HEAD"])? != commit {
        return Err(refused(format!(
            "is not the commit that is checked out; run git checkout {name}"
        )));
    }
    if !git::is_ancestor(place.checkout, &commit, place.branch)? {
        let branch = place.branch;
        return Err(refused(format!(
            "is not on {branch}; merge it there first, then tag what was merged"
        )));
    }
    let mut plan = Plan { tag: name.clone(), runtimes: Vec::new(), builds: Vec::new() };
    for runtime in runtimes(tag, place.sources)? {
        let source = source::read(place.sources, &runtime)?;
        let version = &source.version;
        if !tag.covers(&runtime, version) {
            let manifest = source::manifest_path(place.sources, &runtime);
            let reason = format!("has version {version}, the tag is {name}; correct one of them");
            return Err(Error::config(manifest, reason));
        }
        lock::read(place.sources, &source)?;
        if !is_to_do(tag, &source, place)? {
            continue;
        }
        let build = |arch| Build { name: runtime.clone(), version: version.clone(), arch };
        plan.builds.extend(source.arches().into_iter().map(build));
        plan.runtimes.push(runtime);
    }
    if plan.builds.is_empty() {
        let reason = "every runtime of it is published already; raise a version in its manifest";
        return Err(refused(reason.to_owned()));
    }
    Ok(plan)
}

/// The runtimes that `tag` means: the one it names, or all of its version.
fn runtimes(tag: &Tag, sources: &Path) -> Result<Vec<RuntimeName>, Error> {
    let version = match tag {
        Tag::One(name, _) => return Ok(vec![name.clone()]),
        Tag::All(version) => version,
    };
    let mut of_it = Vec::new();
    for name in source::names(sources)? {
        if source::read(sources, &name)?.version == *version {
            of_it.push(name);
        }
    }
    if of_it.is_empty() {
        let sources = sources.display();
        return Err(Error::NotFound(format!("no runtime in {sources} has version {version}")));
    }
    Ok(of_it)
}

/// Whether the version of `source` is still to be released, or this tag's release of it to be finished. A version
/// is published once, of one manifest, lock and files.
fn is_to_do(tag: &Tag, source: &Source, place: &Place<'_>) -> Result<bool, Error> {
    let (name, version) = (&source.name, &source.version);
    let path = record::path(place.records, name, version);
    let bytes = git::show(place.checkout, place.branch, &path.to_string_lossy())?;
    let recorded = bytes.map(|bytes| parsed(&path, &bytes)).transpose()?;
    if let Some(record) = &recorded {
        let url = &record.release.download_url;
        let under = url.rsplit('/').nth(1).unwrap_or_default();
        if under != tag.to_string() {
            if let Tag::All(_) = tag {
                return Ok(false);
            }
            return Err(Error::Differs {
                object: format!("{name}@{version}"),
                field: "release",
                expected: tag.to_string(),
                actual: shown::address(url),
                hint: "it is published already and never changes; raise the version in its manifest",
            });
        }
    }
    // Released and not recorded, or a draft: its own record is with it.
    let released =
        || place.host.map_or(Ok(None), |host| upload::record_of(host, tag, name, version));
    match recorded.map_or_else(released, |record| Ok(Some(record)))? {
        Some(record) => is_same(tag, source, &record, place).map(|()| true),
        None => Ok(true),
    }
}

/// Refuses what `release` would refuse after both builds: another source of what is there.
fn is_same(tag: &Tag, source: &Source, record: &Record, place: &Place<'_>) -> Result<(), Error> {
    let now = provenance::keep(place.sources, source)?;
    for name in provenance::NAMES {
        let actual = now.get(name).map(|bytes| Checksum::from_digest(Sha256::digest(bytes).into()));
        let expected = record.files.get(name).map(|file| file.checksum);
        // A record that another program wrote knows nothing of its sources.
        if record.files.is_empty() || actual == expected {
            continue;
        }
        let text =
            |sum: Option<Checksum>| sum.map_or_else(|| "none".to_owned(), |it| it.to_string());
        return Err(Error::Differs {
            object: format!("{}@{} of {tag}: {name}", source.name, source.version),
            field: "checksum",
            expected: text(expected),
            actual: text(actual),
            hint: "a release of other sources is there: raise the version in its manifest, or delete it if \
                   it is a draft",
        });
    }
    Ok(())
}

fn parsed(path: &Path, bytes: &[u8]) -> Result<Record, Error> {
    record::parse(bytes).map_err(|reason| Error::config(path, reason))
}
