//! The page of one version.

use super::super::text::{Address, address, file_name, grouped, repository, shell_word, visible};
use super::{
    Catalogue, amd64_alone, archives,
    changes::Changes,
    fresh::Freshness,
    inside::{Inside, Listed, inside, listed},
    not_for_rnx, platforms, yanked,
};
use crate::{error::Error, source::language::example};
use joblet_format::{Arch, Artifact, Record, Release, RuntimeName, Version, text};
use serde::Serialize;
use std::path::Path;

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
    fresh: Option<Freshness>,
    command: &'static str,
    platforms: Vec<String>,
    /// Why Joblet's own client does not install it, if so.
    not_for_rnx: Option<&'static str>,
    amd64_alone: bool,
    archives: Vec<Archive>,
    /// Since the version before, if there is one.
    changes: Option<Changes>,
    /// `owner/repo` on GitHub that published it, if its address has it.
    repository: Option<String>,
    /// The part after the slash, which is the directory of a clone.
    repository_name: Option<String>,
    /// Whether the record is beside the page, and what is beside the record.
    record: bool,
    files: Vec<Listed>,
    /// The same of the version before, which `inside` is compared with.
    files_before: Vec<Listed>,
    /// Read from `files` by [`VersionPage::look_inside`].
    inside: Option<Inside>,
    #[serde(skip)]
    records: (Option<&'a Record>, Option<&'a Record>),
}

/// One archive of a version.
#[derive(Serialize)]
struct Archive {
    architecture: &'static str,
    /// Name to save it under.
    file: String,
    /// Its files, in order: the archive, or its parts.
    files: Vec<File>,
    in_parts: bool,
    /// Whether a shell can fetch all of `files`, and whether some of them are relative.
    fetchable: bool,
    relative: bool,
    size: String,
    bytes: String,
    unpacked: Option<(String, String)>,
    entries: Option<String>,
    sha256: String,
}

/// A file at an address.
#[derive(Serialize)]
struct File {
    /// Name at its address, which is shown as the text of the link.
    label: String,
    /// Target of the link, if it is safe.
    link: Option<String>,
    /// Its address for a shell, if that is safe: one word, with `$SITE` if it is relative.
    fetch: Option<String>,
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
        let archive =
            |(arch, artifact)| Archive::new(name, &release.version, arch, &artifact, root);
        let repository = repository(&release.download_url);
        let before = self.before(name, release);
        let record = self.record(name, &release.version);
        let record_before = before.and_then(|before| self.record(name, &before.version));
        let files = |record: Option<&Record>| record.map(listed).unwrap_or_default();
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
            fresh: self.freshness(name, &release.version),
            command: example(name),
            platforms: platforms(self.declared(name, release)),
            not_for_rnx: not_for_rnx(release),
            amd64_alone: amd64_alone(release),
            archives: archives(release).map(archive).collect(),
            changes: before.map(|before| {
                Changes::new(self.declared(name, before), self.declared(name, release))
            }),
            repository_name: repository.as_ref().map(|it| it.name().to_owned()),
            repository: repository.map(|it| it.as_str().to_owned()),
            record: record.is_some(),
            files: files(record),
            files_before: files(record_before),
            inside: None,
            records: (record, record_before),
        }
    }
}

impl VersionPage<'_> {
    /// Reads what is inside from the files beside the records in the directory `records`.
    ///
    /// # Errors
    /// A file that is missing, another one, or of another form.
    pub(in crate::site) fn look_inside(&mut self, records: &Path) -> Result<(), Error> {
        if let (Some(record), before) = self.records {
            self.inside = inside(records, record, before)?;
        }
        Ok(())
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
        let urls: Vec<&str> = match artifact.parts.as_slice() {
            [] => vec![artifact.download_url.trim()],
            parts => parts.iter().map(|part| part.download_url.trim()).collect(),
        };
        let files: Vec<_> = urls.iter().map(|url| File::new(url, root)).collect();
        Self {
            architecture: arch.as_str(),
            file: name.archive(version, arch),
            fetchable: files.iter().all(|file| file.fetch.is_some()),
            files,
            in_parts: !artifact.parts.is_empty(),
            relative: urls.iter().any(|url| matches!(address(url), Address::Relative(_))),
            size: text::size(artifact.size),
            bytes: grouped(artifact.size),
            unpacked: artifact.unpacked_size.map(|size| (text::size(size), grouped(size))),
            entries: artifact.entries.map(grouped),
            sha256: artifact.checksum.hex(),
        }
    }
}

impl File {
    fn new(url: &str, root: &str) -> Self {
        let (link, fetch) = match address(url) {
            Address::Absolute(url) => (Some(url.to_owned()), Some(shell_word(url))),
            Address::Relative(path) => {
                (Some(format!("{root}{path}")), Some(format!("\"$SITE\"/{}", shell_word(path))))
            }
            Address::Text => (None, None),
        };
        let label = if link.is_some() { file_name(url).unwrap_or(url) } else { url };
        Self { label: visible(label), link, fetch }
    }
}
