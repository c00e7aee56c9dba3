//! Plans the release of a tag, and checks it before anything is built.

use super::{Host, Tag, git, upload};
use crate::{
    error::{Error, shown},
    lock,
    record::{self, provenance},
    source::{self, Source},
};
use joblet_format::{Arch, Checksum, Record, RuntimeName, Version};
use serde::Serialize;
use std::path::Path;

/// The builds for a tag. Printed as one line of JSON, for a workflow's matrix.
///
/// ```json
/// {"tag":"a@1.0.0","runtimes":["a"],"builds":[{"name":"a","version":"1.0.0","arch":"amd64"}]}
/// ```
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Plan {
    tag: String,
    /// Names of all runtimes of the release.
    runtimes: Vec<RuntimeName>,
    /// One build per archive.
    builds: Vec<Build>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Build {
    name: RuntimeName,
    version: Version,
    arch: Arch,
}

/// The repository and host of a release.
pub(crate) struct Context<'a> {
    /// The checkout of the tag.
    pub checkout: &'a Path,
    /// The directory of sources.
    pub sources: &'a Path,
    /// The branch that releases come from, such as `origin/main`.
    pub branch: &'a str,
    /// The directory of records, relative to the top of the repository.
    pub records: &'a Path,
    /// The release host, if it is to be checked.
    pub host: Option<&'a dyn Host>,
}

/// Plans the release of `tag`. The tag must refer to the checked-out commit, on the branch, and agree with
/// manifest and lock; the version must be new, or already released under this tag from the same
/// manifest, lock and files. A tag of all runtimes leaves out those released under a tag of their own.
///
/// # Errors
/// [`Error::Config`] for a contradiction; [`Error::NotFound`]; [`Error::Differs`] for a version that is
/// already published; [`Error::Tool`].
pub(crate) fn make(tag: &Tag, place: &Context<'_>) -> Result<Plan, Error> {
    let name = tag.to_string();
    let refused = |reason: String| Error::config(&name, reason);
    let commit = git::git(
        place.checkout,
        &["rev-parse", "--verify", &format!("refs/tags/{name}^{{commit}}")],
    )
    .map_err(|_| Error::NotFound(format!("tag {name} does not exist; fetch it")))?;
    if git::git(place.checkout, &["rev-parse", "HEAD"])? != commit {
        return Err(refused(format!(
            "is not the commit that is checked out; run git checkout {name}"
        )));
    }
    if !git::is_ancestor(place.checkout, &commit, place.branch)? {
        let branch = place.branch;
        return Err(refused(format!(
            "is not on {branch}; merge it there first, then tag the merged commit"
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
        if !is_pending(tag, &source, place)? {
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

/// The runtimes of `tag`: the one it names, or all with its version.
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

/// Whether the version of `source` must be released, or its release under this tag be completed. A version is
/// published once, from one manifest, lock and files.
fn is_pending(tag: &Tag, source: &Source, place: &Context<'_>) -> Result<bool, Error> {
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
    // Released but not recorded, or a draft: the release contains its record.
    let released =
        || place.host.map_or(Ok(None), |host| upload::record_of(host, tag, name, version));
    match recorded.map_or_else(released, |record| Ok(Some(record)))? {
        Some(record) => check_same_sources(tag, source, &record, place).map(|()| true),
        None => Ok(true),
    }
}

/// Checks that the release has the same sources; otherwise `release` would fail after the builds.
fn check_same_sources(
    tag: &Tag,
    source: &Source,
    record: &Record,
    place: &Context<'_>,
) -> Result<(), Error> {
    let now = provenance::collect(place.sources, source)?;
    for name in provenance::NAMES {
        let actual = now.get(name).map(Checksum::of_bytes);
        let expected = record.files.get(name).map(|file| file.checksum);
        // A record by another program does not list its sources.
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
