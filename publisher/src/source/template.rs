//! The template of a new manifest.

use crate::{error::Error, fs::paths, source};
use joblet_format::RuntimeName;
use std::path::{Path, PathBuf};

const TEMPLATE: &str = r#"name: NAME            # = this directory
version: 1.0.0        # raise it for every release: a published version never changes
description: One line for people
# Hosts it is declared for. Each architecture among them is built.
platforms: [ubuntu-amd64, ubuntu-arm64, rhel-amd64, rhel-arm64, amzn-amd64, amzn-arm64]

# Packages of a Debian suite with all they depend on. A shell, coreutils, curl, certificates and
# time zones come along.
debian:
  suite: bookworm
  packages: [python3.11]

# Symbolic links; {deb_arch} is amd64 or arm64, {multiarch} is x86_64-linux-gnu or aarch64-linux-gnu.
# links: { usr/local/bin/tool: "/usr/lib/{multiarch}/tool/bin/tool" }

# A directory beside this file that is copied over everything else.
# files: files/

# Variables of every job.
# environment: { PATH: "/usr/local/bin:/usr/bin:/bin" }

# Libraries that the host brings, such as a graphics driver's.
# allow_missing: [libcuda.so.1]

# Commands that must succeed in the packed runtime before it is published.
check:
  - [python3, --version]
"#;

/// Writes `sources/NAME/manifest.yaml` and returns its path.
///
/// # Errors
/// [`Error::Config`] if it exists; [`Error::File`].
pub fn write(sources: &Path, name: &RuntimeName) -> Result<PathBuf, Error> {
    let path = source::manifest_path(sources, name);
    if std::fs::symlink_metadata(&path).is_ok() {
        return Err(Error::config(path, "exists already"));
    }
    paths::write_below(sources, &path, TEMPLATE.replace("NAME", name.as_str()).as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_valid_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let name = "my-tool".parse().unwrap();
        write(dir.path(), &name).unwrap();
        let source = source::read(dir.path(), &name).unwrap();
        assert_eq!((source.directory().as_str(), source.check.len()), ("my-tool-1.0.0", 1));
        let error = write(dir.path(), &name).unwrap_err().to_string();
        assert!(error.ends_with("my-tool/manifest.yaml: exists already"), "{error}");
        let all = TEMPLATE.replace("# links", "links").replace("# files:", "files:");
        let all = all.replace("# environment", "environment").replace("# allow", "allow");
        source::parse(&all.replace("NAME", "my-tool")).unwrap();
    }
}
