//! The template of a new manifest.

use crate::{error::Error, fs::paths, source};
use joblet_format::{Arch, RuntimeName};
use std::path::{Path, PathBuf};

/// The description of a new manifest, which its author has to replace.
pub const DESCRIPTION: &str = "One line for people";

/// The systems of a new manifest's platforms.
pub const SYSTEMS: [&str; 4] = ["ubuntu", "rhel", "amzn", "debian"];

const TEMPLATE: &str = r#"name: NAME            # = this directory
version: 1.0.0        # raise it for every release: a published version never changes
description: DESCRIPTION
# Distributions that it is listed for; it runs on any Linux host. Each architecture among them is built.
platforms: [PLATFORMS]

# Packages of a Debian suite with all they depend on, whatever the host's distribution. A shell, coreutils, curl,
# certificates and time zones come along.
debian:
  suite: bookworm
  packages: [python3.11]

# Wheels of PyPI, or of the host's index, that were uploaded before a day.
# python: { version: "3.11", before: 2024-01-01, compile: true, packages: [numpy==1.26.2] }

# Archives of other projects; strip: 1 leaves out the first component of their paths.
# urls: [{ into: opt/tool, strip: 1, amd64: "https://example.org/amd64.tar.gz", arm64: "https://example.org/arm64.tar.gz" }]

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

# All keys are in CREATING_RUNTIMES.md.
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
    paths::write_below(sources, &path, manifest_text(name).as_bytes())?;
    Ok(path)
}

fn manifest_text(name: &RuntimeName) -> String {
    let text = TEMPLATE.replace("PLATFORMS", &platforms(&Arch::ALL));
    text.replace("DESCRIPTION", DESCRIPTION).replace("NAME", name.as_str())
}

/// A list of the platforms for `arches`, of each system.
pub fn platforms(arches: &[Arch]) -> String {
    let of = |os| arches.iter().map(move |arch| format!("{os}-{arch}"));
    SYSTEMS.iter().flat_map(of).collect::<Vec<_>>().join(", ")
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
        assert_eq!((source.description.as_str(), source.platforms.len()), (DESCRIPTION, 8));
        let all = manifest_text(&name).replace("# links", "links").replace("# files:", "files:");
        let all = all.replace("# python", "python").replace("# urls", "urls");
        let all = all.replace("# environment", "environment").replace("# allow", "allow");
        source::parse(&all).unwrap();
    }
}
