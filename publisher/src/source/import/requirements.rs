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
    match left_out(line) {
        Some(reason) => draft.notes.push(format!("`{line}` is left out: {reason}")),
        None => draft.requirements.push(line.to_owned()),
    }
}

/// Why a wheel of an index cannot satisfy `line`, if so.
fn left_out(line: &str) -> Option<&'static str> {
    let option = line.split([' ', '=']).next().unwrap_or_default();
    let (requirement, _) = line.split_once(';').unwrap_or((line, ""));
    let is_git = ["git+", "hg+", "svn+", "bzr+", "git:", "git@"].iter().any(|it| line.contains(it));
    match option {
        _ if option.starts_with("-e") || option == "--editable" => Some(if is_git {
            "an editable git requirement is not a wheel of an index; build one and serve it with --find-links"
        } else {
            "an editable requirement is not a wheel of an index; build one and serve it with --find-links, or use `files`"
        }),
        _ if option.starts_with("-c") || option == "--constraint" => {
            Some("the lock has what a file of constraints is for")
        }
        _ if INDEX_OPTIONS
            .iter()
            .any(|it| option == *it || it.len() == 2 && option.starts_with(it)) =>
        {
            Some("indexes are configured on the host (UV_INDEX, UV_FIND_LINKS or pip.conf)")
        }
        _ if option.starts_with('-') => Some("a manifest has no such option of pip"),
        _ if is_git => Some(
            "a git requirement is not a wheel of an index; build one and serve it with --find-links",
        ),
        _ if requirement.contains("://") => {
            Some("an address is not a wheel of an index; serve that wheel with --find-links")
        }
        _ if requirement.contains(['@', '/', '\\']) || requirement.starts_with('.') => Some(
            "a local path is not a wheel of an index; build one and serve it with --find-links",
        ),
        _ => None,
    }
}

/// Options of pip that choose indexes.
const INDEX_OPTIONS: [&str; 7] = [
    "-i", "--index-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--trusted-host",
];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_requirement_is_left_out_for_its_own_reason() {
        for (line, want) in [
            ("numpy==1.26.2", None),
            ("requests[socks]>=2 ; python_version < '4'", None),
            ("-e git+https://x/y", Some("an editable git requirement is not a wheel of an index")),
            ("-e .", Some("an editable requirement is not a wheel of an index")),
            ("--editable=./app", Some("an editable requirement is not a wheel of an index")),
            ("git+https://x/y@main#egg=y", Some("a git requirement is not a wheel of an index")),
            ("y @ git+ssh://git@x/y", Some("a git requirement is not a wheel of an index")),
            ("y @ https://x/y-1-py3-none-any.whl", Some("an address is not a wheel of an index")),
            ("y @ file:///x", Some("an address is not a wheel of an index")),
            ("./local", Some("a local path is not a wheel of an index")),
            (".", Some("a local path is not a wheel of an index")),
            ("-c pins.txt", Some("the lock has what a file of constraints is for")),
            ("--index-url=https://x", Some("indexes are configured on the host")),
            ("-ihttps://x", Some("indexes are configured on the host")),
            ("--pre", Some("a manifest has no such option of pip")),
        ] {
            let found = left_out(line);
            assert_eq!(found.is_some(), want.is_some(), "{line}: {found:?}");
            assert!(
                found.unwrap_or_default().starts_with(want.unwrap_or_default()),
                "{line}: {found:?}"
            );
        }
    }
}
