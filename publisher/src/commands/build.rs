//! `build`: inputs → tree → gate → archive → record.

use super::{arches, megabytes, sources};
use crate::assemble::{self, Package};
use crate::error::Error;
use crate::inputs::Store;
use crate::lock::{self, Input};
use crate::pack::{self, Packed};
use crate::source::{self, Source};
use crate::places::Places;
use crate::{Note, args, env, fixups, fsx, gate, package, record, runtime_yml};
use joblet_format::{Arch, Record};
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;

pub(crate) fn build(options: &args::Build, note: Note) -> Result<String, Error> {
    let mut built = Vec::new();
    for source in sources(&options.sources, &options.selection)? {
        let lock = lock::read(&options.sources, &source)?;
        let mut jobs = Vec::new();
        for arch in arches(&source, &options.arches)? {
            jobs.push((arch, locked(&source, &lock, arch, &options.sources)?));
        }
        let mut archives = BTreeMap::new();
        for (arch, inputs) in jobs {
            let packed = build_one(&source, arch, inputs, &lock.timestamp, options, note)?;
            archives.insert(arch, packed);
        }
        let record = write_record(&source, &archives, options)?;
        built.extend(archives.into_iter().map(|(arch, packed)| (record.clone(), arch, packed)));
    }
    Ok(if options.json { as_json(&built, &options.out) } else { as_text(&built, &options.out) })
}

/// What `lock` has for `arch`.
fn locked<'l>(
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

/// One archive: inputs → tree → gate → file.
fn build_one(
    source: &Source,
    arch: Arch,
    inputs: &[Input],
    timestamp: &str,
    options: &args::Build,
    note: Note,
) -> Result<Packed, Error> {
    let (name, version) = (&source.name, &source.version);
    let step = |step: &str| note(&format!("build {name}@{version} {arch}: {step}"));
    let no_cache = || Error::Usage("no cache directory: HOME is not set; say --cache DIR".into());
    let cache = options.cache.clone().or_else(env::default_cache).ok_or_else(no_cache)?;
    let places = Places::new(options.mirror.as_deref());
    let places = (!options.offline).then_some(&places);
    let note = |text: &str| step(text);
    let store = Store { cache: &cache, places, timestamp, note: &note };
    let files = store.files(inputs)?;
    fsx::create_dirs(&options.out)?;
    step("unpacking");
    let cores = || thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let jobs = options.jobs.unwrap_or_else(cores);
    let read = |input: &Input, file: &Path| package::read(source, arch, input, file, &options.out);
    let packages = unpack(inputs, &files, jobs, read)?;
    let source_dir = options.sources.join(name.as_str());
    let manifest = source_dir.join(source::MANIFEST);
    let mut tree = assemble::assemble(packages, source, &source_dir, arch)?;
    let links: Vec<String> =
        source.links.keys().filter_map(|link| source::expand(link, arch).ok()).collect();
    fixups::apply(&mut tree, arch, links.iter().map(String::as_str), &manifest)?;
    step("checking libraries");
    gate::check(&tree, &source.directory(), arch, &source.allow_missing)?;
    let runtime_yml = runtime_yml::render(&tree, source, arch, &manifest)?;
    step("packing");
    let target = options.out.join(record::archive_name(name, version, arch));
    pack::pack(&tree, &runtime_yml, &source.directory(), &target, jobs)
}

/// Reads all packages, in `threads` threads, in the order of the lock.
fn unpack(
    inputs: &[Input],
    files: &[PathBuf],
    threads: NonZero<usize>,
    read: impl Fn(&Input, &Path) -> Result<Package, Error> + Sync,
) -> Result<Vec<Package>, Error> {
    let jobs: Vec<_> = inputs.iter().zip(files).collect();
    let read = |&(input, file): &(&Input, &PathBuf)| read(input, file);
    let work = |jobs: &[_]| jobs.iter().map(read).collect::<Vec<_>>();
    let results = thread::scope(|scope| {
        let chunks = jobs.chunks(jobs.len().div_ceil(threads.get()).max(1));
        let workers: Vec<_> = chunks.map(|chunk| scope.spawn(|| work(chunk))).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Vec<_>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    results.into_iter().collect()
}

fn write_record(
    source: &Source,
    archives: &BTreeMap<Arch, Packed>,
    options: &args::Build,
) -> Result<Record, Error> {
    let path = record::path(&options.out.join("records"), &source.name, &source.version);
    // What was published already counts where nothing was built here before.
    let published = record::path(&options.records, &source.name, &source.version);
    let before =
        record::read(&path)?.map_or_else(|| record::read(&published), |it| Ok(Some(it)))?;
    let base_url = options.base_url.as_deref();
    let record = record::make(source, archives, base_url, env::now(), before.as_ref());
    fsx::write(&path, record::render(&record).as_bytes())?;
    Ok(record)
}

fn as_text(built: &[(Record, Arch, Packed)], out: &Path) -> String {
    let line = |(record, arch, packed): &(Record, Arch, Packed)| {
        let file = record::archive_name(&record.name, &record.release.version, *arch);
        let (path, checksum) = (out.join(file), packed.checksum);
        let (size, unpacked) = (megabytes(packed.size), megabytes(packed.unpacked_size));
        let path = path.display();
        format!("{path}\n  {checksum}\n  {size}, {unpacked} in {} entries\n", packed.entries)
    };
    built.iter().map(line).collect()
}

fn as_json(built: &[(Record, Arch, Packed)], out: &Path) -> String {
    let entry = |(record, arch, packed): &(Record, Arch, Packed)| {
        let version = &record.release.version;
        let path = out.join(record::archive_name(&record.name, version, *arch));
        serde_json::json!({
            "name": record.name, "version": version, "arch": arch,
            "path": path,
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
