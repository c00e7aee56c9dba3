//! `runtime.yml` of a tree.

use crate::{
    error::Error,
    lock::{Input, Kind},
    source::{Source, expand, language::language},
    tree::Tree,
};
use joblet_format::{Arch, Mount, RuntimeYml};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Directories mounted read-only, in the order of the mounts.
const READ_ONLY: [&str; 6] = ["bin", "etc", "lib", "lib64", "sbin", "usr"];

/// Directories of an image of which each job gets a private copy, as with `joblet-exec run --image`.
const WRITABLE: [&str; 5] = ["home", "root", "run", "srv", "var"];

/// Default environment variables.
const ENVIRONMENT: [(&str, &str); 2] =
    [("LANG", "C.UTF-8"), ("PATH", "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin")];

/// The text of `runtime.yml`: one mount for each top-level directory of the tree.
///
/// A top-level symlink (`bin` → `usr/bin`) is mounted like a directory. Other top-level directories, such
/// as `opt`, are mounted read-only too; `tmp` is private and writable.
///
/// `language` and `packages` are for Joblet's tools, which display them: the packages of the manifest
/// and every wheel of `inputs`, with their locked versions.
///
/// # Errors
/// [`Error::Config`] if the manifest's `environment` is invalid.
pub(crate) fn render(
    tree: &Tree,
    source: &Source,
    inputs: &[Input],
    arch: Arch,
    manifest: &Path,
) -> Result<String, Error> {
    let refused = |reason: String| Error::config(manifest, reason);
    let image = &source.inherited;
    // Images may have programs in the root directory, such as /entrypoint.sh.
    let is_file = |path: &str| image.is_image && tree.file(path).is_some();
    let is_top = |path: &&str| !path.contains('/') && (tree.is_dir(path) || is_file(path));
    let tops: Vec<&str> = tree.iter().map(|(path, _)| path).filter(is_top).collect();
    let standard = READ_ONLY.iter().copied().filter(|name| tops.contains(name));
    let empty = |name: &str| tree.below(name).next().is_none();
    // Empty ones of an image every job has anyway, and can write to.
    let unneeded = |name: &str| image.is_image && WRITABLE.contains(&name) && empty(name);
    let others = tops.iter().copied();
    let others =
        others.filter(|name| !READ_ONLY.contains(name) && *name != "tmp" && !unneeded(name));
    let mount = |name: &str, readonly| Mount {
        source: format!("isolated/{name}"),
        target: format!("/{name}"),
        readonly,
    };
    let workdir = source.workdir.as_ref().or(image.workdir.as_ref());
    // As `joblet-exec run --image` has it, where jobs start they can write.
    let start = workdir.and_then(|dir| dir.trim_start_matches('/').split('/').next());
    let writes = |name: &str| image.is_image && (WRITABLE.contains(&name) || start == Some(name));
    let mut mounts: Vec<Mount> =
        standard.chain(others).map(|name| mount(name, !writes(name))).collect();
    if tops.contains(&"tmp") {
        mounts.push(mount("tmp", false));
    }
    let defaults =
        ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut environment: BTreeMap<String, String> = defaults.collect();
    let bundle = "etc/ssl/certs/ca-certificates.crt";
    if tree.file(bundle).is_some() {
        // For uploaded programs, whose OpenSSL may have another default.
        environment.insert("SSL_CERT_FILE".into(), format!("/{bundle}"));
    }
    environment.extend(image.environment.clone());
    for (name, value) in &source.environment {
        environment.insert(name.clone(), expand(value, arch).map_err(refused)?);
    }
    let (name, version) = (source.name.as_str(), source.version.to_string());
    let description = &source.description;
    let yml = RuntimeYml::new(name, &version, description, mounts, environment, &[arch]);
    let mut yml = yml.map_err(refused)?;
    if let Some(workdir) = workdir {
        yml = yml.with_workdir(workdir).map_err(refused)?;
    }
    let language = Some(language(&source.name).to_lowercase()).filter(|it| it != "other");
    let file = ForJoblet { yml: &yml, language, packages: packages(source, inputs) };
    yaml_serde::to_string(&file).map_err(|error| refused(error.to_string()))
}

/// `runtime.yml` with the members for Joblet's tools.
#[derive(Serialize)]
struct ForJoblet<'a> {
    #[serde(flatten)]
    yml: &'a RuntimeYml,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    packages: Vec<String>,
}

