//! `verify`: rebuilds a published version from the sources beside its record, and compares the archives.

use super::make::{BuildInput, Builder, BuiltTree};
use super::published::{find, wanted};
use crate::error::Error;
use crate::registry::{self, frames::TarDigest, remote::Place};
use crate::{
    cli::args,
    error::{Note, shown},
    lock,
    pack::{self, PackedZstd},
    record::{self, compare, contents, provenance},
    source::reads,
};
use joblet_format::index::Index;
use joblet_format::{Arch, Artifact, Record};
use std::fmt::Write as _;
use std::path::Path;

/// Maximum number of differing entries named.
const NAMED: usize = 20;

pub(crate) fn verify(options: &args::Verify, note: Note) -> Result<String, Error> {
    let records = record::read_all(&options.records)?;
    let found: Vec<_> = options
        .specs
        .iter()
        .map(|spec| find(&records, spec, &options.records))
        .collect::<Result<_, _>>()?;
    let published = options.against.as_deref().map(Place::new);
    let document = published.as_ref().map(Place::registry).transpose()?;
    let mut report = String::new();
    for record in found {
        let dir = tempfile::tempdir().map_err(Error::file("create", std::env::temp_dir()))?;
        let kept = Kept::lay_out(&options.records, record, dir.path())?;
        let arches = wanted(record, &options.arches)?;
        for arch in arches {
            let object = object(record, arch);
            let artifact = match &document {
                None => record.release.artifact(arch),
                Some(document) => {
                    let releases = document.runtimes.get(&record.name);
                    let release = releases.and_then(|it| it.get(&record.release.version));
                    release.and_then(|release| release.artifact(arch))
                }
            };
            let place = options.against.as_deref().map_or("the record".into(), shown::address);
            let artifact =
                artifact.ok_or_else(|| Error::NotFound(format!("{object}: is not in {place}")))?;
            let making = (&options.making, options.zstd);
            let (packed, rebuilt) = kept.rebuild(arch, making, dir.path(), note)?;
            // Beside the records of a build are its archives.
            let beside = || Place::File(options.records.join("../registry.json"));
            let place = published.clone().unwrap_or_else(beside);
            if packed.checksum != artifact.checksum {
                let (expected, actual) = (artifact.checksum, packed.checksum);
                let list =
                    record::files::read(&options.records, record, &record::files::contents(arch));
                let reason = explain(place.index(&artifact), list.ok().flatten(), &rebuilt);
                return Err(Error::Rebuilt { object, expected, actual, reason });
            }
            if let Some(rebuilt) = &packed.zstd {
                same_frames(&object, &artifact, rebuilt)?;
            }
            let mut frames = packed.zstd.map(|zstd| zstd.checksum);
            if published.is_some() {
                note(&format!("verify {object}: downloading"));
                let mut tar = TarDigest::new();
                let (_, served) = place.copy_archive(&artifact, &mut tar)?;
                if served != artifact.checksum {
                    let hint = "its archive is not the one that its registry.json names";
                    return Err(Error::checksum(object, artifact.checksum, served, hint));
                }
                frames = registry::frames::check(&object, &artifact, &place, tar)?.or(frames);
            }
            _ = writeln!(report, "{object}: the same, {}", packed.checksum); // a String never fails
            if let Some(checksum) = frames {
                _ = writeln!(report, "{object} .tar.zst: the same, {checksum}");
            }
        }
    }
    Ok(report)
}

/// Compares the frames of the published `artifact` with newly compressed ones.
fn same_frames(object: &str, artifact: &Artifact, rebuilt: &PackedZstd) -> Result<(), Error> {
    let Some(zstd) = &artifact.zstd else {
        let reason = format!("{object}: has no .tar.zst; `joblet-publish zstd` makes one");
        return Err(Error::NotFound(reason));
    };
    if zstd.checksum == rebuilt.checksum {
        return Ok(());
    }
    let hint = "its frames were made by another version of this program, or cut otherwise; --against compares their content";
    Err(Error::checksum(format!("{object} .tar.zst"), zstd.checksum, rebuilt.checksum, hint))
}

fn object(record: &Record, arch: Arch) -> String {
    format!("{}@{} {arch}", record.name, record.release.version)
}

