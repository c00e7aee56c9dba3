//! Builds Joblet runtimes from locked inputs and publishes their registry.
//!
//! Data flows in a straight line, and a module imports only modules to its left:
//!
//! error, env, fsx → verbs → args → source → lock → mirror → apt → roots → inputs → tree → deb → assemble →
//! cacerts → fixups → gate → `runtime_yml` → pack → record → index → check, new → site
//!
//! This file alone joins the stages, one function per command.
#![forbid(unsafe_code)]

pub mod apt;
pub mod args;
pub mod assemble;
mod cacerts;
pub mod check;
pub mod deb;
pub mod env;
pub mod error;
pub mod fixups;
pub mod fsx;
pub mod gate;
pub mod index;
pub mod inputs;
pub mod lock;
pub mod mirror;
pub mod new;
pub mod pack;
pub mod record;
mod roots;
pub mod runtime_yml;
pub mod site;
pub mod source;
pub mod tree;
mod verbs;

use args::{Command, Selection};
use assemble::Package;
use error::Error;
use inputs::Store;
use joblet_format::{Arch, Record, Registry, RuntimeName};
use lock::Input;
use pack::Packed;
use source::Source;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt::Write as _,
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

/// Tells people about progress. Data never goes this way.
pub type Note<'n> = &'n (dyn Fn(&str) + Sync);

/// Does what the arguments after the program's name say. Returns what belongs on stdout.
///
/// # Errors
/// The first fault; nothing half-written is left.
pub fn run(args: Vec<OsString>, note: Note) -> Result<String, Error> {
    match args::parse(args)? {
        Command::Help(text) => Ok(text),
        Command::Version => Ok(concat!("joblet-publish ", env!("CARGO_PKG_VERSION"), "\n").into()),
        Command::Lock(options) => lock(&options, note),
        Command::Build(options) => build(&options, note),
        Command::Check(options) => check(&options, note),
        Command::Index(options) => index(&options),
        Command::Site(options) => site(&options),
        Command::New { name, sources } => {
            let path = new::write(&sources, &name)?.display().to_string();
            Ok(format!("{path}\nnext: joblet-publish lock {name}\n"))
        }
    }
}

/// The manifests that are meant, all read and checked before anything is done.
fn sources(dir: &Path, selection: &Selection) -> Result<Vec<Source>, Error> {
    let names: Vec<RuntimeName> = match selection {
        Selection::Names(names) => names.clone(),
        Selection::All => source::names(dir)?,
    };
    if names.is_empty() {
        let dir = dir.display();
        return Err(Error::NotFound(format!("no runtime in {dir}; `new NAME` makes a first one")));
    }
    let mut sources = Vec::new();
    for name in names.into_iter().collect::<BTreeSet<_>>() {
        let source = source::read(dir, &name)?;
        let manifest = source::manifest_path(dir, &name);
        source.supported().map_err(|reason| Error::config(manifest, reason))?;
        sources.push(source);
    }
    Ok(sources)
}

/// The architectures of `source` among those asked for; none asked for means all.
fn arches(source: &Source, asked: &[Arch]) -> Result<Vec<Arch>, Error> {
    let declared = source.arches();
    if let Some(other) = asked.iter().find(|arch| !declared.contains(arch)) {
        let name = &source.name;
        return Err(Error::NotFound(format!("{name} has no platform for {other} in its manifest")));
    }
    Ok(declared.into_iter().filter(|arch| asked.is_empty() || asked.contains(arch)).collect())
}

