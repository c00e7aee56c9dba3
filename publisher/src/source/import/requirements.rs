//! Imports `requirements.txt` and `pyproject.toml`. (PEP 508, 621; pip's requirements file format.)

use super::Draft;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The requirements of a requirements file.
pub(super) fn lines(text: &str) -> Draft {
    let mut draft = Draft { python: Some(String::new()), ..Draft::default() };
    for line in text.replace("\\\n", " ").lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // Hashes are in the lock instead.
        let line = line.split(" --hash").next().unwrap_or_default().trim();
        add(&mut draft, line);
    }
    draft
}

/// Adds a requirement, or a note if wheels of an index cannot satisfy it.
pub(super) fn add(draft: &mut Draft, line: &str) {
    let (requirement, _) = line.split_once(';').unwrap_or((line, ""));
    if line.starts_with('-') {
        draft.notes.push(format!(
            "`{line}` is left out: options are configured on the host, other files are imported separately"
        ));
    } else if requirement.contains(['@', '/', '\\']) {
        draft.notes.push(format!(
            "`{line}` is left out: only wheels of an index can be locked; build one and serve it with --find-links"
        ));
    } else {
        draft.requirements.push(line.to_owned());
    }
}

#[derive(Deserialize)]
struct PyProject {
    project: Option<Project>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Project {
    description: Option<String>,
    requires_python: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<String>>,
}

/// The dependencies of a project; optional ones are listed in notes.
///
/// # Errors
/// The rule that the file breaks.
pub(super) fn pyproject(text: &str) -> Result<Draft, String> {
    let parsed: PyProject = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let project = parsed.project.ok_or("has no table [project]")?;
    let description = project.description.filter(|text| !text.contains('\n'));
    let python = Some(project.requires_python.unwrap_or_default());
    let mut draft = Draft { description, python, ..Draft::default() };
    project.dependencies.iter().for_each(|line| add(&mut draft, line));
    for (extra, requirements) in &project.optional_dependencies {
        let requirements = requirements.join(", ");
        draft.notes.push(format!("the extra `{extra}` is left out: {requirements}"));
    }
    Ok(draft)
}
