//! `build`: inputs → tree → gate → archive → record.

use super::make::{BuildInput, Builder, BuiltTree};
use super::{arches, packing::Packing, sources};
use crate::cli::args::Selection;
use crate::error::Error;
use crate::lock::{self, Input};
use crate::pack::{self, Callbacks, Packed, PackedPart};
use crate::record::build_cache::{self, BuildKey};
use crate::record::files::Files;
use crate::registry::offered::Offered;
use crate::source::{
    self, Source,
    reads::{self, READS},
    template,
};
use crate::{
    cli::args,
    commands::Outcome,
    env::{self, terminal},
    error::Note,
    fs::paths,
    record::{self, contents, provenance, sbom},
};
use joblet_format::{Arch, Artifact, Record, text};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::num::NonZero;
use std::path::Path;
use std::time::{Duration, Instant};

/// A built archive.
struct Built {
    record: Record,
    arch: Arch,
    packed: Packed,
    /// Number of its inputs.
    inputs: usize,
    /// Total size of the inputs whose size is known, in bytes.
    download: u64,
    took: Duration,
    /// Whether it existed already.
    unchanged: bool,
}

pub(crate) fn build(options: &args::Build, note: Note) -> Result<Outcome, Error> {
    let mut built = Vec::new();
    let builder = Builder::new(&options.making);
    let offered = Offered::read(&options.out)?;
    let (mut failed, mut warnings) = (Vec::new(), Vec::new());
    // A failure does not stop the others.
    for source in sources(&options.sources, &options.selection)? {
        match build_source(&source, &builder, options, &offered, note) {
            Ok((more, reported)) => {
                built.extend(more);
                warnings.extend(reported);
            }
            Err(error) => failed.push((format!("{}@{}", source.name, source.version), error)),
        }
    }
    let (missing, failed): (Vec<_>, Vec<_>) = failed.into_iter().unzip();
    let text = match options.selection {
        _ if options.json => as_json(&built, &options.out),
        Selection::All => as_table(&built, &missing),
        Selection::Names(_) => as_text(&built, &options.out),
    };
    let next = if options.json { None } else { next(&built, &offered, &options.out) };
    let text = text + &next.filter(|_| terminal::is_read()).unwrap_or_default();
    match Error::combined(failed) {
        Ok(()) => Ok(Outcome::Built { text, warnings, error: None }),
        Err(error) if options.json || built.is_empty() => Err(error),
        Err(error) => Ok(Outcome::Built { text, warnings, error: Some(error) }),
    }
}

/// The commands that come after a build, for people; none where the registry in `out` offers all of it.
fn next(built: &[Built], offered: &Offered, out: &Path) -> Option<String> {
    let is_new = |it: &&Built| {
        let (name, version) = (&it.record.name, &it.record.release.version);
        !offered.has((name, version, it.arch), &it.packed)
    };
    let names: BTreeSet<_> =
        built.iter().filter(is_new).map(|it| it.record.name.as_str()).collect();
    let (names, out) = (Vec::from_iter(names).join(" "), out.display());
    (!names.is_empty()).then(|| {
        format!(
            "next: joblet-publish check {names} --out {out}\n      \
             joblet-publish site --records {out}/records --out {out}\n"
        )
    })
}

