//! Generates a manifest from the requirements or lock of a project, or from a manifest of the earlier Joblet
//! runtimes project.
//!
//! In: the text of one file. Out: a [`Draft`], written as a manifest with notes on what cannot be converted.

mod python_lock;
mod requirements;
mod upstream;

use crate::{
    error::Error,
    fs::paths,
    source::{self, template},
};
use joblet_format::{Arch, RuntimeName};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// The content of the new manifest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Draft {
    version: Option<String>,
    description: Option<String>,
    platforms: Vec<String>,
    /// The project's requirement on its interpreter, such as `>=3.11` or `3.11.7`; `None` without Python.
    python: Option<String>,
    requirements: Vec<String>,
    /// Debian packages.
    packages: Vec<String>,
    environment: BTreeMap<String, String>,
    /// Notes on what cannot be converted, one line each.
    notes: Vec<String>,
}

/// Debian's interpreters: minor version and suite.
const PYTHONS: [(u32, &str); 2] = [(11, "bookworm"), (13, "trixie")];

/// Writes `sources/NAME/manifest.yaml` from the file `from`, and returns its path and the notes. Without a
/// lock, only packages uploaded before the day `before` are used.
///
/// # Errors
/// [`Error::Config`] if a manifest exists already, or `from` is malformed or of an unknown kind;
/// [`Error::File`].
pub fn write(
    sources: &Path,
    name: &RuntimeName,
    from: &Path,
    before: &str,
) -> Result<(PathBuf, Vec<String>), Error> {
    let path = source::manifest_path(sources, name);
    if std::fs::symlink_metadata(&path).is_ok() {
        return Err(Error::config(path, "exists already"));
    }
    let refused = |reason: String| Error::config(from, reason);
    let file = from.file_name().unwrap_or_default().to_string_lossy();
    let text = if is_list(&file) {
        requirements::inlined(from, &mut Vec::new())?
    } else {
        read_text(from)?
    };
    let draft = read(&file, &text).map_err(refused)?;
    let (text, notes) = render(name, draft, before).map_err(refused)?;
    // The result must be a valid manifest.
    source::parse(&text)
        .map_err(|reason| refused(format!("does not give a valid manifest: {reason}")))?;
    paths::write_below(sources, &path, text.as_bytes())?;
    Ok((path, notes))
}

/// The text of the file `path`.
fn read_text(path: &Path) -> Result<String, Error> {
    String::from_utf8(paths::read(path)?).map_err(|_| Error::config(path, "is not UTF-8"))
}

/// Whether the file `name` is a list of requirements.
fn is_list(name: &str) -> bool {
    matches!(name.rsplit_once('.'), Some((_, "txt" | "in")))
}

/// Parses the file `name` by its kind.
fn read(name: &str, text: &str) -> Result<Draft, String> {
    let extension = name.rsplit('.').next().unwrap_or_default();
    match name {
        "pyproject.toml" => requirements::pyproject(text),
        "uv.lock" => python_lock::uv(text),
        _ if name.starts_with("pylock.") && extension == "toml" => python_lock::pylock(text),
        _ if is_list(name) => Ok(requirements::lines(text)),
        _ if matches!(extension, "yaml" | "yml") => upstream::manifest(text),
        "poetry.lock" | "Pipfile" | "Pipfile.lock" => {
            Err("is not read; export it to a requirements.txt (`poetry export`, `pipenv requirements`)".into())
        }
        _ => Err("is of an unknown kind; use requirements*.txt, pyproject.toml, uv.lock, pylock.toml or \
        manifest.yaml"
            .into()),
    }
}

/// The interpreter for the requirement `wanted`: minor version and suite.
fn interpreter(wanted: &str) -> Option<(u32, &'static str)> {
    let fits = |minor: u32| {
        wanted.split(',').map(str::trim).filter(|clause| !clause.is_empty()).all(|clause| {
            let version = clause.trim_start_matches(|c: char| !c.is_ascii_digit());
            let operator = clause[..clause.len() - version.len()].trim();
            let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
            let (major, other) = (numbers.next().flatten(), numbers.next().flatten());
            let wanted = (major.unwrap_or(3), other.unwrap_or(0));
            let patch = numbers.next().flatten().is_some_and(|patch| patch > 0);
            match operator {
                ">=" => (3, minor) >= wanted,
                ">" => (3, minor) > wanted || (3, minor) == wanted && patch,
                "<" => (3, minor) < wanted || (3, minor) == wanted && patch,
                "<=" => (3, minor) <= wanted,
                "!=" => patch || (3, minor) != wanted,
                "~=" => (3, minor) >= wanted && major == Some(3),
                _ => (3, minor) == wanted,
            }
        })
    };
    PYTHONS.into_iter().find(|(minor, _)| fits(*minor))
}

