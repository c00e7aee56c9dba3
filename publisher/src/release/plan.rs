//! What a tag releases, checked before anything is built.

use super::{Tag, git};
use crate::{
    error::{Error, shown},
    lock, record, source,
};
use joblet_format::{Arch, Record, RuntimeName, Version};
use serde::Serialize;
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
}

/// Plans the release of `tag`: it must be the commit that is checked out, on the branch, and say
/// what manifest and lock say; the version must be new, or be released under this tag already.
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
        is_new(tag, &runtime, version, place)?;
        let build = |arch| Build { name: runtime.clone(), version: version.clone(), arch };
        plan.builds.extend(source.arches().into_iter().map(build));
        plan.runtimes.push(runtime);
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

/// A version is published once: under this tag, if it was already.
fn is_new(
    tag: &Tag,
    name: &RuntimeName,
    version: &Version,
    place: &Place<'_>,
) -> Result<(), Error> {
    let path = record::path(place.records, name, version);
    let Some(bytes) = git::show(place.checkout, place.branch, &path.to_string_lossy())? else {
        return Ok(());
    };
    let record: Record = serde_json::from_slice(&bytes)
        .map_err(|error| Error::config(&path, format!("is not a record: {error}")))?;
    let url = &record.release.download_url;
    let under = url.rsplit('/').nth(1).unwrap_or_default();
    if under == tag.to_string() {
        return Ok(()); // a rerun: the same bytes again, or they will be refused
    }
    Err(Error::Differs {
        object: format!("{name}@{version}"),
        field: "release",
        expected: tag.to_string(),
        actual: shown::address(url),
        hint: "it is published already and never changes; raise the version in its manifest",
    })
}
