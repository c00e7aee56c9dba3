//! `runtime.yml`: which directories of a runtime a job sees, and where.

use crate::{Arch, unique};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Largest `runtime.yml` that a reader accepts, in bytes.
pub const MAX_RUNTIME_YML_BYTES: u64 = 256 << 10;

/// Most mounts in one `runtime.yml`.
const MAX_MOUNTS: usize = 256;

/// Reserved targets: every job gets its own, so a runtime may not mount anything on or below them.
const RESERVED_TARGETS: [&str; 4] = ["/dev", "/proc", "/sys", "/work"];

/// Reserved targets that Joblet's own runtimes mount: such a mount has no effect.
const BROUGHT: [&str; 3] = ["/dev", "/proc", "/sys"];

/// The configuration of a runtime, beside its `isolated/` directory.
///
/// Wire format (YAML), as Joblet reads it:
///
/// ```yaml
/// name: python-3.11-ml
/// version: 1.4.0            # may also be an unquoted 3.11: text, never a number
/// description: Python 3.11 with NumPy
/// mounts:
///   - { source: isolated/usr, target: /usr, readonly: true }
/// environment: { PATH: "/usr/local/bin:/usr/bin:/bin" }
/// requirements: { architectures: [amd64] }
/// workdir: /app             # where jobs start, instead of /work; only runtimes made of images have it
/// ```
///
/// Unknown and duplicate keys are refused. `language` and `packages`, which Joblet's tools show, are
/// accepted and have no meaning here. So are `type`, `init` and `package_manager`, `selective` of a
/// mount, and mounts on `/dev`, `/proc` and `/sys`, which every job has anyway: these are named by
/// [`RuntimeYml::ignored`]. Joblet ignores unknown keys. A value of this type keeps every rule
/// of [`Mount`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawRuntimeYml")]
pub struct RuntimeYml {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    mounts: Vec<Mount>,
    environment: BTreeMap<String, String>,
    requirements: Requirements,
    #[serde(skip_serializing)]
    ignored: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workdir: Option<String>,
}

/// One directory or file of a runtime that jobs see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Path below the runtime's directory: relative, without `.` and `..`.
    pub source: String,
    /// Path inside the job: absolute, normal, not `/` and not below `/dev`, `/proc`, `/sys`, `/work`.
    pub target: String,
    /// `false` gives each job a private writable copy. The runtime itself is never written.
    pub readonly: bool,
}

/// Requirements of a runtime on its host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirements {
    /// The architectures it runs on, by the names of [`Arch`] or of the kernel (`x86_64`); empty: any.
    /// Other names match no host.
    #[serde(default)]
    pub architectures: Vec<String>,
}

impl RuntimeYml {
    /// Builds a configuration, and checks the rules that a reader applies.
    ///
    /// # Errors
    /// The entry and the rule it breaks.
    pub fn new(
        name: &str,
        version: &str,
        description: &str,
        mounts: Vec<Mount>,
        environment: BTreeMap<String, String>,
        architectures: &[Arch],
    ) -> Result<Self, String> {
        Self::try_from(RawRuntimeYml {
            name: name.to_owned(),
            version: version.to_owned(),
            description: description.to_owned(),
            mounts: mounts.into_iter().map(RawMount::from).collect(),
            environment,
            requirements: Requirements {
                architectures: architectures.iter().map(Arch::to_string).collect(),
            },
            ..RawRuntimeYml::default()
        })
    }

    /// The same, with the directory that jobs start in.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn with_workdir(mut self, workdir: &str) -> Result<Self, String> {
        check_workdir(workdir)?;
        self.workdir = Some(workdir.to_owned());
        Ok(self)
    }

    /// The directory that jobs start in, if it is another one than `/work`.
    pub fn workdir(&self) -> Option<&str> {
        self.workdir.as_deref()
    }

    /// The runtime's name. Informative: its directory in the store identifies it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version as written; empty where the file has none.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// One line for people.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The mounts in the file's order.
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// The variables set for every job.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Whether its requirements allow `arch`.
    pub fn runs_on(&self, arch: Arch) -> bool {
        let declared = &self.requirements.architectures;
        let kernels = match arch {
            Arch::Amd64 => "x86_64",
            Arch::Arm64 => "aarch64",
        };
        declared.is_empty() || declared.iter().any(|name| name == arch.as_str() || name == kernels)
    }

    /// Descriptions of members without effect here.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Its requirements on the host.
    pub fn requirements(&self) -> &Requirements {
        &self.requirements
    }
}