fn render(
    name: &RuntimeName,
    mut draft: Draft,
    before: &str,
) -> Result<(String, Vec<String>), String> {
    let quoted = |text: &str| Value::from(text).to_string(); // JSON strings are valid YAML
    let list = |texts: &[String]| texts.iter().map(|it| quoted(it)).collect::<Vec<_>>().join(", ");
    let version = draft.version.as_deref().unwrap_or("1.0.0");
    let description = draft.description.as_deref().unwrap_or(template::DESCRIPTION);
    let mut text =
        format!("name: {name}\nversion: {version}\ndescription: {}\n", quoted(description));
    let platforms = if draft.platforms.is_empty() {
        template::platforms(&Arch::ALL)
    } else {
        draft.platforms.join(", ")
    };
    _ = writeln!(text, "platforms:\n  [{platforms}]"); // writing to a String cannot fail, here and below
    let mut suite = "bookworm";
    if let Some(wanted) = &draft.python {
        let (minor, of) = interpreter(wanted).ok_or_else(|| {
            let known = PYTHONS.map(|(minor, suite)| format!("3.{minor} ({suite})")).join(", ");
            format!("wants Python {wanted:?}; Debian has {known}")
        })?;
        suite = of;
        draft.packages.insert(0, format!("python3.{minor}"));
        _ = writeln!(text, "debian:\n  suite: {suite}\n  packages: [{}]", list(&draft.packages));
        _ = writeln!(
            text,
            "python:\n  version: \"3.{minor}\"\n  before: {before}\n  compile: true"
        );
        _ = writeln!(text, "  packages:");
        for requirement in &draft.requirements {
            _ = writeln!(text, "    - {}", quoted(requirement));
        }
        if draft.requirements.is_empty() {
            text.push_str("    []\n");
        }
    } else {
        _ = writeln!(text, "debian:\n  suite: {suite}\n  packages: [{}]", list(&draft.packages));
    }
    if !draft.environment.is_empty() {
        text.push_str("environment:\n");
        for (variable, value) in &draft.environment {
            _ = writeln!(text, "  {variable}: {}", quoted(value));
        }
    }
    let project = |requirement: &String| {
        let end = requirement.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)));
        requirement[..end.unwrap_or(requirement.len())].to_owned()
    };
    let plain = draft.requirements.iter().filter(|it| !it.contains(';')).map(project);
    let projects = plain.collect::<Vec<_>>().join(" ");
    if draft.python.is_some() {
        let code =
            format!("import importlib.metadata as m; [m.version(n) for n in '{projects}'.split()]");
        _ = writeln!(text, "check:\n  - [python3, -c, {}]", quoted(&code));
    } else {
        text.push_str("check:\n  - [sh, -c, \"true\"]\n");
    }
    let notes: String =
        draft.notes.iter().fold(String::new(), |all, note| all + "# note: " + note + "\n");
    Ok((notes + &text, draft.notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters() {
        for (wanted, minor) in [
            ("", Some(11)),
            (">=3.9", Some(11)),
            (">=3.12", Some(13)),
            (">=3.11,<3.13", Some(11)),
            ("==3.13.*", Some(13)),
            ("3.11.7", Some(11)),
            ("~=3.11", Some(11)),
            ("<3.11", None),
            (">=3.14", None),
            ("!=3.11.0, >=3.8", Some(13)),
        ] {
            assert_eq!(interpreter(wanted).map(|it| it.0), minor, "{wanted}");
        }
    }

    #[test]
    fn a_project_becomes_a_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let name: RuntimeName = "my-app".parse().unwrap();
        // Files that include each other are read once each.
        std::fs::create_dir(dir.path().join("more")).unwrap();
        std::fs::write(dir.path().join("more/base.in"), "six\n--requirement=most.txt\n").unwrap();
        std::fs::write(dir.path().join("more/most.txt"), "-rbase.in\ntqdm\n").unwrap();
        for (file, text, requirements, notes) in [
            (
                "requirements.txt",
                "# x\nnumpy==1.26.2 \\\n    --hash=sha256:00\nrequests[socks]>=2 ; python_version < '4'\n-r more/base.in\n\
                 ./local\nflask @ https://example.org/f.whl\n-c pins.txt\n",
                &["numpy==1.26.2", "requests[socks]>=2 ; python_version < '4'", "six", "tqdm"][..],
                3,
            ),
            (
                "pyproject.toml",
                "[project]\nname = 'x'\ndescription = 'An app'\nrequires-python = '>=3.11'\n\
                 dependencies = ['numpy>=1']\n[project.optional-dependencies]\na = ['b']\n",
                &["numpy>=1"],
                1,
            ),
            (
                "pylock.toml",
                "lock-version = '1.0'\nrequires-python = '>=3.11'\n[[packages]]\nname = 'a'\nversion = '1'\n\
                 marker = \"sys_platform == 'linux'\"\n[[packages]]\nname = 'b'\n[packages.vcs]\nurl = 'x'\n",
                &["a==1 ; sys_platform == 'linux'"],
                1,
            ),
        ] {
            let from = dir.path().join(file);
            std::fs::write(&from, text).unwrap();
            let sources = dir.path().join(file.replace('.', "-"));
            let (_, found) = write(&sources, &name, &from, "2026-01-01").unwrap();
            let source = source::read(&sources, &name).unwrap();
            let python = source.python.unwrap();
            assert_eq!(python.packages, requirements, "{file}");
            assert_eq!(
                (python.version.as_str(), found.len()),
                ("3.11", notes),
                "{file}: {found:?}"
            );
            let error = write(&sources, &name, &from, "2026-01-01").unwrap_err().to_string();
            assert!(error.ends_with("exists already"), "{error}");
        }
        for (file, text, want) in [
            ("setup.cfg", "", "setup.cfg: is of an unknown kind; use requirements*.txt"),
            ("poetry.lock", "", "poetry.lock: is not read; export it to a requirements.txt"),
            ("a/pyproject.toml", "[tool.poetry]\n", "has no table [project]; with Poetry, export"),
            ("b.txt", "-r none.txt\n", "none.txt"),
        ] {
            let odd = dir.path().join(file);
            std::fs::create_dir_all(odd.parent().unwrap()).unwrap();
            std::fs::write(&odd, text).unwrap();
            let error = write(dir.path(), &name, &odd, "2026-01-01").unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