/// The content of a rebuilt archive.
struct Rebuilt {
    index: Index,
    /// The list of its entries.
    contents: String,
}

/// The source of a version, restored.
struct Kept {
    source: crate::source::Source,
    dir: std::path::PathBuf,
    lock: lock::Lock,
}

impl Kept {
    /// Restores the source beside `record` below `dir`.
    fn lay_out(records: &Path, record: &Record, dir: &Path) -> Result<Self, Error> {
        let mut files = record::files::Files::new();
        for name in provenance::NAMES {
            if let Some(bytes) = record::files::read(records, record, name)? {
                files.insert(name.to_owned(), bytes);
            }
        }
        let (source, dir_of_source) = provenance::restore(&files, dir)?;
        if (&source.name, &source.version) != (&record.name, &record.release.version) {
            let place = record::files::dir(records, &record.name, &record.release.version);
            let reason = format!("keeps the source of {}", source.directory());
            return Err(Error::config(place, reason));
        }
        let lock = lock::read(dir, &source)?;
        Ok(Self { source, dir: dir_of_source, lock })
    }

    fn rebuild(
        &self,
        arch: Arch,
        (making, zstd): (&args::Making, bool),
        spool: &Path,
        note: Note,
    ) -> Result<(pack::Packed, Rebuilt), Error> {
        let Self { source, dir, lock } = self;
        let builder = Builder::new(making);
        let directory = source.directory();
        let step = |step: &str| note(&format!("verify {directory} {arch}: {step}"));
        let inputs = super::build::locked(source, lock, arch, spool)?;
        let native = lock.inputs_for(Arch::NATIVE).unwrap_or_default();
        let timestamp = &lock.timestamp;
        let build_input = BuildInput { source, source_dir: dir, arch, inputs, native, timestamp };
        let BuiltTree { tree, runtime_yml, components, .. } =
            builder.make(&build_input, spool, &step)?;
        step("packing");
        let target = source.name.archive(&source.version, arch);
        let (mut packed, index) =
            pack::dry_run(&tree, &runtime_yml, &directory, target.as_ref(), builder.jobs)?;
        if zstd {
            // Frames are made of an archive, and cut as its index says what is read first.
            let target = spool.join(target);
            let (part_size, jobs) = (pack::MAX_PART, builder.jobs);
            let parts =
                pack::pack(&tree, &runtime_yml, &directory, &target, part_size, jobs)?.parts;
            pack::reads::put(&target, &reads::read(spool, source, arch)?)?;
            step("compressing with zstd");
            packed.zstd = Some(pack::frames(&target, parts.len(), part_size, jobs)?);
        }
        Ok((packed, Rebuilt { index, contents: contents::list(&tree, &components) }))
    }
}

/// The differences between the published and the rebuilt archive, a line each: by the published index, or without one
/// by the list of contents beside the record, which has sizes only.
fn explain(
    published: Result<Option<Index>, Error>,
    list: Option<Vec<u8>>,
    rebuilt: &Rebuilt,
) -> String {
    let without = match published {
        Ok(Some(published)) => {
            let differences = compare::indexes(&published, &rebuilt.index);
            let same = "every entry is the same: it was packed by another version of this program";
            return named(&differences, same);
        }
        Ok(None) => "it was published without an index".to_owned(),
        Err(error) => format!("its index is not available ({error})"),
    };
    let Some(list) = list else {
        return format!("\n  which entries differ is not known: {without}");
    };
    let differences = compare::lists(&String::from_utf8_lossy(&list), &rebuilt.contents);
    let same = "kinds and sizes are the same; some bytes or modes differ";
    format!("\n  {without}: compared by the record's list{}", named(&differences, same))
}

/// Formats the first of `differences`, or `same` if there are none.
fn named(differences: &[compare::Difference], same: &str) -> String {
    if differences.is_empty() {
        return format!("\n  {same}");
    }
    let mut text = String::new();
    for difference in differences.iter().take(NAMED) {
        _ = write!(text, "\n  {difference}"); // a String never fails
    }
    if let Some(more) = differences.len().checked_sub(NAMED).filter(|more| *more > 0) {
        _ = write!(text, "\n  and {more} more");
    }
    text
}
