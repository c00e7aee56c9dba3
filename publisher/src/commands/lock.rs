//! `lock`: every input of every architecture, resolved.

use super::{arches, cache, sources};
use crate::error::Error;
use crate::inputs::cache::InputCache;
use crate::inputs::images::Image;
use crate::inputs::locations::Places;
use crate::inputs::uv;
use crate::lock::Input;
use crate::source::Source;
use crate::{cli::args, env, error::Note, fs::paths, inputs::apt, lock};
use joblet_format::image::Settings;
use joblet_format::{Arch, text};
use std::fmt::Write as _;
use std::path::Path;

pub(crate) fn lock(options: &args::Lock, note: Note) -> Result<String, Error> {
    let places = Places::new(options.mirror.as_deref())?;
    let cache = cache(options.cache.as_deref())?;
    let store = InputCache { cache: &cache, places: Some(&places), timestamp: "", note };
    let mut report = String::new();
    for source in sources(&options.sources, &options.selection)? {
        let path = lock::path(&options.sources, &source.name);
        let before =
            paths::read_below(&options.sources, &path)?.and_then(|bytes| lock::parse(&bytes).ok());
        let fresh = before.as_ref().filter(|lock| lock.manifest == lock::digest(&source));
        // Architectures that are not resolved now stay as they are, if they are of this manifest.
        let mut inputs = fresh.map(|lock| lock.inputs.clone()).unwrap_or_default();
        for arch in arches(&source, &options.arches)? {
            note(&format!("lock {}: {arch}", source.name));
            inputs.insert(arch, resolve(&source, &options.sources, arch, &store)?);
        }
        let lock = lock::make(&source, inputs, env::now().to_string(), before.as_ref());
        paths::write_below(&options.sources, &path, lock::render(&lock).as_bytes())?;
        for (arch, inputs) in &lock.inputs {
            let (count, path) = (inputs.len(), path.display());
            let size = text::size(inputs.iter().filter_map(|input| input.size).sum());
            let unknown = inputs.iter().filter(|input| input.size.is_none());
            let unknown: String =
                unknown.map(|it| format!("; size not known yet: {}", it.file_name())).collect();
            // a String never fails
            _ = writeln!(report, "{path}: {arch}: {count} inputs, {size}{unknown}");
        }
    }
    Ok(report)
}

/// All inputs of `source` for `arch`. Inputs without a known checksum are fetched into `store`.
fn resolve(
    source: &Source,
    sources: &Path,
    arch: Arch,
    store: &InputCache,
) -> Result<Vec<Input>, Error> {
    let Some(places) = store.places else { return Ok(Vec::new()) };
    let mut inputs = packages(source, arch, places)?;
    if let Some((image, place)) = source.image.as_ref().and_then(|it| Some((it, it.place(arch)?))) {
        let found = Image::open(&sources.join(source.name.as_str()).join(place), arch)?;
        if let Some(expected) = image.digest.filter(|expected| *expected != found.digest) {
            let hint = "the path has a different image; put its digest into the manifest to use it";
            return Err(Error::checksum(place.to_owned(), expected, found.digest, hint));
        }
        if let Some(ignored) = found.config.config.as_ref().and_then(Settings::not_carried_over) {
            (store.note)(&format!("lock {}: {arch}: not of a runtime: {ignored}", source.name));
        }
        inputs.extend(found.add_to_cache(store.cache)?);
    }
    for url in &source.urls {
        if let Some(address) = url.address(arch) {
            inputs.push(store.lock_archive(address, url.expected(arch))?);
        }
    }
    Ok(inputs)
}

/// Only its packages: the inputs whose resolution depends on the time.
pub(super) fn packages(source: &Source, arch: Arch, places: &Places) -> Result<Vec<Input>, Error> {
    let mut inputs = Vec::new();
    if let Some(debian) = &source.debian {
        let packages: Vec<&str> = source.packages().into_iter().collect();
        inputs.extend(apt::resolve(places.mirrors()?, &debian.suite, &packages, arch)?);
    }
    if let Some(python) = source.python.as_ref().filter(|python| !python.packages.is_empty()) {
        inputs.extend(uv::resolve(places.indexes()?, python, arch)?);
    }
    Ok(inputs)
}
