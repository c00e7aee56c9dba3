//! `build`: inputs → tree → gate → archive → record.

use super::make::{Made, Recipe, Workshop};
use super::{arches, megabytes, sources};
use crate::error::Error;
use crate::lock::{self, Input};
use crate::pack::{self, Packed, PackedPart};
use crate::record::files::Files;
use crate::source::Source;
use crate::{Note, args, contents, env, fsx, provenance, record, sbom};
use joblet_format::{Arch, Record};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) fn build(options: &args::Build, note: Note) -> Result<String, Error> {
    let mut built = Vec::new();
    let workshop = Workshop::new(&options.making);
    let mut failed = Vec::new();
    // One that fails keeps none of the others from being built.
    for source in sources(&options.sources, &options.selection)? {
        match build_source(&source, &workshop, options, note) {
            Ok(more) => built.extend(more),
            Err(error) => failed.push(error),
        }
    }
    Error::all(failed)?;
    Ok(if options.json { as_json(&built, &options.out) } else { as_text(&built, &options.out) })
}

/// The archives of one runtime, and its record.
fn build_source(
    source: &Source,
    workshop: &Workshop,
    options: &args::Build,
    note: Note,
) -> Result<Vec<(Record, Arch, Packed)>, Error> {
    let lock = lock::read(&options.sources, source)?;
    let mut jobs = Vec::new();
    for arch in arches(source, &options.arches)? {
        jobs.push((arch, locked(source, &lock, arch, &options.sources)?));
    }
    let (mut archives, mut files) = (BTreeMap::new(), provenance::keep(&options.sources, source)?);
    let source_dir = &options.sources.join(source.name.as_str());
    for (arch, inputs) in jobs {
        let native = lock.of(Arch::NATIVE).unwrap_or_default();
        let timestamp = lock.timestamp.as_str();
        let recipe = Recipe { source, source_dir, arch, inputs, native, timestamp };
        let packed = build_one(&recipe, workshop, options, &mut files, note)?;
        archives.insert(arch, packed);
    }
    let record = write_record(source, &archives, &files, options)?;
    Ok(archives.into_iter().map(|(arch, packed)| (record.clone(), arch, packed)).collect())
}

/// What `lock` has for `arch`.
pub(super) fn locked<'l>(
    source: &Source,
    lock: &'l lock::Lock,
    arch: Arch,
    sources: &Path,
) -> Result<&'l [Input], Error> {
    lock.of(arch).ok_or_else(|| {
        let name = &source.name;
        let reason = format!("has nothing for {arch}; run `joblet-publish lock {name}`");
        Error::config(lock::path(sources, name), reason)
    })
}

/// One archive: inputs → tree → gate → file. What is told of it goes into `files`.
fn build_one(
    recipe: &Recipe,
    workshop: &Workshop,
    options: &args::Build,
    files: &mut Files,
    note: Note,
) -> Result<Packed, Error> {
    let (name, version, arch) = (&recipe.source.name, &recipe.source.version, recipe.arch);
    let step = |step: &str| note(&format!("build {name}@{version} {arch}: {step}"));
    let Made { tree, runtime_yml, components } = workshop.make(recipe, &options.out, &step)?;
    step("packing");
    let target = options.out.join(record::archive_name(name, version, arch));
    let (directory, jobs) = (recipe.source.directory(), workshop.jobs);
    let packed = pack::pack(&tree, &runtime_yml, &directory, &target, options.part_size, jobs)?;
    let contents = contents::list(&tree, &components);
    let sbom = sbom::document(recipe.source, arch, packed.checksum, &components, recipe.timestamp);
    files.insert(record::files::contents(arch), contents.into_bytes());
    files.insert(record::files::sbom(arch), sbom.into_bytes());
    Ok(packed)
}

fn write_record(
    source: &Source,
    archives: &BTreeMap<Arch, Packed>,
    files: &Files,
    options: &args::Build,
) -> Result<Record, Error> {
    let records = options.out.join("records");
    let path = record::path(&records, &source.name, &source.version);
    // What was published already counts where nothing was built here before.
    let published = record::path(&options.records, &source.name, &source.version);
    let (place, before) = match record::read(&path)? {
        Some(record) => (&records, Some(record)),
        None => (&options.records, record::read(&published)?),
    };
    let (base_url, before) = (options.base_url.as_deref(), before.as_ref());
    let record = record::make(source, archives, files, base_url, env::now(), before);
    let before = before.map(|record| (place.as_path(), record));
    record::files::write(&records, &record, files, before)?;
    fsx::write(&path, record::render(&record).as_bytes())?;
    Ok(record)
}

fn as_text(built: &[(Record, Arch, Packed)], out: &Path) -> String {
    let line = |(record, arch, packed): &(Record, Arch, Packed)| {
        let file = record::archive_name(&record.name, &record.release.version, *arch);
        let (path, checksum) = (out.join(file), packed.checksum);
        let (size, unpacked) = (megabytes(packed.size), megabytes(packed.unpacked_size));
        let path = path.display();
        let parts = match packed.parts.len() {
            0 => String::new(),
            parts => format!(", in {parts} parts"),
        };
        let entries = packed.entries;
        format!("{path}\n  {checksum}\n  {size}{parts}, {unpacked} in {entries} entries\n")
    };
    built.iter().map(line).collect()
}

fn as_json(built: &[(Record, Arch, Packed)], out: &Path) -> String {
    let entry = |(record, arch, packed): &(Record, Arch, Packed)| {
        let version = &record.release.version;
        let path = out.join(record::archive_name(&record.name, version, *arch));
        let part = |(number, part): (usize, &PackedPart)| {
            serde_json::json!({
                "path": pack::part_path(&path, number),
                "checksum": part.checksum, "size": part.size,
            })
        };
        let parts: Vec<_> = packed.parts.iter().enumerate().map(part).collect();
        serde_json::json!({
            "name": record.name, "version": version, "arch": arch,
            "path": path, "parts": parts,
            "record": record::path(&out.join("records"), &record.name, version),
            "checksum": packed.checksum, "size": packed.size,
            "unpacked_size": packed.unpacked_size, "entries": packed.entries,
            "index": {
                "path": pack::index_path(&path),
                "checksum": packed.index.checksum, "size": packed.index.size,
            },
        })
    };
    format!("{:#}\n", built.iter().map(entry).collect::<serde_json::Value>())
}