/// The file before the rules are applied.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRuntimeYml {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    description: String,
    mounts: Vec<RawMount>,
    #[serde(default, deserialize_with = "unique::map")]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    requirements: Requirements,
    #[serde(default)]
    workdir: Option<String>,
    #[serde(default, rename = "language")]
    _language: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "packages")]
    _packages: Option<serde::de::IgnoredAny>,
    package_manager: Option<serde::de::IgnoredAny>,
    #[serde(rename = "type")]
    kind: Option<serde::de::IgnoredAny>,
    init: Option<serde::de::IgnoredAny>,
}

/// A mount before its rules are applied.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMount {
    source: String,
    target: String,
    #[serde(default = "yes")]
    readonly: bool,
    selective: Option<serde::de::IgnoredAny>,
}

impl From<Mount> for RawMount {
    fn from(Mount { source, target, readonly }: Mount) -> Self {
        Self { source, target, readonly, selective: None }
    }
}

impl TryFrom<RawRuntimeYml> for RuntimeYml {
    type Error = String;

    fn try_from(raw: RawRuntimeYml) -> Result<Self, String> {
        if raw.mounts.len() > MAX_MOUNTS {
            return Err(format!("{} mounts are more than {MAX_MOUNTS}", raw.mounts.len()));
        }
        let mut ignored = Vec::new();
        for (key, is_there) in [
            ("type", raw.kind.is_some()),
            ("init", raw.init.is_some()),
            ("package_manager", raw.package_manager.is_some()),
        ] {
            ignored.extend(is_there.then(|| key.to_owned()));
        }
        let (mut targets, mut mounts) = (BTreeSet::new(), Vec::new());
        for (index, mount) in raw.mounts.iter().enumerate() {
            let refuse = |rule: &str| Err(format!("mounts[{index}]: {rule}"));
            if let Err(rule) = check_source(&mount.source) {
                return refuse(&format!("source {:?} {rule}", mount.source));
            }
            if BROUGHT.contains(&mount.target.as_str()) {
                ignored.push(format!("the mount on {}", mount.target));
                continue;
            }
            if let Err(rule) = check_target(&mount.target) {
                return refuse(&format!("target {:?} {rule}", mount.target));
            }
            if !targets.insert(&mount.target) {
                return refuse(&format!("target {:?} is mounted twice", mount.target));
            }
            if mount.selective.is_some() {
                ignored.push(format!("mounts[{index}].selective"));
            }
            let (source, target) = (mount.source.clone(), mount.target.clone());
            mounts.push(Mount { source, target, readonly: mount.readonly });
        }
        raw.workdir.as_deref().map_or(Ok(()), check_workdir)?;
        for (name, value) in &raw.environment {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(format!("environment: {name:?} cannot be a variable"));
            }
        }
        Ok(Self {
            name: raw.name,
            version: raw.version,
            description: raw.description,
            mounts,
            environment: raw.environment,
            requirements: raw.requirements,
            ignored,
            workdir: raw.workdir,
        })
    }
}

/// Checks that `source` is a path below the runtime's directory, without file access.
fn check_source(source: &str) -> Result<(), &'static str> {
    if source.starts_with('/') {
        return Err("is absolute: it must lie below the runtime's directory");
    }
    check_components(source)
}

/// Whether `workdir` is a directory of the job by its text alone.
fn check_workdir(workdir: &str) -> Result<(), String> {
    if workdir.starts_with('/') && !workdir.starts_with("/proc") && !workdir.contains('\0') {
        return Ok(());
    }
    Err(format!("workdir {workdir:?} is not an absolute path to work in"))
}

/// Checks that `target` is a path in the job that a runtime may mount on, without file access.
fn check_target(target: &str) -> Result<(), &'static str> {
    let Some(inner) = target.strip_prefix('/') else { return Err("is not absolute") };
    check_components(inner)?;
    let below = |reserved: &&str| {
        target.strip_prefix(*reserved).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if RESERVED_TARGETS.iter().any(below) {
        return Err("is reserved: every job gets its own");
    }
    Ok(())
}

