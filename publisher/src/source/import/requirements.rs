//! Imports `requirements.txt` and `pyproject.toml`. (PEP 508, 621; pip's requirements file format.)

use super::Draft;
use crate::error::Error;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The text of a requirements file, with the files that it includes (`-r FILE`) in place of those lines. `read` are
/// the files that were read before, which are not read again.
///
/// # Errors
/// As [`super::text`], for each file.
pub(super) fn inlined(path: &Path, read: &mut Vec<PathBuf>) -> Result<String, Error> {
    read.push(path.canonicalize().unwrap_or(path.to_owned()));
    let mut all = String::new();
    for line in super::read_text(path)?.lines() {
        let file =
            ["--requirement", "-r"].iter().find_map(|option| line.trim().strip_prefix(option));
        let Some(file) = file.filter(|rest| !rest.is_empty()) else {
            all.push_str(line);
            all.push('\n');
            continue;
        };
        let file = file.split(" #").next().unwrap_or_default().trim_start_matches('=').trim();
        let file = path.with_file_name(file);
        let file = file.canonicalize().unwrap_or(file);
        if !read.contains(&file) {
            all.push_str(&inlined(&file, read)?);
        }
    }
    Ok(all)
}

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
            "`{line}` is left out: indexes are configured on the host, and the lock has what a file of constraints is for"
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
    let project = parsed.project.ok_or(
        "has no table [project]; with Poetry, export it: `poetry export -o requirements.txt`",
    )?;
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
