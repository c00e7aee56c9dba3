//! Selection of a record, for `verify`, `diff` and `oci`.

use crate::error::Error;
use joblet_format::{Arch, Record, Spec, Version, Wanted, nearest};
use std::path::Path;

/// The record of `spec` among `records`, which are those in `place`; without a version, the latest one.
pub(super) fn find<'r>(
    records: &'r [Record],
    spec: &Spec,
    place: &Path,
) -> Result<&'r Record, Error> {
    let name = &spec.name;
    let of_name = || records.iter().filter(|record| record.name == *name);
    let version = match &spec.wanted {
        Wanted::Exact(version) => Some(version),
        Wanted::Any | Wanted::Latest => {
            Version::latest(of_name().map(|record| &record.release.version))
        }
        Wanted::Series(series) => {
            let versions = of_name().map(|record| &record.release.version);
            Version::latest(versions.filter(|version| series.has(version)))
        }
    };
    let record = of_name().find(|record| Some(&record.release.version) == version);
    record.ok_or_else(|| {
        let versions: Vec<_> = of_name().map(|record| record.release.version.to_string()).collect();
        let place = place.display();
        Error::NotFound(match version {
            Some(version) if !versions.is_empty() => {
                let versions = versions.join(", ");
                format!("no record of {name}@{version} in {place}; there are {versions}")
            }
            _ => {
                let near = nearest(name.as_str(), records.iter().map(|it| it.name.as_str()));
                let hint = near.map_or_else(
                    || "--records DIR names another directory".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                format!("no record of {name} in {place}; {hint}")
            }
        })
    })
}

/// The architectures of `record` among the requested ones; if none is requested, all.
pub(super) fn wanted(record: &Record, asked: &[Arch]) -> Result<Vec<Arch>, Error> {
    let there = record.release.architectures();
    if let Some(other) = asked.iter().find(|arch| !there.contains(arch)) {
        let (name, version) = (&record.name, &record.release.version);
        return Err(Error::NotFound(format!("{name}@{version} was not published for {other}")));
    }
    Ok(there.into_iter().filter(|arch| asked.is_empty() || asked.contains(arch)).collect())
}