/// Builds the archives of one runtime and writes its record. Returns notes for its maintainer too.
fn build_source(
    source: &Source,
    builder: &Builder,
    options: &args::Build,
    offered: &Offered,
    note: Note,
) -> Result<(Vec<Built>, Vec<String>), Error> {
    let described = described(source, options)?;
    let lock = lock::read(&options.sources, source)?;
    let mut jobs = Vec::new();
    for arch in arches(source, &options.arches)? {
        jobs.push((arch, locked(source, &lock, arch, &options.sources)?));
    }
    let kept = provenance::collect(&options.sources, source)?;
    let (mut archives, mut files) = (BTreeMap::new(), kept.clone());
    // The archive does not depend on what is read of it.
    let mut determining = kept;
    determining.remove(READS);
    let (mut all, mut warnings) = (Vec::new(), Vec::from_iter(described));
    let source_dir = &options.sources.join(source.name.as_str());
    let cache = super::cache(options.making.cache.as_deref())?;
    let records = options.out.join("records");
    let before =
        record::read(&options.out, &record::path(&records, &source.name, &source.version))?;
    for (arch, inputs) in jobs {
        let began = Instant::now();
        let native = lock.inputs_for(Arch::NATIVE).unwrap_or_default();
        let timestamp = lock.timestamp.as_str();
        let target = options.out.join(source.name.archive(&source.version, arch));
        let read = reads::read(&options.sources, source, arch)?;
        let version = (&source.name, &source.version, arch);
        offered.permit_reads(version, &target, &read)?;
        let key = BuildKey::new(&cache, &determining, arch, options.part_size)?;
        let there = match &before {
            // `--release` builds again, to check the maintainer scripts again.
            Some(_) if options.release => None,
            Some(record) => key.find(arch, &target, (&records, record), &mut files)?,
            None => None,
        };
        let unchanged = there.is_some();
        let packed = if let Some(packed) = there {
            packed
        } else {
            let build_input = BuildInput { source, source_dir, arch, inputs, native, timestamp };
            let (packed, more) =
                build_one(&build_input, builder, options, offered, &mut files, note)?;
            warnings.extend(more);
            key.write(&packed);
            packed
        };
        let packed = Packed { index: pack::reads::put(&target, &read)?, ..packed };
        let packed = if options.zstd {
            let before = before.as_ref().and_then(|record| record.release.artifacts.get(&arch));
            let step = |step: &str| {
                note(&format!("build {}@{} {arch}: {step}", source.name, source.version));
            };
            with_frames(packed, before, &target, (options.part_size, builder.jobs), &step)?
        } else {
            packed
        };
        let download = inputs.iter().filter_map(|input| input.size).sum();
        archives.insert(arch, packed);
        all.push((arch, inputs.len(), download, began.elapsed(), unchanged));
    }
    let published = record::path(&options.records, &source.name, &source.version);
    if let Some(record) = record::read(&options.records, &published)? {
        let other = |arch: &&Arch| {
            let artifact = record.release.artifacts.get(*arch);
            artifact.is_some_and(|it| it.checksum != archives[*arch].checksum)
        };
        warnings.extend(archives.keys().filter(other).map(|arch| {
            format!(
                "{}@{} {arch}: is recorded with another checksum, which never changes: raise `version`",
                source.name, source.version
            )
        }));
    }
    let record = write_record(source, &archives, &files, options)?;
    let built = |(arch, inputs, download, took, unchanged)| {
        let packed = archives[&arch].clone();
        Built { record: record.clone(), arch, packed, inputs, download, took, unchanged }
    };
    Ok((all.into_iter().map(built).collect(), warnings))
}

/// A warning if the description is still that of the template.
///
/// # Errors
/// [`Error::Config`] if it is to be released.
fn described(source: &Source, options: &args::Build) -> Result<Option<String>, Error> {
    if source.description != template::DESCRIPTION {
        return Ok(None);
    }
    let reason = "description: is still that of a new manifest; say what the runtime is for";
    let path = source::manifest_path(&options.sources, &source.name);
    if options.release {
        return Err(Error::config(path, reason));
    }
    Ok(Some(format!("{}: {reason}", path.display())))
}

/// Generates the zstd frames of the archive, unless those of the record `before` exist.
fn with_frames(
    packed: Packed,
    before: Option<&Artifact>,
    target: &Path,
    (part_size, jobs): (u64, NonZero<usize>),
    step: &dyn Fn(&str),
) -> Result<Packed, Error> {
    let same = before
        .filter(|before| before.checksum == packed.checksum && before.index == Some(packed.index));
    let known = same.and_then(|before| before.zstd.as_ref());
    if known.map_or(Ok(false), |zstd| build_cache::has_frames(zstd, target))? {
        return Ok(packed);
    }
    step("compressing with zstd");
    let zstd = pack::frames(target, packed.parts.len(), part_size, jobs)?;
    Ok(Packed { zstd: Some(zstd), ..packed })
}

/// The inputs of `lock` for `arch`.
pub(super) fn locked<'l>(
    source: &Source,
    lock: &'l lock::Lock,
    arch: Arch,
    sources: &Path,
) -> Result<&'l [Input], Error> {
    lock.inputs_for(arch).ok_or_else(|| {
        let name = &source.name;
        let reason = format!("has nothing for {arch}; run `joblet-publish lock {name}`");
        Error::config(lock::path(sources, name), reason)
    })
}

/// Builds one archive: inputs → tree → gate → file. Returns notes for the maintainer too. Lists of its content are
/// added to `files`.
fn build_one(
    build_input: &BuildInput,
    builder: &Builder,
    options: &args::Build,
    offered: &Offered,
    files: &mut Files,
    note: Note,
) -> Result<(Packed, Vec<String>), Error> {
    let (name, version, arch) =
        (&build_input.source.name, &build_input.source.version, build_input.arch);
    let step = |step: &str| note(&format!("build {name}@{version} {arch}: {step}"));
    let BuiltTree { tree, runtime_yml, components, unanswered, mut warnings } =
        builder.make(build_input, &options.out, &step)?;
    if options.release && !unanswered.is_empty() {
        let reason = format!(
            "maintainer scripts do what the build does not:\n  {}\ndo it with `run`, leave the package's \
             files out with `exclude`, or answer `postinst: {{ NAME: ignore }}`",
            unanswered.join("\n  ")
        );
        return Err(Error::Check { runtime: format!("{name}@{version} ({arch})"), reason });
    }
    warnings.extend(unanswered.iter().map(|what| format!("{what}, which the build does not do")));
    step("packing");
    let (directory, jobs) = (build_input.source.directory(), builder.jobs);
    let report = Packing::new(&step);
    let callbacks = Callbacks {
        report: &|done, total| report.report(done, total),
        permit: &|packed| offered.permit((name, version, arch), packed),
    };
    let (target, size) = (options.out.join(name.archive(version, arch)), options.part_size);
    let packed = pack::pack_with(&tree, &runtime_yml, &directory, &target, size, jobs, &callbacks)?;
    let contents = contents::list(&tree, &components);
    let sbom = sbom::document(
        build_input.source, arch, packed.checksum, &components, build_input.timestamp,
    );
    files.insert(record::files::contents(arch), contents.into_bytes());
    files.insert(record::files::sbom(arch), sbom.into_bytes());
    let warnings = warnings.iter().map(|what| format!("{name}@{version} {arch}: {what}")).collect();
    Ok((packed, warnings))
}

