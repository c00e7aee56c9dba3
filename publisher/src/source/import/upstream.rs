//! Imports a `manifest.yaml` of the earlier Joblet runtimes project: name, version, platforms, pip packages, and
//! versions of Python and Java, beside scripts that installed a runtime.

use super::Draft;
use yaml_serde::Value;

/// Keys that are converted or not needed.
const KNOWN: [&str; 8] = [
    "description", "environment", "java_version", "name", "packages", "platforms",
    "python_version", "version",
];

/// Converts the manifest.
///
/// # Errors
/// The rule that the file breaks; also if it is a manifest of this project already.
pub(super) fn manifest(text: &str) -> Result<Draft, String> {
    let map: yaml_serde::Mapping = yaml_serde::from_str(text).map_err(|error| error.to_string())?;
    if ["debian", "python", "urls"].iter().any(|key| map.contains_key(*key)) {
        return Err("is a manifest of this project already".into());
    }
    let one = |key: &str| map.get(key).and_then(plain);
    let list = |key: &str| {
        let values = map.get(key).and_then(Value::as_sequence);
        values.into_iter().flatten().filter_map(plain).collect::<Vec<_>>()
    };
    let mut draft = Draft {
        version: one("version"),
        description: one("description").filter(|text| !text.contains('\n')),
        platforms: list("platforms"),
        python: one("python_version"),
        ..Draft::default()
    };
    if let Some(exact) = &draft.python {
        let minor = exact.split('.').take(2).collect::<Vec<_>>().join(".");
        draft.notes.push(format!("Python is Debian's newest {minor}, not {exact}"));
        draft.python = Some(minor);
    }
    if let Some(java) = one("java_version") {
        let major = java.split('.').next().unwrap_or_default();
        draft.packages.push(format!("openjdk-{major}-jdk-headless"));
        draft
            .notes
            .push(format!("Java is Debian's newest {major}, not {java}; set a suite that has it"));
    }
    for package in list("packages") {
        if draft.python.is_some() {
            super::requirements::add(&mut draft, &package);
        } else {
            draft.notes.push(format!("package `{package}`: name the Debian package that has it"));
        }
    }
    for (name, value) in map.get("environment").and_then(Value::as_mapping).into_iter().flatten() {
        if let (Some(name), Some(value)) = (plain(name), plain(value)) {
            draft.environment.insert(name, value);
        }
    }
    let other = map.keys().filter_map(Value::as_str).filter(|key| !KNOWN.contains(key));
    draft.notes.extend(other.map(|key| format!("`{key}` has no equivalent")));
    draft.notes.push("use packages, `files`, `links` and `run` in place of setup-*.sh".into());
    draft.notes.push(
        "versions continue: set `version` higher than the last one of the old registry".into(),
    );
    Ok(draft)
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_migrate_with_notes() {
        let draft = manifest(
            "name: python-3.11-ml\nversion: 1.3.3\ndescription: Python with ML\npython_version: 3.11.7\n\
             platforms:\n  - ubuntu-amd64\npackages:\n  - numpy==1.26.2\nenvironment: { A: 1 }\ncuda: 12\n",
        )
        .unwrap();
        assert_eq!(
            (draft.version.as_deref(), draft.python.as_deref()),
            (Some("1.3.3"), Some("3.11"))
        );
        assert_eq!(
            (draft.requirements, draft.platforms),
            (vec!["numpy==1.26.2".into()], vec!["ubuntu-amd64".into()])
        );
        assert_eq!(draft.environment["A"], "1");
        assert_eq!(draft.notes.len(), 4, "{:?}", draft.notes);
        let draft =
            manifest("name: graalvmjdk-21\njava_version: 21.0.1\ncomponents: [js]\n").unwrap();
        assert_eq!(draft.packages, ["openjdk-21-jdk-headless"]);
        assert!(draft.notes.iter().any(|note| note == "`components` has no equivalent"));
        assert!(manifest("debian: {}\n").unwrap_err().contains("already"));
    }
}
