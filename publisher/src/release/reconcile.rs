//! Commits the records of published releases to the main branch, with the registry generated from them.

use super::{
    Tag,
    bundle::RECORD,
    git::Branch,
    host::{self, Host},
    upload,
};
use crate::{
    error::{Error, Note},
    fs::paths,
    record::{self, MAX_RECORD},
};
use joblet_format::{Checksum, IndexFile, Record};
use std::{collections::BTreeSet, path::Path};

/// Records the published versions of the tag `only`, or of every release. Returns the new versions.
///
/// `finish` generates the files that depend on all records, such as `registry.json`, in a checkout.
///
/// # Errors
/// [`Error::Differs`] for a release that contradicts the record of its version; [`Error::Config`] for a
/// malformed release; those of host and git.
pub(crate) fn reconcile(
    host: &dyn Host,
    branch: &Branch<'_>,
    only: Option<&Tag>,
    records: &Path,
    finish: &dyn Fn(&Path) -> Result<(), Error>,
    note: Note,
) -> Result<Vec<String>, Error> {
    let mut tags = Vec::new();
    for (tag, draft) in host.releases()? {
        match (draft, only) {
            (_, Some(only)) if *only != tag => {}
            (true, _) => note(&format!("{tag} is a draft; run its release again to finish it")),
            (false, _) => tags.push(tag),
        }
    }
    if let Some(tag) = only.filter(|_| tags.is_empty()) {
        return Err(Error::NotFound(format!("{tag} is not published; run its release first")));
    }
    let mut new = BTreeSet::new();
    let pushed = branch.change(note, |checkout| {
        new.clear();
        for tag in &tags {
            new.extend(write_records(host, tag, checkout, &checkout.join(records))?);
        }
        finish(checkout)?;
        let names: Vec<_> = new.iter().map(String::as_str).collect();
        let message = match names[..] {
            [] => "Make the registry of its records again".to_owned(),
            _ => format!("Publish {}", names.join(", ")),
        };
        Ok(Some(message))
    })?;
    Ok(if pushed { new.into_iter().collect() } else { Vec::new() })
}

/// Writes the records of one release below `records` in `checkout`, and returns the versions that had no
/// record.
fn write_records(
    host: &dyn Host,
    tag: &Tag,
    checkout: &Path,
    records: &Path,
) -> Result<Vec<String>, Error> {
    let Some(state) = host.find(tag)? else { return Ok(Vec::new()) };
    let mut new = Vec::new();
    for name in state.files.keys().filter(|name| name.ends_with(RECORD)) {
        let place = format!("{name} of {tag}");
        let bytes = host::read(host, tag, name, MAX_RECORD)?;
        let refused = |reason: String| Error::config(&place, reason);
        let record = record::parse(&bytes).map_err(refused)?;
        let (runtime, version) = (&record.name, &record.release.version);
        let directory = runtime.directory(version);
        if !tag.covers(runtime, version) || *name != format!("{directory}{RECORD}") {
            return Err(refused(format!("is about {runtime}@{version}")));
        }
        let path = record::path(records, runtime, version);
        if let Some(before) = record::read(checkout, &path)? {
            check_unchanged(&before, &record)?;
            continue;
        }
        upload::check_complete(&state, &record).map_err(refused)?;
        for (file, expected) in &record.files {
            let bytes = host::read(host, tag, &format!("{directory}.{file}"), expected.size)?;
            is_expected(&format!("{directory}.{file} of {tag}"), &bytes, expected)?;
            let place = record::files::dir(records, runtime, version).join(file);
            paths::write_below(checkout, &place, &bytes)?;
        }
        paths::write_below(checkout, &path, record::render(&record).as_bytes())?;
        new.push(format!("{runtime}@{version}"));
    }
    Ok(new)
}

fn is_expected(object: &str, bytes: &[u8], expected: &IndexFile) -> Result<(), Error> {
    let actual = Checksum::of_bytes(bytes);
    if actual == expected.checksum {
        return Ok(());
    }
    let hint = "its record names another file; run its release again";
    Err(Error::checksum(object, expected.checksum, actual, hint))
}

/// Checks that two records of a version, that of the registry and that of the release, differ at most in `yanked` and
/// in zstd frames that were added later: everything else is final.
fn check_unchanged(before: &Record, record: &Record) -> Result<(), Error> {
    let mut released = record.release.artifacts.clone();
    for (arch, artifact) in &mut released {
        if artifact.zstd.is_none() {
            artifact.zstd = before.release.artifacts.get(arch).and_then(|it| it.zstd.clone());
        }
    }
    if before.release.artifacts == released {
        return Ok(());
    }
    let object = format!("{}@{}", record.name, record.release.version);
    let (is, was) = (record.release.checksum, before.release.checksum);
    let hint = "the release has other archives than the record; restore the release";
    Err(Error::checksum(object, was, is, hint))
}