fn write_record(
    source: &Source,
    archives: &BTreeMap<Arch, Packed>,
    files: &Files,
    options: &args::Build,
) -> Result<Record, Error> {
    let records = options.out.join("records");
    let path = record::path(&records, &source.name, &source.version);
    // Without an earlier build here, the published version counts.
    let published = record::path(&options.records, &source.name, &source.version);
    let (place, before) = match record::read(&options.out, &path)? {
        Some(record) => (&records, Some(record)),
        None => (&options.records, record::read(&options.records, &published)?),
    };
    let (base_url, before) = (options.base_url.as_deref(), before.as_ref());
    let record = record::make(source, archives, files, base_url, env::now().to_string(), before);
    let before = before.map(|record| (place.as_path(), record));
    record::files::write(&records, &record, files, before)?;
    paths::write_below(&options.out, &path, record::render(&record).as_bytes())?;
    Ok(record)
}

fn as_text(built: &[Built], out: &Path) -> String {
    let line = |Built { record, arch, packed, took, unchanged, .. }: &Built| {
        let file = record.name.archive(&record.release.version, *arch);
        let (path, checksum) = (out.join(file), packed.checksum);
        let (size, unpacked) = (text::size(packed.size), text::size(packed.unpacked_size));
        let path = path.display();
        let parts = match packed.parts.len() {
            0 => String::new(),
            parts => format!(", in {parts} parts"),
        };
        let entries = packed.entries;
        let unchanged = if *unchanged { "\n  unchanged: there was nothing to build" } else { "" };
        let zstd = record.release.artifacts.get(arch).and_then(|artifact| artifact.zstd.as_ref());
        let zstd = zstd.map_or_else(String::new, |zstd| {
            let took = took.as_secs();
            let took = packed.zstd.as_ref().map(|_| format!(", in {}:{:02}", took / 60, took % 60));
            format!("\n  {} as .tar.zst{}", text::size(zstd.size), took.unwrap_or_default())
        });
        format!(
            "{path}\n  {checksum}\n  {size}{parts}, {unpacked} in {entries} entries{zstd}{unchanged}\n"
        )
    };
    built.iter().map(line).collect()
}

/// A table with a row for each archive, and for each of the `missing` runtimes.
fn as_table(built: &[Built], missing: &[String]) -> String {
    let head = ["RUNTIME", "ARCH", "INPUTS", "DOWNLOAD", "PACKED", "UNPACKED", "SECONDS"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(built.iter().map(|it| {
        let seconds = it.took.as_secs_f64();
        [
            format!("{}@{}", it.record.name, it.record.release.version),
            it.arch.to_string(),
            it.inputs.to_string(),
            text::size(it.download),
            text::size(it.packed.size),
            text::size(it.packed.unpacked_size),
            if it.unchanged { "unchanged".to_owned() } else { format!("{seconds:.1}") },
        ]
    }));
    rows.extend(missing.iter().map(|runtime| {
        let mut row = [const { String::new() }; 7];
        (row[0], row[6]) = (runtime.clone(), "not built".to_owned());
        row
    }));
    let widths: [usize; 7] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].len()).max().unwrap_or_default()
    });
    let mut text = String::new();
    for [runtime, arch, numbers @ ..] in &rows {
        _ = write!(text, "{runtime:<0$}  {arch:<1$}", widths[0], widths[1]); // never fails
        for (number, width) in numbers.iter().zip(&widths[2..]) {
            _ = write!(text, "  {number:>width$}");
        }
        text.push('\n');
    }
    text
}

fn as_json(built: &[Built], out: &Path) -> String {
    let entry = |Built { record, arch, packed, unchanged, .. }: &Built| {
        let version = &record.release.version;
        let path = out.join(record.name.archive(version, *arch));
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
            "unchanged": unchanged,
            "index": {
                "path": pack::index_path(&path),
                "checksum": packed.index.checksum, "size": packed.index.size,
            },
        })
    };
    format!("{:#}\n", built.iter().map(entry).collect::<serde_json::Value>())
}