fn lock(options: &args::Lock, note: Note) -> Result<String, Error> {
    let mirrors = mirror::find(options.mirror.as_deref())?;
    let mut report = String::new();
    for source in sources(&options.sources, &options.selection)? {
        let path = lock::path(&options.sources, &source.name);
        let before = fsx::read_if_there(&path)?.and_then(|bytes| lock::parse(&bytes).ok());
        let fresh = before.as_ref().filter(|lock| lock.manifest == lock::digest(&source));
        // Architectures that are not resolved now stay as they are, if they are of this manifest.
        let mut inputs = fresh.map(|lock| lock.inputs.clone()).unwrap_or_default();
        for arch in arches(&source, &options.arches)? {
            note(&format!("lock {}: {arch}", source.name));
            let packages: Vec<&str> = source.packages().into_iter().collect();
            let suite = source.debian.as_ref().map(|debian| debian.suite.as_str());
            let resolved = suite.map(|suite| apt::resolve(&mirrors, suite, &packages, arch));
            inputs.insert(arch, resolved.transpose()?.unwrap_or_default());
        }
        let lock = lock::make(&source, inputs, env::now(), before.as_ref());
        fsx::write(&path, lock::render(&lock).as_bytes())?;
        for (arch, inputs) in &lock.inputs {
            let (count, size) = (inputs.len(), inputs.iter().map(|input| input.size).sum());
            let (path, size) = (path.display(), megabytes(size));
            _ = writeln!(report, "{path}: {arch}: {count} inputs, {size}"); // a String never fails
        }
    }
    Ok(report)
}

fn build(options: &args::Build, note: Note) -> Result<String, Error> {
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
    let mirrors =
        if options.offline { None } else { Some(mirror::find(options.mirror.as_deref())?) };
    let note = |text: &str| step(text);
    let store = Store { cache: &cache, mirrors: mirrors.as_ref(), timestamp, note: &note };
    let files = store.files(inputs)?;
    fsx::create_dirs(&options.out)?;
    step("unpacking");
    let cores = || thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let jobs = options.jobs.unwrap_or_else(cores);
    let packages = unpack(inputs, &files, &options.out, jobs)?;
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
    spool_dir: &Path,
    threads: NonZero<usize>,
) -> Result<Vec<Package>, Error> {
    let jobs: Vec<_> = inputs.iter().zip(files).collect();
    let read = |&(input, file): &(&Input, &PathBuf)| {
        let label = input.file_name().to_owned();
        deb::read(file, &label, spool_dir).map(|members| Package { label, members })
    };
    let work = |jobs: &[_]| jobs.iter().map(read).collect::<Vec<_>>();
    let results = thread::scope(|scope| {
        let chunks = jobs.chunks(jobs.len().div_ceil(threads.get()).max(1));
        let workers: Vec<_> = chunks.map(|chunk| scope.spawn(move || work(chunk))).collect();
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

fn check(options: &args::Check, note: Note) -> Result<String, Error> {
    let mut report = String::new();
    let joblet_exec = check::find(options.joblet_exec.as_deref())?;
    for source in sources(&options.sources, &options.selection)? {
        if !source.arches().contains(&Arch::NATIVE) {
            note(&format!("check {}: not for {}, left out", source.name, Arch::NATIVE));
            continue;
        }
        let count = check::run(&source, &options.out, &joblet_exec, note)?;
        _ = writeln!(report, "{}: checks passed: {count}", source.directory()); // a String never fails
    }
    Ok(report)
}

fn index(options: &args::Index) -> Result<String, Error> {
    let registry = index::make(&record::read_all(&options.records)?);
    write_registry(&registry, &options.out)?;
    let versions: usize = registry.runtimes.values().map(BTreeMap::len).sum();
    let (out, runtimes) = (options.out.display(), registry.runtimes.len());
    Ok(format!("{out}: runtimes: {runtimes}, versions: {versions}\n"))
}

/// Writes a registry, unless one is there whose published checksums it would change.
fn write_registry(registry: &Registry, out: &Path) -> Result<(), Error> {
    if let Some(bytes) = fsx::read_if_there(out)? {
        let before: Registry = serde_json::from_slice(&bytes)
            .map_err(|error| Error::config(out, format!("is no registry: {error}")))?;
        index::check(&before, registry)?;
    }
    fsx::write(out, index::render(registry).as_bytes())
}

/// The pages, and the registry that they link to.
fn site(options: &args::Site) -> Result<String, Error> {
    let records = record::read_all(&options.records)?;
    let registry = index::make(&records);
    let summary = site::write(&registry, &records, &options.source, &options.out)?;
    write_registry(&registry, &options.out.join("registry.json"))?;
    let (out, site::Summary { files, written, removed }) = (options.out.display(), summary);
    Ok(format!("{out}: {files} files, {written} written, {removed} removed\n"))
}

/// A size for people.
#[allow(clippy::cast_precision_loss)] // one digit after the point is shown
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
