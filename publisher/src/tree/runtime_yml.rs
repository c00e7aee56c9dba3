//! The tree → `runtime.yml`.

use crate::{
    error::Error,
    source::{Source, expand},
    tree::Tree,
};
use joblet_format::{Arch, Mount, RuntimeYml};
use std::{collections::BTreeMap, path::Path};

/// Directories that jobs see read-only, in the order in which they are mounted.
const READ_ONLY: [&str; 6] = ["bin", "etc", "lib", "lib64", "sbin", "usr"];

/// Variables of every job unless the manifest has others.
const ENVIRONMENT: [(&str, &str); 2] =
    [("LANG", "C.UTF-8"), ("PATH", "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin")];

/// The text of `runtime.yml`: one mount for each top-level directory of the tree.
///
/// A top-level link (`bin` → `usr/bin`) is mounted like a directory. Other top-level entries, such
/// as `opt`, are mounted read-only too; `tmp` is private and writable.
///
/// # Errors
/// [`Error::Config`] if the manifest's `environment` cannot be one.
pub fn render(tree: &Tree, source: &Source, arch: Arch, manifest: &Path) -> Result<String, Error> {
    let refused = |reason: String| Error::config(manifest, reason);
    let is_top = |path: &&str| !path.contains('/') && tree.is_dir(path);
    let tops: Vec<&str> = tree.iter().map(|(path, _)| path).filter(is_top).collect();
    let standard = READ_ONLY.iter().copied().filter(|name| tops.contains(name));
    let others = tops.iter().copied().filter(|name| !READ_ONLY.contains(name) && *name != "tmp");
    let mount = |name: &str, readonly| Mount {
        source: format!("isolated/{name}"),
        target: format!("/{name}"),
        readonly,
    };
    let mut mounts: Vec<Mount> = standard.chain(others).map(|name| mount(name, true)).collect();
    if tops.contains(&"tmp") {
        mounts.push(mount("tmp", false));
    }
    let defaults =
        ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut environment: BTreeMap<String, String> = defaults.collect();
    let bundle = "etc/ssl/certs/ca-certificates.crt";
    if tree.file(bundle).is_some() {
        // For programs that a job brings along, whose OpenSSL looks elsewhere.
        environment.insert("SSL_CERT_FILE".into(), format!("/{bundle}"));
    }
    for (name, value) in &source.environment {
        environment.insert(name.clone(), expand(value, arch).map_err(refused)?);
    }
    let (name, version) = (source.name.as_str(), source.version.to_string());
    let description = &source.description;
    let yml = RuntimeYml::new(name, &version, description, mounts, environment, &[arch]);
    let yml = yml.map_err(refused)?;
    yaml_serde::to_string(&yml).map_err(|error| refused(error.to_string()))
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
        let text = render(&tree, &source, Arch::Arm64, Path::new("m")).unwrap();
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
    fn an_environment_that_cannot_be_is_refused() {
        let source = crate::source::parse(
            "name: d\nversion: 1.0.0\nplatforms: [ubuntu-arm64]\nenvironment: { 'A=B': x }\n",
        );
        let error = render(&Tree::default(), &source.unwrap(), Arch::Arm64, Path::new("m.yaml"));
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "m.yaml: environment: \"A=B\" cannot be a variable");
    }
}
