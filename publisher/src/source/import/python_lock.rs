//! Imports `pylock.toml` (PEP 751) and `uv.lock`, with exactly the pinned versions.

use super::Draft;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PyLock {
    requires_python: Option<String>,
    #[serde(default)]
    packages: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: Option<String>,
    marker: Option<String>,
    vcs: Option<toml::Value>,
    directory: Option<toml::Value>,
}

/// Parses `pylock.toml`.
///
/// # Errors
/// The rule that the file breaks.
pub(super) fn pylock(text: &str) -> Result<Draft, String> {
    let lock: PyLock = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let mut draft =
        Draft { python: Some(lock.requires_python.unwrap_or_default()), ..Draft::default() };
    for Locked { name, version, marker, vcs, directory } in lock.packages {
        match version.filter(|_| vcs.is_none() && directory.is_none()) {
            Some(version) => draft.requirements.push(pinned(&name, &version, marker.as_deref())),
            None => draft.notes.push(format!(
                "`{name}` is left out: it is not from an index; build a wheel and serve it with --find-links"
            )),
        }
    }
    Ok(draft)
}

fn pinned(name: &str, version: &str, marker: Option<&str>) -> String {
    match marker {
        Some(marker) => format!("{name}=={version} ; {marker}"),
        None => format!("{name}=={version}"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UvLock {
    requires_python: Option<String>,
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Option<String>,
    #[serde(default)]
    source: BTreeMap<String, toml::Value>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    #[serde(rename = "optional-dependencies", default)]
    extras: BTreeMap<String, Vec<Dependency>>,
}

#[derive(Deserialize, Clone)]
struct Dependency {
    name: String,
    version: Option<String>,
    marker: Option<String>,
    #[serde(default)]
    extra: Vec<String>,
}

impl Package {
    /// Whether it is the project itself.
    fn is_root(&self) -> bool {
        ["virtual", "editable"].iter().any(|kind| self.source.contains_key(*kind))
    }
}

/// Parses `uv.lock`: the dependencies of the project, without development groups and its own extras.
///
/// # Errors
/// The rule that the file breaks; also if it has no project.
pub(super) fn uv(text: &str) -> Result<Draft, String> {
    let lock: UvLock = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let mut draft =
        Draft { python: Some(lock.requires_python.unwrap_or_default()), ..Draft::default() };
    let roots: Vec<&Package> = lock.package.iter().filter(|package| package.is_root()).collect();
    if roots.is_empty() {
        return Err("has no project: a package whose source is virtual or editable".into());
    }
    // Package and version → the markers under which it is needed; `None` means always.
    let mut needed: BTreeMap<(String, String), BTreeSet<Option<String>>> = BTreeMap::new();
    let mut todo: Vec<(Dependency, Option<String>)> = Vec::new();
    todo.extend(
        roots.iter().flat_map(|root| root.dependencies.iter().map(|it| (it.clone(), None))),
    );
    while let Some((wanted, outer)) = todo.pop() {
        let Dependency { name, version, marker, extra } = wanted;
        let marker = match (outer, marker) {
            (Some(outer), Some(inner)) if outer != inner => {
                Some(format!("({outer}) and ({inner})"))
            }
            (Some(marker), _) | (None, Some(marker)) => Some(marker),
            (None, None) => None,
        };
        let is_it = |package: &&Package| {
            package.name == name
                && version.as_ref().is_none_or(|it| package.version.as_ref() == Some(it))
        };
        for package in lock.package.iter().filter(is_it) {
            let key = (name.clone(), package.version.clone().unwrap_or_default());
            let known = needed.entry(key).or_default();
            let new = !known.contains(&None) && known.insert(marker.clone());
            if !new && extra.is_empty() {
                continue;
            }
            let extras = extra.iter().filter_map(|extra| package.extras.get(extra)).flatten();
            let more = package.dependencies.iter().filter(|_| new).chain(extras);
            // Terminates for cyclic extras: only new entries are followed.
            todo.extend(more.filter(|_| new).map(|it| (it.clone(), marker.clone())));
        }
    }
    for ((name, version), markers) in needed {
        let package = lock
            .package
            .iter()
            .find(|it| it.name == name && it.version.as_deref() == Some(&version));
        if !package.is_some_and(|it| it.source.contains_key("registry")) {
            draft.notes.push(format!(
                "`{name}` is left out: it is not from an index; build a wheel and serve it with --find-links"
            ));
            continue;
        }
        let always = markers.contains(&None);
        let markers: Vec<String> =
            markers.into_iter().flatten().map(|it| format!("({it})")).collect();
        let marker = (!always).then(|| markers.join(" or "));
        draft.requirements.push(pinned(&name, &version, marker.as_deref()));
    }
    draft.notes.push("groups for development and extras of the project itself are left out".into());
    Ok(draft)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
version = 1
requires-python = ">=3.12"
[[package]]
name = "app"
version = "0.1.0"
source = { virtual = "." }
dependencies = [{ name = "a" }, { name = "win", marker = "sys_platform == 'win32'" }, { name = "b", extra = ["x"] }]
[package.dev-dependencies]
dev = [{ name = "pytest" }]
[[package]]
name = "a"
version = "1"
source = { registry = "https://example.org/simple" }
dependencies = [{ name = "c", marker = "python_full_version < '3.13'" }, { name = "a" }]
[[package]]
name = "b"
version = "2"
source = { registry = "https://example.org/simple" }
[package.optional-dependencies]
x = [{ name = "d" }]
[[package]]
name = "c"
version = "3"
source = { registry = "https://example.org/simple" }
[[package]]
name = "d"
version = "4"
source = { git = "https://example.org/d" }
[[package]]
name = "win"
version = "5"
source = { registry = "https://example.org/simple" }
[[package]]
name = "pytest"
version = "6"
source = { registry = "https://example.org/simple" }
"#;

    #[test]
    fn a_lock_is_pinned_without_development_packages() {
        let draft = uv(LOCK).unwrap();
        assert_eq!(
            draft.requirements,
            [
                "a==1",
                "b==2",
                "c==3 ; (python_full_version < '3.13')",
                "win==5 ; (sys_platform == 'win32')",
            ]
        );
        assert_eq!(
            (draft.python.as_deref(), draft.notes.len()),
            (Some(">=3.12"), 2),
            "{:?}",
            draft.notes
        );
        assert!(draft.notes[0].starts_with("`d` is left out"));
        assert!(uv("version = 1\n").unwrap_err().contains("has no project"));
    }
}
