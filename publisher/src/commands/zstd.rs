//! `zstd`: published versions that have no `.tar.zst` get one, and their records an entry for it.

use super::published::{find, wanted};
use crate::error::Error;
use crate::pack::{self, PackedZstd};
use crate::registry::remote::Place;
use crate::release::bundle::file_name;
use crate::{cli::args, env::cores, error::Note, fs::paths, record};
use joblet_format::{Arch, Artifact, Record, text};
use std::fmt::Write as _;
use std::path::Path;

pub(crate) fn zstd(options: &args::AddZstd, note: Note) -> Result<String, Error> {
    let records = record::read_all(&options.records)?;
    let mut found: Vec<&Record> = options
        .specs
        .iter()
        .map(|spec| find(&records, spec, &options.records))
        .collect::<Result<_, _>>()?;
    let every = found.is_empty();
    if every {
        found.extend(&records);
    }
    paths::create_dirs(&options.out)?;
    let mut report = String::new();
    for record in found {
        let mut record = record.clone();
        let asked = if every { &[][..] } else { &options.arches };
        let arches = wanted(&record, asked)?.into_iter();
        let meant = |arch: &Arch| options.arches.is_empty() || options.arches.contains(arch);
        for arch in arches.filter(meant) {
            let object = format!("{}@{} {arch}", record.name, record.release.version);
            let step = |step: &str| note(&format!("zstd {object}: {step}"));
            // Other tools' archives without an index cannot be converted.
            let artifact = record.release.artifacts.get_mut(&arch).filter(|it| it.index.is_some());
            let Some(artifact) = artifact else {
                _ = writeln!(report, "{object}: left out, its archive has no index"); // never fails
                continue;
            };
            if artifact.zstd.is_some() {
                _ = writeln!(report, "{object}: has one");
                continue;
            }
            let made = make(&object, artifact, options, &step)?;
            let zstd = record::zstd_entry(&made, &artifact.download_url);
            let (share, size) = (100 * zstd.size / artifact.size.max(1), text::size(zstd.size));
            _ = writeln!(report, "{object}: {size}, {share} % of its .tar.gz, {}", zstd.checksum);
            artifact.zstd = Some(zstd);
            // One after the other, so that finished files are kept after an interruption.
            let path = record::path(&options.records, &record.name, &record.release.version);
            paths::write_below(&options.records, &path, record::render(&record).as_bytes())?;
        }
    }
    Ok(report)
}

/// Makes the frames of the published `artifact`, which is verified, in the directory for them.
fn make(
    object: &str,
    artifact: &Artifact,
    options: &args::AddZstd,
    step: &dyn Fn(&str),
) -> Result<PackedZstd, Error> {
    let file = Path::new(file_name(&artifact.download_url));
    let (place, artifact) = source(artifact, file, options);
    let artifact = &artifact;
    let dir = tempfile::Builder::new().prefix(".zstd-").tempdir_in(&options.out);
    let dir = dir.map_err(Error::file("create below", &options.out))?;
    let archive = dir.path().join(file);
    step("reading");
    let index = place.index_file(artifact)?.map(|(_, bytes)| bytes).unwrap_or_default();
    paths::write(&pack::index_path(&archive), &index)?;
    let mut copy = std::fs::File::create(&archive).map_err(Error::file("write", &archive))?;
    let (_, actual) = place.copy_archive(artifact, &mut copy)?;
    if actual != artifact.checksum {
        let hint = "its archive is not the one that its record names";
        return Err(Error::checksum(object.to_owned(), artifact.checksum, actual, hint));
    }
    step("compressing with zstd");
    let jobs = options.jobs.unwrap_or_else(cores::available);
    let made = pack::frames(&archive, 0, options.part_size, jobs)?;
    let frames = pack::zstd_path(&archive);
    let target = options.out.join(frames.file_name().unwrap_or_default());
    let mut files = vec![(frames.clone(), target.clone())];
    if !made.parts.is_empty() {
        let part = |number| (pack::part_path(&frames, number), pack::part_path(&target, number));
        files = (0..made.parts.len()).map(part).collect();
    }
    for (from, to) in files {
        std::fs::rename(&from, &to).map_err(Error::file("write", &to))?;
    }
    Ok(made)
}

/// The archive to read: beside its frames, if its index is there, else at its record's address.
fn source(artifact: &Artifact, file: &Path, options: &args::AddZstd) -> (Place, Artifact) {
    let mut artifact = artifact.clone();
    if !options.out.join(pack::index_path(file)).exists() {
        // Relative addresses are relative to the registry, which is above its records.
        return (Place::File(options.records.join("../registry.json")), artifact);
    }
    artifact.download_url = file.display().to_string();
    for part in &mut artifact.parts {
        part.download_url = file_name(&part.download_url).to_owned();
    }
    (Place::File(options.out.join("registry.json")), artifact)
}
