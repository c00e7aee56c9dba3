//! The page of one version.

use super::{
    super::text::{Address, address, file_name, grouped, human_size, shell_word, visible},
    Catalogue, archives, example, yanked,
};
use joblet_format::{Arch, Artifact, Release, RuntimeName, Version};
use serde::Serialize;
use std::collections::BTreeSet;

#[derive(Serialize)]
pub(in crate::site) struct VersionPage<'a> {
    name: &'a str,
    version: String,
    directory: String,
    description: String,
    yanked: Option<String>,
    prerelease: bool,
    /// The latest version, where it is another one.
    newer: Option<String>,
    latest: bool,
    day: Option<&'a str>,
    command: &'static str,
    platforms: Vec<String>,
    archives: Vec<Archive>,
}

/// One archive of a version.
#[derive(Serialize)]
struct Archive {
    architecture: &'static str,
    /// Name to save it under.
    file: String,
    /// Name at its address, which is shown as the text of the link.
    label: String,
    /// Where to link to, if that is safe.
    link: Option<String>,
    /// What a shell fetches it from, if that is safe: one word, with `$SITE` where it is relative.
    fetch: Option<String>,
    relative: bool,
    https: bool,
    size: String,
    bytes: String,
    unpacked: Option<(String, String)>,
    entries: Option<String>,
    sha256: String,
}

impl<'a> Catalogue<'a> {
    /// The page of one version. `root` leads from it to the root of the site.
    pub(in crate::site) fn version(
        &self,
        name: &'a RuntimeName,
        release: &Release,
        root: &str,
    ) -> VersionPage<'a> {
        let latest = self.latest(name).map(|latest| &latest.version);
        let platforms: BTreeSet<_> = release.platforms.iter().collect();
        let archive =
            |(arch, artifact)| Archive::new(name, &release.version, arch, &artifact, root);
        VersionPage {
            name: name.as_str(),
            version: release.version.to_string(),
            directory: name.directory(&release.version),
            description: visible(&release.description),
            yanked: yanked(release),
            prerelease: release.version.is_prerelease(),
            newer: latest.filter(|latest| **latest != release.version).map(Version::to_string),
            latest: latest == Some(&release.version),
            day: self.day(name, release),
            command: example(name),
            platforms: platforms.into_iter().map(ToString::to_string).collect(),
            archives: archives(release).map(archive).collect(),
        }
    }
}

impl Archive {
    fn new(
        name: &RuntimeName,
        version: &Version,
        arch: Arch,
        artifact: &Artifact,
        root: &str,
    ) -> Self {
        let url = artifact.download_url.trim();
        let (link, fetch) = match address(url) {
            Address::Absolute(url) => (Some(url.to_owned()), Some(shell_word(url))),
            Address::Relative(path) => {
                (Some(format!("{root}{path}")), Some(format!("\"$SITE\"/{}", shell_word(path))))
            }
            Address::Text => (None, None),
        };
        let label = if link.is_some() { file_name(url).unwrap_or(url) } else { url };
        Self {
            architecture: arch.as_str(),
            file: format!("{}-{arch}.tar.gz", name.directory(version)),
            label: visible(label),
            link,
            fetch,
            relative: matches!(address(url), Address::Relative(_)),
            https: url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")),
            size: human_size(artifact.size),
            bytes: grouped(artifact.size),
            unpacked: artifact.unpacked_size.map(|size| (human_size(size), grouped(size))),
            entries: artifact.entries.map(grouped),
            sha256: artifact.checksum.hex(),
        }
    }
}
