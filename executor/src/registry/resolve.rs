//! Chooses a release of a registry by a spec. No I/O.

use crate::error::Error;
use crate::net::location::Location;
use joblet_format::{
    Arch, Artifact, Registry, Release, RuntimeName, Spec, Version, Wanted, Zstd, nearest,
};

/// A release of a registry and its archive for one architecture.
#[derive(Debug)]
pub(crate) struct Choice<'r> {
    /// The release.
    pub release: &'r Release,
    /// Its archive for the architecture.
    pub artifact: Artifact,
}

/// The release of `registry` that `spec` selects on a host of architecture `arch`.
///
/// # Errors
/// [`Error::NotFound`] with the names or versions that exist; [`Error::Registry`] when the entry was
/// refused.
pub(crate) fn resolve<'r>(
    registry: &'r Registry,
    location: &Location,
    spec: &Spec,
    arch: Arch,
) -> Result<Choice<'r>, Error> {
    let Some(releases) = registry.runtimes.get(&spec.name) else {
        return Err(missing_name(registry, location, spec));
    };
    let yanked = |versions: &mut dyn Iterator<Item = &Version>| {
        let versions = listed(versions);
        Error::NotFound(format!("{spec}: every version in {location} is yanked: {versions}"))
    };
    let release = match &spec.wanted {
        Wanted::Exact(version) => releases
            .get(version)
            .ok_or_else(|| missing_version(registry, location, spec, version))?,
        Wanted::Any | Wanted::Latest => registry
            .latest(&spec.name, |release| release.artifact(arch).is_some())
            .or_else(|| registry.latest(&spec.name, |_| true))
            .ok_or_else(|| yanked(&mut releases.keys()))?,
        Wanted::Series(series) => registry
            .latest(&spec.name, |it| series.has(&it.version) && it.artifact(arch).is_some())
            .or_else(|| registry.latest(&spec.name, |it| series.has(&it.version)))
            .ok_or_else(|| {
                let mut fitting = releases.keys().filter(|it| series.has(it)).peekable();
                if fitting.peek().is_some() {
                    return yanked(&mut fitting);
                }
                let versions = listed(releases.keys());
                Error::NotFound(format!("no version of {spec} in {location}, only {versions}"))
            })?,
    };
    let artifact = release.artifact(arch).ok_or_else(|| {
        Error::NotFound(format!(
            "{}@{} is not built for {arch}, only for {}",
            spec.name,
            release.version,
            listed(release.architectures())
        ))
    })?;
    Ok(Choice { release, artifact })
}

/// Uses an archive in the directory of a local registry if it has its usual name, whatever its
/// `download_url` is: so that a registry can be copied with some of its archives.
pub(crate) fn prefer_beside(
    choice: &mut Choice<'_>,
    location: &Location,
    name: &RuntimeName,
    arch: Arch,
) {
    let file = name.archive(&choice.release.version, arch);
    if let Location::File(registry) = location {
        // A name that exists is used even if it turns out not to be a readable file: then it is refused.
        if registry.below(&file).is_some_and(|beside| beside.exists()) {
            let frames = file.replace(".tar.gz", ".tar.zst");
            let beside = |_: &Zstd| registry.below(&frames).is_some_and(|beside| beside.exists());
            choice.artifact.zstd = choice.artifact.zstd.take().filter(beside);
            if let Some(zstd) = &mut choice.artifact.zstd {
                (zstd.download_url, zstd.parts) = (frames, Vec::new());
            }
            (choice.artifact.download_url, choice.artifact.parts) = (file, Vec::new());
        }
    }
}