fn check_components(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("names no file or directory of its own");
    }
    if path.contains('\0') {
        return Err("contains a NUL byte");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("contains `.`, `..` or an empty component");
    }
    Ok(())
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<RuntimeYml, yaml_serde::Error> {
        yaml_serde::from_str(yaml)
    }

    fn mount(source: &str, target: &str) -> String {
        format!("name: demo\nmounts:\n  - {{ source: {source:?}, target: {target:?} }}\n")
    }

    #[test]
    fn a_version_is_text() {
        for text in ["3.11", "3.10", "1.4.0", "'3.10'", "\"3.10\"", "3", "1e3", "0x10"] {
            let yml = parse(&format!("name: demo\nversion: {text}\nmounts: []\n")).unwrap();
            assert_eq!(yml.version(), text.trim_matches(['"', '\'']));
        }
    }

    #[test]
    fn environment_values_are_text() {
        let yml = parse("name: d\nmounts: []\nenvironment: { A: 1, B: 1.10, C: true, D: \"\" }\n");
        let values: Vec<_> = yml.unwrap().environment().values().cloned().collect();
        assert_eq!(values, ["1", "1.10", "true", ""]);
    }

    #[test]
    fn the_file_of_the_description_parses() {
        let yml = parse(include_str!("../fixtures/runtime-of-the-description.yml")).unwrap();
        assert_eq!((yml.name(), yml.version()), ("python-3.11-ml", "3.11"));
        assert_eq!(yml.mounts().len(), 5);
        assert!(!yml.mounts()[4].readonly);
        assert_eq!(yml.environment()["OMP_NUM_THREADS"], "1");
        assert!(yml.runs_on(Arch::Arm64));
    }

    #[test]
    fn files_of_joblet_are_accepted_and_members_without_effect_are_named() {
        let yml = parse(
            "name: openjdk-21\nversion: \"21\"\ntype: language-runtime\nlanguage: java\n\
             packages: [jdk]\ninit: true\npackage_manager: { type: apt }\nmounts:\n\
             - { source: isolated/usr, target: /usr, readonly: true, selective: [bin, lib] }\n\
             - { source: isolated/proc, target: /proc, readonly: true }\n\
             - { source: isolated/sys, target: /sys }\n- { source: isolated/dev, target: /dev }\n\
             - { source: isolated/tmp, target: /tmp, readonly: false }\n\
             requirements: { architectures: [x86_64], gpu: false }\n",
        )
        .unwrap();
        let targets: Vec<_> = yml.mounts().iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(targets, ["/usr", "/tmp"]);
        let named = "type, init, package_manager, mounts[0].selective, the mount on /proc, \
                     the mount on /sys, the mount on /dev";
        assert_eq!(yml.ignored().join(", "), named);
        assert!(yml.runs_on(Arch::Amd64) && !yml.runs_on(Arch::Arm64));
        // Members for Joblet's tools cause no warning: every runtime of this project has them.
        let plain = parse("name: d\nlanguage: java\npackages: [jdk]\nmounts: []\n").unwrap();
        assert!(plain.ignored().is_empty() && plain.runs_on(Arch::Arm64));
    }

    #[test]
    fn a_round_trip_changes_nothing() {
        let yml = parse(include_str!("../fixtures/runtime-of-the-description.yml")).unwrap();
        assert_eq!(parse(&yaml_serde::to_string(&yml).unwrap()).unwrap(), yml);
    }

    #[test]
    fn mounts_stay_inside() {
        assert!(parse(&mount("isolated/usr", "/usr")).is_ok());
        for (source, target, rule) in [
            ("/etc", "/etc", "is absolute"),
            ("../other-1.0.0", "/usr", "contains `.`"),
            ("isolated/../../x", "/usr", "contains `.`"),
            (".", "/usr", "contains `.`"),
            ("", "/usr", "names no file"),
            ("a//b", "/usr", "empty component"),
            ("a/", "/usr", "empty component"),
            ("usr", "usr", "is not absolute"),
            ("usr", "/", "names no file"),
            ("usr", "/..", "contains `.`"),
            ("usr", "/usr/../etc", "contains `.`"),
            ("/proc", "/proc", "is absolute"),
            ("usr", "/proc/x", "is reserved: every job gets its own"),
            ("usr", "/dev/shm", "is reserved: every job gets its own"),
            ("usr", "/work", "is reserved: every job gets its own"),
            ("usr", "/a\0b", "NUL"),
        ] {
            let error = parse(&mount(source, target)).unwrap_err().to_string();
            assert!(
                error.contains("mounts[0]") && error.contains(rule),
                "{source} {target}: {error}"
            );
        }
        assert!(parse(&mount("usr", "/developer")).is_ok());
    }

    #[test]
    fn malformed_files_are_refused() {
        let many: String =
            (0..10_000).map(|n| format!("  - {{source: a, target: /m{n}}}\n")).collect();
        for (yaml, reason) in [
            ("name: d\nmounts: []\nmount: []\n", "unknown field `mount`"),
            ("name: d\nname: e\nmounts: []\n", "duplicate"),
            ("name: d\nmounts: []\nenvironment: {A: x, A: y}\n", "duplicate key \"A\""),
            ("name: d\nmounts: []\nenvironment: {\"A=B\": x}\n", "cannot be a variable"),
            ("name: d\nmounts: [{source: a, target: /a, readonly: \"no\"}]\n", "invalid type"),
            ("name: d\nmounts: [{source: a, target: /a}, {source: b, target: /a}]\n", "mounts[1]"),
            (&format!("name: d\nmounts:\n{many}"), "10000 mounts"),
            ("mounts: []\n", "missing field `name`"),
        ] {
            let error = parse(yaml).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