/// `NAME=VERSION` of the manifest's Debian packages, `NAME==VERSION` of wheels, sorted.
fn packages(source: &Source, inputs: &[Input]) -> Vec<String> {
    let debian = source.debian.iter().flat_map(|debian| &debian.packages);
    let asked: BTreeSet<_> =
        debian.map(|package| package.split('=').next().unwrap_or(package)).collect();
    let named = |input: &Input| {
        let (name, version) = input.package()?;
        match input.kind {
            Kind::Deb => asked.contains(&*name).then(|| format!("{name}={version}")),
            Kind::Wheel => Some(format!("{name}=={version}")),
            Kind::Tar | Kind::Image | Kind::Layer => None,
        }
    };
    let named: BTreeSet<_> = inputs.iter().filter_map(named).collect();
    named.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Node;

    #[test]
    fn mounts_follow_the_tree() {
        let mut tree = Tree::default();
        for path in ["usr/bin", "etc", "tmp", "opt"] {
            tree.insert(path, Node::Dir).unwrap();
        }
        tree.insert("bin", Node::Link("usr/bin".into())).unwrap();
        tree.insert("lib64", Node::Link("usr/lib64".into())).unwrap();
        let content = b"x".to_vec().into();
        let file = Node::File { executable: false, content };
        tree.insert("etc/ssl/certs/ca-certificates.crt", file).unwrap();
        let source = crate::source::parse(
            "name: d\nversion: 1.0.0\nplatforms: [ubuntu-arm64]\n\
             environment: { LANG: C, HOMES: '/x/{multiarch}' }\n",
        )
        .unwrap();
        let text = render(&tree, &source, &[], Arch::Arm64, Path::new("m")).unwrap();
        let yml: RuntimeYml = yaml_serde::from_str(&text).unwrap();
        let mounts: Vec<_> =
            yml.mounts().iter().map(|mount| (mount.target.as_str(), mount.readonly)).collect();
        assert_eq!(
            mounts,
            [("/bin", true), ("/etc", true), ("/usr", true), ("/opt", true), ("/tmp", false)]
        );
        assert_eq!(yml.environment()["LANG"], "C");
        assert_eq!(yml.environment()["HOMES"], "/x/aarch64-linux-gnu");
        assert!(yml.environment().contains_key("SSL_CERT_FILE"));
        assert!(yml.runs_on(Arch::Arm64) && !yml.runs_on(Arch::Amd64));
    }

    #[test]
    fn joblets_tools_get_language_and_packages() {
        let source = crate::source::parse(
            "name: python-3.11-ml\nversion: 1.0.0\nplatforms: [ubuntu-amd64]\n\
             debian: { suite: bookworm, packages: [python3.11, g++=12] }\n",
        )
        .unwrap();
        let input = |kind, name: &str| Input {
            kind,
            name: name.into(),
            size: Some(1),
            sha256: joblet_format::Checksum::from_digest([0; 32]),
        };
        let inputs = [
            input(Kind::Wheel, "NumPy-1.26.2-py3-none-any.whl"),
            input(Kind::Deb, "debian/pool/main/p/python3.11_3.11.2-6_amd64.deb"),
            input(Kind::Deb, "debian/pool/main/g/g%2b%2b_12_amd64.deb"),
            input(Kind::Deb, "debian/pool/main/b/bash_5_amd64.deb"),
        ];
        let text = render(&Tree::default(), &source, &inputs, Arch::Amd64, Path::new("m")).unwrap();
        let shown =
            "language: python\npackages:\n- g++=12\n- numpy==1.26.2\n- python3.11=3.11.2-6\n";
        assert!(text.ends_with(shown), "{text}");
        // joblet-exec accepts it.
        let yml: RuntimeYml = yaml_serde::from_str(&text).unwrap();
        assert!(yml.ignored().is_empty() && yml.name() == "python-3.11-ml");
    }

    #[test]
    fn an_invalid_environment_is_refused() {
        let source = crate::source::parse(
            "name: d\nversion: 1.0.0\nplatforms: [ubuntu-arm64]\nenvironment: { 'A=B': x }\n",
        );
        let error =
            render(&Tree::default(), &source.unwrap(), &[], Arch::Arm64, Path::new("m.yaml"));
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "m.yaml: environment: \"A=B\" cannot be a variable");
    }
}