fn missing_name(registry: &Registry, location: &Location, spec: &Spec) -> Error {
    let name = spec.name.as_str();
    if let Some(entry) = registry.refused.iter().find(|entry| entry.name == name) {
        return refused(location, &entry.name, &entry.version, &entry.reason);
    }
    let hint = match nearest(name, registry.runtimes.keys().map(RuntimeName::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None => "see joblet-exec list --available".to_owned(),
    };
    Error::NotFound(format!("no runtime is called {name} in {location}; {hint}"))
}

fn missing_version(
    registry: &Registry,
    location: &Location,
    spec: &Spec,
    version: &Version,
) -> Error {
    let (name, text) = (spec.name.as_str(), version.to_string());
    let same = registry.refused.iter().find(|entry| entry.name == name && entry.version == text);
    if let Some(entry) = same {
        return refused(location, name, &text, &entry.reason);
    }
    let versions = listed(registry.runtimes[&spec.name].keys());
    Error::NotFound(format!("{name} has no version {version} in {location}, only {versions}"))
}

fn refused(location: &Location, name: &str, version: &str, reason: &str) -> Error {
    let reason = format!("its entry {name:?}@{version:?} is refused: {reason}");
    Error::Registry { registry: location.to_string(), reason }
}

fn listed(items: impl IntoIterator<Item = impl ToString>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.as_slice() {
        [] => "nothing".to_owned(),
        items => items.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::local::Local;

    fn location() -> Location {
        Location::File(Local::from_path("registry.json".as_ref()))
    }

    fn registry() -> Registry {
        let entry = |version: &str, platforms: &str, more: &str| {
            format!(
                r#""{version}": {{"version": "{version}", "download_url": "x", "size": 1{more},
                    "checksum": "sha256:{}", "platforms": [{platforms}]}}"#,
                "0".repeat(64)
            )
        };
        let (both, one) = (r#""ubuntu-amd64", "ubuntu-arm64""#, r#""ubuntu-amd64""#);
        let yanked = r#", "yanked": "broken""#;
        let json = format!(
            r#"{{"version": "1", "runtimes": {{
                "demo": {{ {}, {}, {}, {} }},
                "gone": {{ {} }},
                "bad": {{ {} }} }} }}"#,
            entry("1.9.0", both, ""),
            entry("1.10.0", both, ""),
            entry("1.11.0", one, ""),
            entry("2.0.0-rc.1", both, ""),
            entry("1.0.0", both, yanked),
            entry("1.0.0", both, "").replace("sha256:", "md5:"),
        );
        serde_json::from_str(&json).unwrap()
    }

    fn chosen(spec: &str, arch: Arch) -> Result<String, String> {
        let registry = registry();
        resolve(&registry, &location(), &spec.parse().unwrap(), arch)
            .map(|choice| choice.release.version.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn latest_is_the_highest_that_runs_here() {
        assert_eq!(chosen("demo", Arch::Amd64).unwrap(), "1.11.0");
        assert_eq!(chosen("demo@latest", Arch::Arm64).unwrap(), "1.10.0");
        assert_eq!(chosen("demo@2.0.0-rc.1", Arch::Arm64).unwrap(), "2.0.0-rc.1");
        assert_eq!(chosen("demo@1", Arch::Arm64).unwrap(), "1.10.0");
        assert_eq!(chosen("demo@1.9", Arch::Amd64).unwrap(), "1.9.0");
        assert_eq!(chosen("gone@1.0.0", Arch::Amd64).unwrap(), "1.0.0");
    }

    #[test]
    fn missing_names_are_reported_with_similar_ones() {
        for (spec, message) in [
            ("dmeo", "no runtime is called dmeo in registry.json; did you mean demo?"),
            ("ruby", "see joblet-exec list --available"),
            ("demo@3.0.0", "has no version 3.0.0 in registry.json, only 1.9.0, 1.10.0, 1.11.0, 2."),
            ("demo@1.11.0", "demo@1.11.0 is not built for arm64, only for amd64"),
            ("demo@1.12", "no version of demo@1.12 in registry.json, only 1.9.0, 1.10.0"),
            ("gone", "every version in registry.json is yanked: 1.0.0"),
            ("bad@1.0.0", "its entry \"bad\"@\"1.0.0\" is refused: checksum"),
        ] {
            let error = chosen(spec, Arch::Arm64).unwrap_err();
            assert!(error.contains(message), "{spec}: {error}");
        }
    }
}
